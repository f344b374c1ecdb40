"""TLS by ourselves: real handshakes on loopback, good, slow and many."""

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from policybot.endpoint.certificate import Certificate, CertificateFiles, CertificateUnusable
from policybot.endpoint.exchange import Endpoint
from policybot.endpoint.handshake import Handshakes
from policybot.endpoint.http_server import HttpServer
from policybot.endpoint.listener import Listener, Server
from policybot.endpoint.web_app import WebServer
from policybot.protocol.paths import HEALTH, SIGN

from ..federation.authority import Authority
from ..federation.conftest import authority
from .scene import DEADLINE_S, Scene, eventually

__all__ = ["authority"]

HOST = "127.0.0.1"
HEALTHY = f"GET {HEALTH} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


class Client:
    """Speaks bytes with the listener."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @property
    def certificate(self) -> bytes:
        """What was shown, in DER."""
        shown: ssl.SSLObject = self.writer.get_extra_info("ssl_object")
        return shown.getpeercert(binary_form=True) or b""

    async def ask(self, request: bytes = HEALTHY) -> bytes:
        """The status line of the answer."""
        async with asyncio.timeout(DEADLINE_S):
            self.writer.write(request)
            head = await self.reader.readuntil(b"\r\n\r\n")
            (length,) = (
                int(line.split()[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            )
            await self.reader.readexactly(length)
            return head.partition(b"\r\n")[0]

    async def gone(self) -> None:
        """End the connection."""
        self.writer.transport.abort()
        with suppress(OSError):
            await self.writer.wait_closed()

    async def ended(self) -> bytes:
        """What still comes until the server closes."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                return await self.reader.read()
            except (ConnectionResetError, ssl.SSLError):
                return b""


class Stage:
    """A listener with TLS, and clients of it."""

    def __init__(self, stack: AsyncExitStack, authority: Authority, directory: Path) -> None:
        self._stack = stack
        self._authority = authority
        self._file = directory / "both.pem"
        self.until = datetime.now(UTC) + timedelta(days=99)
        self.renew()
        files = CertificateFiles(str(self._file), str(self._file))
        self.certificate = Certificate(files, look_s=0.01)

    def renew(self) -> None:
        new = self._authority.server_file(HOST, until=self.until)
        os.replace(new, self._file)

    async def open(self, server: Server) -> None:
        self.handshakes = server.handshakes
        self.listener = Listener(Scene().routes, HOST, 0, server, certificate=self.certificate)
        await self.listener.start()
        self._stack.push_async_callback(self.listener.stop)
        self.port = int(self.listener.url.rpartition(":")[2])

    async def client(self, context: ssl.SSLContext | None = None) -> Client:
        return await self._connect(context or self._authority.client_context())

    async def silent(self) -> Client:
        """Is connected, and does not begin with TLS."""
        return await self._connect(None)

    async def _connect(self, context: ssl.SSLContext | None) -> Client:
        async with asyncio.timeout(DEADLINE_S):
            client = Client(*await asyncio.open_connection(HOST, self.port, ssl=context))
        self._stack.push_async_callback(client.gone)
        return client


Make = Callable[[Endpoint], Server]
Open = Callable[..., Awaitable[Stage]]


@pytest.fixture(params=[HttpServer, WebServer], ids=["httptools", "aiohttp"])
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


@pytest.fixture
async def open_stage(make: Make, authority: Authority, tmp_path: Path) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def open_one(*, most: int = 100, limit_s: float = DEADLINE_S) -> Stage:
            server = make(Scene().routes)
            made = server.handshakes
            server.handshakes = Handshakes(made.made, most=most, limit_s=limit_s)
            stage = Stage(stack, authority, tmp_path)
            await stage.open(server)
            return stage

        yield open_one


@pytest.fixture
async def stage(open_stage: Open) -> Stage:
    return await open_stage()


async def test_it_is_asked_over_tls(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    assert stage.listener.url.startswith("https://127.0.0.1:")
    client = await stage.client()
    for _ in range(3):
        assert await client.ask() == b"HTTP/1.1 200 OK"
    body = f"POST {SIGN} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    assert (await client.ask(body)).startswith(b"HTTP/1.1 401")
    assert await (await stage.client()).ask() == b"HTTP/1.1 200 OK"
    await eventually(lambda: stage.handshakes.under_way == 0)
    assert caplog.text == ""


async def test_the_log_says_https(open_stage: Open, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stage = await open_stage()
    assert f"Listening on {stage.listener.url}" in caplog.text


async def test_a_new_certificate_is_shown_without_closing_anything(stage: Stage) -> None:
    one = await stage.client()
    assert await one.ask() == b"HTTP/1.1 200 OK"
    stage.renew()
    before = stage.certificate.context
    await eventually(lambda: stage.certificate.context is not before)
    other = await stage.client()
    assert other.certificate != one.certificate
    for client in (one, other):
        assert await client.ask() == b"HTTP/1.1 200 OK"


async def test_a_handshake_that_began_before_the_change_ends_well(stage: Stage) -> None:
    slow = await stage.silent()
    await eventually(lambda: stage.handshakes.under_way == 1)
    stage.renew()
    before = stage.certificate.context
    await eventually(lambda: stage.certificate.context is not before)
    async with asyncio.timeout(DEADLINE_S):
        await slow.writer.start_tls(stage._authority.client_context(), server_hostname=HOST)
    assert await slow.ask() == b"HTTP/1.1 200 OK"


async def test_a_request_in_one_piece_with_the_end_of_the_handshake(
    stage: Stage, authority: Authority
) -> None:
    raw = await stage.silent()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.client_context().wrap_bio(incoming, outgoing, server_hostname=HOST)
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.writer.write(outgoing.read())
                incoming.write(await raw.reader.read(65_536))
        tls.write(HEALTHY)
        raw.writer.write(outgoing.read())
        while True:
            try:
                assert tls.read(65_536).startswith(b"HTTP/1.1 200 OK")
                break
            except ssl.SSLWantReadError:
                incoming.write(await raw.reader.read(65_536))


async def test_old_versions_of_tls_are_refused(stage: Stage, authority: Authority) -> None:
    context = authority.client_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await stage.client(context)
    context = authority.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert await (await stage.client(context)).ask() == b"HTTP/1.1 200 OK"


async def test_plain_http_is_let_go_and_not_logged(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    for garbage in (HEALTHY, b"\x16\x03\x01\x00\x05nonsense", b"\0" * 100_000):
        raw = await stage.silent()
        raw.writer.write(garbage)
        assert not (await raw.ended()).startswith(b"HTTP")
    gone = await stage.silent()
    gone.writer.transport.abort()
    await eventually(lambda: stage.handshakes.under_way == 0)
    assert caplog.text == ""


async def test_a_handshake_that_does_not_end_is_ended(open_stage: Open) -> None:
    stage = await open_stage(limit_s=0.05)
    silent = await stage.silent()
    assert await silent.ended() == b""
    await eventually(lambda: stage.handshakes.under_way == 0)


async def test_beyond_a_number_the_longest_handshake_ends(open_stage: Open) -> None:
    stage = await open_stage(most=3)
    silent = [await stage.silent() for _ in range(3)]
    await eventually(lambda: stage.handshakes.under_way == 3)
    good = await stage.client()
    assert await good.ask() == b"HTTP/1.1 200 OK"
    assert await silent[0].ended() == b""
    await eventually(lambda: stage.handshakes.under_way == 2)
    assert await good.ask() == b"HTTP/1.1 200 OK"


async def test_a_burst_of_handshakes_ends_as_many(open_stage: Open) -> None:
    """A listener takes all that wait at once, before any of them could end."""
    stage = await open_stage(most=3)
    context = stage.listener._certificate.context  # type: ignore[union-attr]
    pairs = [socket.socketpair() for _ in range(9)]
    for ours, _theirs in pairs:
        stage.handshakes.begin(ours, context)
    await eventually(lambda: stage.handshakes.under_way == 3)
    assert [ours.fileno() < 0 for ours, _theirs in pairs] == [True] * 6 + [False] * 3
    for _ours, theirs in pairs:
        theirs.close()


async def test_stopping_ends_handshakes_and_connections(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    idle, silent = await stage.client(), await stage.silent()
    assert await idle.ask() == b"HTTP/1.1 200 OK"
    await eventually(lambda: stage.handshakes.under_way == 1)
    async with asyncio.timeout(DEADLINE_S):
        await stage.listener.stop()
    assert await idle.ended() == await silent.ended() == b""
    assert stage.handshakes.under_way == 0
    assert caplog.text == ""


async def test_what_is_too_large_is_told(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    client = await stage.client()
    head = f"POST {SIGN} HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n".encode()
    assert b" 413 " in await client.ask(head + b"x" * 10_000)
    client.writer.close()
    another = await stage.client()
    another.writer.write(head[:40])
    another.writer.transport.abort()
    assert await (await stage.client()).ask() == b"HTTP/1.1 200 OK"
    assert caplog.text == ""


async def test_the_certificate_of_an_open_listener_can_be_changed(
    stage: Stage, tmp_path: Path
) -> None:
    bad = Certificate(CertificateFiles(str(tmp_path / "no"), str(tmp_path / "no")))
    with pytest.raises(CertificateUnusable):
        await stage.listener.show(bad)
    assert await (await stage.client()).ask() == b"HTTP/1.1 200 OK"

    await stage.listener.show(None)
    assert stage.listener.url.startswith("http://")
    assert await (await stage.silent()).ask() == b"HTTP/1.1 200 OK"
    assert stage.listener.faults() == []

    await stage.listener.show(stage.certificate)
    assert await (await stage.client()).ask() == b"HTTP/1.1 200 OK"
    stage.until = datetime.now(UTC)
    stage.renew()
    await eventually(stage.listener.faults)
    (fault,) = stage.listener.faults()
    assert "ended on" in fault


async def test_a_certificate_that_cannot_be_used_opens_nothing(make: Make, tmp_path: Path) -> None:
    files = CertificateFiles(str(tmp_path / "no"), str(tmp_path / "no"))
    listener = Listener(
        Scene().routes, HOST, 0, make(Scene().routes), certificate=Certificate(files)
    )
    with pytest.raises(CertificateUnusable):
        await listener.start()
    await listener.stop()
