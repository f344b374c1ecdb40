"""The policy server as a member of the federation, which a name of its own makes it: its keys, and
its user, who joins rooms."""

from collections.abc import Callable, Sequence

from .account import StartFailed
from .bot.policy_user import MembershipFault
from .federation.membership import Membership, MembershipFailed
from .federation.own_keys import OwnKeys, load_own_keys
from .federation.reach import Reach
from .federation.signed_client import SignedClient
from .protocol.identifier import server_of
from .protocol.signing import InvalidKey
from .store.settings import Setting, Settings


class FederationMember:
    """A server with one user, ``user_id``, and the keys ``keys``. ``clock`` gives milliseconds
    since 1970."""

    def __init__(
        self, user_id: str, keys: OwnKeys, reach: Reach, clock: Callable[[], int]
    ) -> None:
        self.user_id = user_id
        self.keys = keys
        client = SignedClient(keys.name, keys.key_id, keys.signing_key, reach)
        self._membership = Membership(user_id, client, clock)

    async def join(self, room_id: str, servers: Sequence[str]) -> MembershipFault | None:
        """Let the user join a room by way of one of the servers; what was in the way, or None."""
        try:
            await self._membership.join(room_id, servers)
        except MembershipFailed as error:
            return MembershipFault(error.text, error.final)
        return None

    async def leave(self, room_id: str, servers: Sequence[str]) -> MembershipFault | None:
        """Let the user leave a room, or decline an invitation; else like `join`."""
        try:
            await self._membership.leave(room_id, servers)
        except MembershipFailed as error:
            return MembershipFault(error.text, error.final)
        return None


async def federation_member(
    user_id: str,
    settings: Settings,
    configured_key: str | None,
    reach: Reach,
    clock: Callable[[], int],
) -> FederationMember:
    """The member with the keys that are kept in ``settings``. ``configured_key`` is the seed of
    the federation key in the configuration (unpadded base64), if there is one.

    Raises:
        StartFailed: a key is not usable.
    """
    stored = await settings.get(Setting.FEDERATION_KEYS)
    try:
        keys, to_store = load_own_keys(server_of(user_id), stored, configured_key, clock())
    except InvalidKey as error:
        raise StartFailed(f"The federation key (policy_server.federation_key): {error}") from None
    if to_store != stored:
        await settings.set(Setting.FEDERATION_KEYS, to_store)
    return FederationMember(user_id, keys, reach, clock)
