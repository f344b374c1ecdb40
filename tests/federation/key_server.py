"""Servers that publish keys, found by real DNS and asked over real TLS, all on loopback."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network

from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from policybot.federation.address_guard import AddressGuard
from policybot.federation.client import HttpClient
from policybot.federation.direct_keys import DirectKeys, DirectTimes
from policybot.federation.dns_lookup import DnsLookup
from policybot.federation.reach import Reach
from policybot.federation.well_known import WellKnown

from .authority import Authority
from .servers import serving

LOOPBACK = ip_network("127.0.0.0/8")
WELL_KNOWN_PATH = "/.well-known/matrix/server"


class OtherPorts(AbstractResolver):
    """Addresses as DNS has them, with a free port in the place of one that only root may open:
    ``ports`` by host and port."""

    def __init__(self, dns: DnsLookup) -> None:
        self.ports: dict[tuple[str, int], int] = {}
        self._dns = dns

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._dns.resolve(host, port, family)
        for result in found:
            result["port"] = self.ports.get((host, port), port)
        return found

    async def close(self) -> None:
        pass


class KeyServer:
    """One listener. ``answers`` by path is what it says, to whatever name it is asked by;
    ``asked`` has the name in the TLS handshake, the Host header and the path of each request."""

    def __init__(self) -> None:
        self.answers: dict[str, object] = {}
        self.asked: list[tuple[str | None, str, str]] = []
        self.port = 0

    @asynccontextmanager
    async def serving(self, authority: Authority, *names: str) -> AsyncIterator["KeyServer"]:
        """Listen with a certificate for the names."""
        context = authority.server_context(*names)
        shown: dict[ssl.SSLObject, str | None] = {}

        def hello(tls: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            shown[tls] = name

        async def answer(request: web.Request) -> web.StreamResponse:
            assert request.transport is not None
            tls = request.transport.get_extra_info("ssl_object")
            self.asked.append((shown.get(tls), request.headers["Host"], request.path))
            given = self.answers.get(request.path)
            if callable(given):
                response = await given(request)
                assert isinstance(response, web.StreamResponse)
                return response
            return web.Response(status=404) if given is None else web.json_response(given)

        context.sni_callback = hello
        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        async with serving(app, context) as self.port:
            yield self


@asynccontextmanager
async def reaching(
    authority: Authority,
    dns: DnsLookup,
    guard: AddressGuard | None = None,
) -> AsyncIterator[tuple[Reach, dict[tuple[str, int], int]]]:
    """What asks other servers, and its ports to fill in. Loopback may be asked unless ``guard``
    says otherwise."""
    resolver = OtherPorts(dns)
    client = HttpClient(
        ssl_context=authority.client_context(),
        resolver=resolver,
        guard=guard or AddressGuard([LOOPBACK]),
    )
    reach = Reach(client, WellKnown(client, timeout_s=5), dns)
    try:
        yield reach, resolver.ports
    finally:
        await reach.close()


@asynccontextmanager
async def asking(
    authority: Authority,
    dns: DnsLookup,
    times: DirectTimes | None = None,
    guard: AddressGuard | None = None,
) -> AsyncIterator[tuple[DirectKeys, dict[tuple[str, int], int]]]:
    """What asks for keys, and its ports to fill in; else like ``reaching``."""
    async with reaching(authority, dns, guard) as (reach, ports):
        yield DirectKeys(reach, times), ports


async def hang(_: web.Request) -> web.StreamResponse:
    """Never answer; the connection is closed by the other side."""
    await asyncio.Event().wait()
    raise AssertionError
