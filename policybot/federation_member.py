"""The policy server as a member of the federation, which a name of its own makes it: its keys, its
user, who joins rooms, and what it answers to other servers."""

from collections.abc import Callable, Mapping, Sequence

from .account import StartFailed
from .bot.chat import Chat, Shared
from .bot.policy_user import MembershipFault
from .endpoint.federation_routes import FederationRoutes, ServerKeys
from .federation.membership import Membership, MembershipFailed
from .federation.own_keys import OwnKeys, load_own_keys
from .federation.reach import Reach
from .federation.signed_client import SignedClient
from .protocol.identifier import server_of
from .protocol.signing import InvalidKey
from .store.settings import Setting, Settings


class FederationMember:
    """A server with the federation key ``keys``. ``users`` is the policy user by each name that
    the server has or had to itself; ``user_id`` is the present one, None while the present name is
    the homeserver's. ``clock`` gives milliseconds since 1970."""

    def __init__(
        self,
        users: Mapping[str, str],
        user_id: str | None,
        keys: OwnKeys,
        reach: Reach,
        clock: Callable[[], int],
    ) -> None:
        self.keys = keys
        self.user_id = user_id
        self._users = users
        self._clock = clock
        client = SignedClient(keys.name, keys.key_id, keys.signing_key, reach)
        self._membership = Membership(user_id or "", client, clock)

    async def join(self, room_id: str, servers: Sequence[str]) -> MembershipFault | None:
        """Let the policy user join a room by way of one of the servers; what was in the way, or
        None."""
        try:
            await self._membership.join(room_id, servers)
        except MembershipFailed as error:
            return MembershipFault(error.text, error.final)
        return None

    async def leave(self, room_id: str, servers: Sequence[str]) -> MembershipFault | None:
        """Let the policy user leave a room, or decline an invitation; else like `join`."""
        try:
            await self._membership.leave(room_id, servers)
        except MembershipFailed as error:
            return MembershipFault(error.text, error.final)
        return None

    def routes(
        self, chat: Chat, shared: Shared, keys: ServerKeys, contact: str | None, instance_id: str
    ) -> FederationRoutes:
        """What other servers are answered. ``contact`` is whom to ask, ``instance_id`` the random
        ID of this installation."""
        return FederationRoutes(
            users=self._users,
            user_id=self.user_id,
            own_keys=self.keys,
            keys=keys,
            rooms=shared.rooms,
            invitations=chat.invitations,
            hints=chat.hints,
            clock=self._clock,
            contact=contact,
            instance_id=instance_id,
        )


async def federation_member(
    users: Mapping[str, str],
    user_id: str | None,
    settings: Settings,
    configured_key: str | None,
    reach: Reach,
    clock: Callable[[], int],
) -> FederationMember | None:
    """The member with the keys that are kept in ``settings``; None if the server never had a name
    to itself. ``configured_key`` is the seed of the federation key in the configuration (unpadded
    base64), if there is one.

    Raises:
        StartFailed: a key is not usable.
    """
    if not users:
        return None
    stored = await settings.get(Setting.FEDERATION_KEYS)
    name = next(iter(users)) if user_id is None else server_of(user_id)
    try:
        keys, to_store = load_own_keys(name, stored, configured_key, clock())
    except InvalidKey as error:
        raise StartFailed(f"The federation key (policy_server.federation_key): {error}") from None
    if to_store != stored:
        await settings.set(Setting.FEDERATION_KEYS, to_store)
    return FederationMember(users, user_id, keys, reach, clock)
