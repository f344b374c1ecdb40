"""Keys asked for at their own server, for when the homeserver does not deliver them.

Server-server API, "Publishing Keys". Which server that is, a stranger says: so only addresses
that the guard allows are asked, and every answer is bounded in size and time.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..protocol.server_keys import InvalidServerKeys
from ..protocol.server_name import InvalidServerName
from .address_guard import AddressGuard, Network
from .client import HttpClient, RequestFailed, RequestTimedOut
from .dns_lookup import DnsLookup
from .notary import MAX_DOCUMENT_BYTES, FetchedKeys, checked_keys
from .resolve import Target, resolve
from .well_known import WellKnown

CONNECTIONS = 200
KEY_PATH = "/_matrix/key/v2/server"


@dataclass(frozen=True, slots=True)
class DirectTimes:
    """Longest times in seconds: for a well-known document with its redirects, for one question
    to DNS, for one place where the keys are asked for, and for all of it."""

    well_known: float = 3.0
    dns: float = 2.0
    place: float = 4.0
    all: float = 10.0


class DirectKeys:
    """Asks servers for their own keys by ``client``, at the places that ``well_known`` and ``dns``
    lead to."""

    def __init__(
        self,
        client: HttpClient,
        well_known: WellKnown,
        dns: DnsLookup,
        times: DirectTimes | None = None,
    ) -> None:
        self._client = client
        self._well_known = well_known
        self._dns = dns
        self._times = times or DirectTimes()

    @classmethod
    def guarded(cls, allow_networks: Iterable[Network], clock: Callable[[], int]) -> "DirectKeys":
        """One with all it needs. ``allow_networks`` may be asked although they are private."""
        times = DirectTimes()
        dns = DnsLookup(timeout_s=times.dns)
        client = HttpClient(
            resolver=dns, guard=AddressGuard(allow_networks), connections=CONNECTIONS
        )
        return cls(client, WellKnown(client, clock, timeout_s=times.well_known), dns, times)

    async def fetch(self, server_name: str) -> FetchedKeys:
        """The keys that a server publishes. Raises RequestFailed."""
        try:
            async with asyncio.timeout(self._times.all):
                return await self._fetch(server_name)
        except TimeoutError:
            raise RequestTimedOut(
                f"{server_name} did not deliver its keys within {self._times.all:g} s"
            ) from None
        except InvalidServerName as error:
            raise RequestFailed(str(error).rstrip(".")) from None

    async def delivers_any(self, server_names: Iterable[str]) -> bool:
        """Whether at least one of the servers gives its keys. All are asked at once."""
        found = await asyncio.gather(
            *(self.fetch(name) for name in server_names), return_exceptions=True
        )
        return any(isinstance(keys, FetchedKeys) for keys in found)

    async def close(self) -> None:
        """Drop all connections."""
        await self._client.close()

    async def _fetch(self, server_name: str) -> FetchedKeys:
        failure = RequestFailed(f"{server_name} has no place where it could be asked")
        for target in await resolve(server_name, self._well_known, self._dns):
            try:
                return await self._fetch_at(target, server_name)
            except RequestFailed as error:
                failure = error
        raise failure

    async def _fetch_at(self, target: Target, server_name: str) -> FetchedKeys:
        response = await self._client.get_json(
            target.url + KEY_PATH,
            headers={"Host": target.host_header},
            timeout_s=self._times.place,
            limit=MAX_DOCUMENT_BYTES,
            server_hostname=target.server_hostname,
        )
        if response.status != 200:
            raise RequestFailed(f"{target.url} answered {response.status}")
        try:
            return checked_keys(response.json, server_name)
        except InvalidServerKeys as error:
            raise RequestFailed(
                f"{target.url} answered with keys that are not good: {str(error)[:200]}"
            ) from None
