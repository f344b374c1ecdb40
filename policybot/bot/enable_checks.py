"""What a room relies on once it names us, checked before.

We have to answer under our public name, and the keys of the servers in the room have to come.
"""

import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from .client import HomeserverAway, MatrixClient, Refused
from .errors import CommandError
from .policy_user import servers_of
from .reply import clean

log = logging.getLogger("policybot.rooms")


@dataclass(frozen=True, slots=True)
class EndpointFault:
    """Why our endpoint does not answer under its public name. ``unreachable`` means that it could
    not be asked from here, so it may be fine all the same."""

    text: str
    unreachable: bool


class PublicEndpoint(Protocol):
    """Asks whether our endpoint answers under its public name."""

    async def probe(self) -> EndpointFault | None: ...


class MemberKeys(Protocol):
    """The keys of the servers that will ask us."""

    async def check_delivery(self, servers: tuple[str, ...]) -> str | None: ...

    def prefetch(self, servers: tuple[str, ...]) -> Awaitable[None]: ...


class Checks(Enum):
    """What is checked before a room names us."""

    ALL = auto()
    WITHOUT_ENDPOINT = auto()
    MADE = auto()  # once for several rooms


class EnableChecks:
    """Checks it for a room. ``own_name`` is the policy server's name if
    that is one of its own, else empty."""

    def __init__(
        self, client: MatrixClient, endpoint: PublicEndpoint, keys: MemberKeys, own_name: str
    ) -> None:
        self._client = client
        self._endpoint = endpoint
        self._keys = keys
        self._own_name = own_name

    async def run(self, room_id: str, checks: Checks) -> tuple[str, ...] | None:
        """Check it. The servers in the room, those with most members first; None if
        nothing had to be checked.

        Raises:
            CommandError: one of that is not so.
        """
        if checks is Checks.MADE:
            return None
        if checks is Checks.ALL:
            await self.check_endpoint()
        return await self._check_keys(room_id)

    async def check_endpoint(self) -> None:
        """Check that we answer under our public name.

        Raises:
            CommandError: we do not, or that cannot be asked from here.
        """
        fault = await self._endpoint.probe()
        if fault is None:
            return
        if fault.unreachable:
            raise CommandError(
                "I could not reach this policy server under its public name, so other servers may "
                f"not either, and nobody could talk in the room. {clean(fault.text, 500)} If you "
                "know that it can be reached from outside, repeat the command with --unchecked."
            )
        raise CommandError(
            "Under its public name something else answers instead of this policy server, so "
            f"nobody could talk in the room. {clean(fault.text, 500)}"
        )

    async def _check_keys(self, room_id: str) -> tuple[str, ...]:
        """The servers in the room, those with most members first; their keys can be had."""
        servers: tuple[str, ...] = ()
        try:
            servers = servers_of(await self._client.joined_members(room_id))
        except (Refused, HomeserverAway) as error:
            log.warning("Could not read the members of %s: %s", room_id, error)
        # Of the policy user no event is judged but its own membership, which is always signed.
        servers = tuple(server for server in servers if server != self._own_name)
        fault = await self._keys.check_delivery(servers)
        if fault is not None:
            raise CommandError(
                "Your homeserver does not deliver the keys of other servers, so I would have to "
                f"turn every server away, and nobody could talk in the room. {clean(fault, 500)}"
            )
        await self._keys.prefetch(servers)
        return servers
