"""DNS, asked without the system's resolver.

That one has a thread for each question that waits, of which there are few: a stranger whose name
servers do not answer would keep our own homeserver waiting. Nothing is kept, the name servers do
that. The file ``/etc/hosts`` is not read; ``localhost`` is this machine without a question to
anybody (RFC 6761, section 6.3).
"""

import asyncio
import socket
from collections.abc import Sequence

import dns.asyncresolver
import dns.exception
import dns.rdata
import dns.resolver
from aiohttp.abc import AbstractResolver, ResolveResult

from ..protocol.server_name import InvalidServerName, parse_server_name

TIMEOUT_S = 3.0
RETRY_S = 1.0
MAX_ADDRESSES = 4  # of each kind, IPv4 and IPv6
MAX_SERVICES = 4
_LOOPBACK = {"AAAA": "::1", "A": "127.0.0.1"}


class DnsLookup(AbstractResolver):
    """Asks ``nameservers`` (none: those of the system) on ``port``, each question for at most
    ``timeout_s`` seconds."""

    def __init__(
        self, nameservers: Sequence[str] = (), port: int = 53, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._nameservers = nameservers
        self._port = port
        self._timeout_s = timeout_s

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a host, IPv6 first. Raises socket.gaierror."""
        kinds = {"AAAA": socket.AF_INET6, "A": socket.AF_INET}
        wanted = {kind: f for kind, f in kinds.items() if family in (socket.AF_UNSPEC, f)}
        if _is_localhost(host):
            return [_result(host, _LOOPBACK[kind], port, wanted[kind]) for kind in wanted]
        answers = await asyncio.gather(
            *(self._records(host, kind) for kind in wanted), return_exceptions=True
        )
        found = []
        failure: Exception | None = None
        for version, answer in zip(wanted.values(), answers, strict=True):
            if isinstance(answer, dns.exception.DNSException):
                failure = answer
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found += [
                    _result(host, record.to_text(), port, version)
                    for record in answer[:MAX_ADDRESSES]
                ]
        if not found:
            if failure is not None:
                raise socket.gaierror(socket.EAI_AGAIN, "DNS does not answer") from failure
            raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
        return found

    async def services(self, name: str) -> tuple[tuple[str, int], ...]:
        """Hosts and ports from the SRV records of a name, in the order in which they are to be
        tried; none if there are none or DNS does not answer."""
        try:
            records = await self._records(name, "SRV")
        except dns.exception.DNSException:
            return ()
        found = ((str(r.target).rstrip("."), int(r.port)) for r in records)  # type: ignore[attr-defined]
        return tuple((host, port) for host, port in found if port and _is_host(host))[
            :MAX_SERVICES
        ]

    async def close(self) -> None:
        """Nothing is open between two questions."""

    async def _records(self, name: str, kind: str) -> list[dns.rdata.Rdata]:
        # Made for each question: the system's name servers may have changed.
        resolver = dns.asyncresolver.Resolver(configure=not self._nameservers)
        if self._nameservers:
            resolver.nameservers = list(self._nameservers)
        resolver.port = self._port
        resolver.timeout = RETRY_S
        try:
            answer = await resolver.resolve(
                name.rstrip(".") + ".",
                kind,
                lifetime=self._timeout_s,
                raise_on_no_answer=False,
            )
        except dns.resolver.NXDOMAIN:
            return []
        return [] if answer.rrset is None else answer.rrset.processing_order()


def _result(host: str, address: str, port: int, family: socket.AddressFamily) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=family,
        proto=0,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )


def _is_localhost(host: str) -> bool:
    return f".{host.lower().rstrip('.')}".endswith(".localhost")


def _is_host(text: str) -> bool:
    try:
        return parse_server_name(text).port is None
    except InvalidServerName:
        return False
