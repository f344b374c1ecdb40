"""The reverse proxies of docs/deploy.md, started as they stand there, between a caller and us."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from policybot.demo.child_process import ChildProcess, child_environment
from policybot.demo.ports import LOOPBACK, free_ports
from policybot.endpoint.http_server import HttpServer
from policybot.endpoint.listener import Listener
from policybot.federation.client import HttpClient
from policybot.federation.dns_lookup import DnsLookup
from policybot.federation.probe import probe_routes
from policybot.protocol.paths import POLICY_PATHS, SIGN, UNSTABLE_SIGN

from .endpoint.scene import ALICE, INSTANCE, Scene, authorization, event_of
from .federation.authority import Authority
from .federation.conftest import addresses, authority, client, dns, dns_and_lookup
from .federation.servers import Addresses, serving
from .protocol.events import NAME
from .reverse_proxies import (
    MakeProxy,
    Recording,
    Site,
    caddy,
    nginx,
    ready,
    slow_request,
    traefik,
)

__all__ = ["addresses", "authority", "client", "dns", "dns_and_lookup"]

HOMESERVER = "example.org"
HOSTS = (HOMESERVER, "matrix.example.org")
BASES = tuple(f"https://{host}{port}" for host in HOSTS for port in ("", ":8448"))
TITLES: dict[MakeProxy, str] = {
    proxy: f"{name}, for the homeserver's name"
    for proxy, name in ((nginx, "nginx"), (caddy, "Caddy"), (traefik, "Traefik"))
}
SPOOFED = {"X-Forwarded-For": "8.8.8.8"}


@dataclass
class Seen:
    """What arrived: raw paths with the caller's address, at the homeserver as it was given."""

    by_policybot: list[tuple[str, str]] = field(default_factory=list)
    by_homeserver: list[tuple[str, list[str]]] = field(default_factory=list)
    server: HttpServer = field(init=False)


def homeserver_app(seen: list[tuple[str, list[str]]]) -> web.Application:
    @web.middleware
    async def record(request: web.Request, handler: Handler) -> web.StreamResponse:
        seen.append((request.raw_path, request.headers.getall("X-Forwarded-For", [])))
        return await handler(request)

    async def keys(_: web.Request) -> web.Response:
        return web.json_response({"server_name": HOMESERVER})

    async def unrecognized(_: web.Request) -> web.Response:
        return web.json_response({"errcode": "M_UNRECOGNIZED"}, status=404)

    app = web.Application(middlewares=[record])
    app.router.add_get("/_matrix/key/v2/server", keys)
    app.router.add_route("*", "/{path:.*}", unrecognized)
    return app


@asynccontextmanager
async def started(
    make: MakeProxy,
    client: HttpClient,
    addresses: Addresses,
    authority: Authority,
    directory: Path,
) -> AsyncIterator[Seen]:
    """The proxy in front of our endpoint and of a homeserver."""
    seen = Seen()
    seen.server = HttpServer(Recording(Scene().routes, seen.by_policybot))
    policybot = Listener(seen.server.endpoint, LOOPBACK, 0, seen.server)
    certificate = authority.server_file(*HOSTS)
    process = ChildProcess(make.__name__)
    async with AsyncExitStack() as stack:
        homeserver_port = await stack.enter_async_context(
            serving(homeserver_app(seen.by_homeserver))
        )
        await policybot.start()
        stack.push_async_callback(policybot.stop)
        policybot_port = int(policybot.url.rpartition(":")[2])
        https, federation = free_ports(2)
        site = Site(directory, certificate, https, federation, policybot_port, homeserver_port)
        for host in HOSTS:
            addresses.ports |= {(host, 443): https, (host, 8448): federation}
        await process.start(make(site, TITLES[make]), child_environment({"HOME": str(directory)}))
        try:
            for base in BASES:
                await ready(base, client, process)
            seen.by_homeserver.clear()
            yield seen
        finally:
            await process.stop()


@pytest.mark.parametrize("make", [nginx, caddy, traefik])
async def test_a_documented_proxy(
    make: MakeProxy,
    client: HttpClient,
    addresses: Addresses,
    authority: Authority,
    dns: DnsLookup,
    tmp_path: Path,
) -> None:
    async with started(make, client, addresses, authority, tmp_path) as seen:
        # What `policybot check` asks finds nothing missing.
        found = [route async for route in probe_routes(HOMESERVER, INSTANCE, client, dns=dns)]
        assert [route.text for route in found] == [""] * 5
        assert {path for path, _ in seen.by_homeserver} == {
            "/.well-known/matrix/server",
            "/_matrix/key/v2/server",
        }
        for path in POLICY_PATHS:
            assert any(asked.startswith(path) for asked, _ in seen.by_policybot)

        # A signed request is valid behind it, whatever the caller says of his address.
        for base in BASES:
            for path in (SIGN, UNSTABLE_SIGN):
                event = event_of(ALICE, unsigned={"padding": "x" * 80_000})
                response = await client.post_json(
                    base + path,
                    event,
                    headers={"Authorization": authorization(event, path=path), **SPOOFED},
                )
                assert (response.status, list(response.json)) == (200, [NAME])
                assert seen.by_policybot[-1] == (path, LOOPBACK)

        # Too large: told by policybot itself.
        response = await client.post_json(f"https://{HOMESERVER}{SIGN}", {"a": "x" * 100_000})
        assert (response.status, response.json["errcode"]) == (413, "M_TOO_LARGE")
        assert response.headers["Policybot-Instance"] == INSTANCE

        # The homeserver's requests are signed as well.
        path = "/_matrix/federation/v1/query/directory/%21a%3Ab%2Fc?room_alias=%23d%3Ae+%20"
        response = await client.get_json(f"https://{HOMESERVER}:8448{path}", headers=SPOOFED)
        assert response.json == {"errcode": "M_UNRECOGNIZED"}
        assert seen.by_homeserver[-1] == (path, [LOOPBACK])

        # A request that does not come whole is not handed over.
        async with slow_request(HOMESERVER, authority.client_context(), addresses):
            for _ in range(10):
                assert (await client.post_json(BASES[0] + SIGN, {})).status == 401
            assert seen.server.busy_connections == 0
