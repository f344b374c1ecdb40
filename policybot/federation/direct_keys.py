"""Keys asked for at their own server, for when the homeserver does not deliver them.

Server-server API, "Publishing Keys". Which server that is, a stranger says: so only addresses
that the guard allows are asked, and every answer is bounded in size and time.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from ..protocol.paths import SERVER_KEYS
from ..protocol.server_keys import InvalidServerKeys
from .client import RequestFailed
from .notary import MAX_DOCUMENT_BYTES, FetchedKeys, checked_keys
from .reach import Reach
from .resolve import Target


@dataclass(frozen=True, slots=True)
class DirectTimes:
    """Longest times in seconds: for one place where the keys are asked for, and for all of it."""

    place: float = 4.0
    all: float = 10.0


class DirectKeys:
    """Asks servers for their own keys, at the places where ``reach`` finds them."""

    def __init__(self, reach: Reach, times: DirectTimes | None = None) -> None:
        self._reach = reach
        self._times = times or DirectTimes()

    async def fetch(self, server_name: str) -> FetchedKeys:
        """The keys that a server publishes. Raises RequestFailed."""

        async def fetch_at(target: Target) -> FetchedKeys:
            return await self._fetch_at(target, server_name)

        return await self._reach.ask(server_name, fetch_at, self._times.all)

    async def delivers_any(self, server_names: Iterable[str]) -> bool:
        """Whether at least one of the servers gives its keys. All are asked at once."""
        found = await asyncio.gather(
            *(self.fetch(name) for name in server_names), return_exceptions=True
        )
        return any(isinstance(keys, FetchedKeys) for keys in found)

    async def _fetch_at(self, target: Target, server_name: str) -> FetchedKeys:
        response = await self._reach.request(
            target, "GET", SERVER_KEYS, timeout_s=self._times.place, limit=MAX_DOCUMENT_BYTES
        )
        if response.status != 200:
            raise RequestFailed(f"{target.url} answered {response.status}")
        try:
            return checked_keys(response.json, server_name)
        except InvalidServerKeys as error:
            raise RequestFailed(
                f"{target.url} answered with keys that are not good: {str(error)[:200]}"
            ) from None
