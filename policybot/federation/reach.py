"""Other servers, asked by their names: where they are, and only at addresses that may be asked.

One for the whole process: who answers for a name is found out once, and bounds hold for all.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from ..protocol.server_name import InvalidServerName
from .address_guard import AddressGuard, Network
from .client import DEFAULT_LIMIT, HttpClient, RequestFailed, RequestTimedOut, Response
from .dns_lookup import DnsLookup
from .resolve import Target, resolve
from .well_known import WellKnown

CONNECTIONS = 200
WELL_KNOWN_S = 3.0
DNS_S = 2.0

Answer = TypeVar("Answer")


class Reach:
    """Asks by ``client``, at the places that ``well_known`` and ``dns`` lead to."""

    def __init__(self, client: HttpClient, well_known: WellKnown, dns: DnsLookup) -> None:
        self._client = client
        self._well_known = well_known
        self._dns = dns

    @classmethod
    def guarded(cls, allow_networks: Iterable[Network], clock: Callable[[], int]) -> "Reach":
        """One with all it needs. ``allow_networks`` may be asked although they are private;
        ``clock`` gives milliseconds since 1970."""
        dns = DnsLookup(timeout_s=DNS_S)
        client = HttpClient(
            resolver=dns, guard=AddressGuard(allow_networks), connections=CONNECTIONS
        )
        return cls(client, WellKnown(client, clock, timeout_s=WELL_KNOWN_S), dns)

    async def ask(
        self,
        server_name: str,
        question: Callable[[Target], Awaitable[Answer]],
        timeout_s: float,
    ) -> Answer:
        """Ask the question at the places of the server, in turn, until one does not fail.

        ``timeout_s`` bounds all of it, finding the places too. Raises RequestFailed, that of the
        last place.
        """
        failure = RequestFailed(f"{server_name} has no place where it could be asked")
        try:
            async with asyncio.timeout(timeout_s):
                for target in await resolve(server_name, self._well_known, self._dns):
                    try:
                        return await question(target)
                    except RequestFailed as error:
                        failure = error
        except TimeoutError:
            raise RequestTimedOut(f"{server_name} did not answer within {timeout_s:g} s") from None
        except InvalidServerName as error:
            raise RequestFailed(str(error).rstrip(".")) from None
        raise failure

    async def request(
        self,
        target: Target,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float,
        limit: int = DEFAULT_LIMIT,
    ) -> Response:
        """Ask at one place of a server; ``path`` is used as it is, already encoded, with its
        query. Redirects are handed back. Raises RequestFailed."""
        return await self._client.request(
            method,
            target.url + path,
            body,
            headers={"Host": target.host_header, **(headers or {})},
            timeout_s=timeout_s,
            limit=limit,
            server_hostname=target.server_hostname,
        )

    async def close(self) -> None:
        """Drop all connections."""
        await self._client.close()
