"""Connections of the fast server: HTTP/1.1 as callers, slow clients and attackers speak it."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Any

import pytest

from policybot.endpoint.body import LargeBodies
from policybot.endpoint.connection import MAX_HEAD_BYTES
from policybot.endpoint.errors import MatrixError
from policybot.endpoint.exchange import MAX_BODY_BYTES, Headers, Request, Response
from policybot.endpoint.http_server import HttpServer
from policybot.endpoint.patience import Patience

from .scene import DEADLINE_S, eventually

PATIENT = Patience(request=600, idle=600, answer=600, end=600)


class Echo:
    """Answers with what it was asked; a request to ``/held`` waits until ``let_go`` is set."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.let_go = asyncio.Event()
        self.size = 0
        self.large = 10 * MAX_BODY_BYTES

    async def answer(self, request: Request) -> Response:
        self.requests.append(request)
        if request.target == "/held":
            await self.let_go.wait()
        if request.target == "/empty":
            return Response(HTTPStatus.NO_CONTENT, Headers(()))
        text = f"{request.method} {request.target} {len(request.body)};".encode()
        return Response(HTTPStatus.OK, Headers((("X-Echo", "yes"),)), text.ljust(self.size))

    def body_limit(self, target: str) -> int:
        return self.large if target == "/large" else MAX_BODY_BYTES

    def refuse(self, error: MatrixError) -> Response:
        return Response(error.status, Headers(()), error.error.encode())


class Client:
    """Speaks bytes with the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def abort(self) -> None:
        self.writer.transport.abort()

    def reset(self) -> None:
        """End the connection in a way that the server is told of at once."""
        at_once = struct.pack("ii", 1, 0)
        made = self.writer.transport.get_extra_info("socket")
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        self.writer.transport.abort()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers in lower case, body."""
        async with asyncio.timeout(DEADLINE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.rstrip().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
            return int(status.split()[1]), headers, body

    async def ended(self) -> bytes:
        """What still comes until the server closes."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


class Stage:
    """A server with its endpoint, and clients of it."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.echo = Echo()
        self._stack = stack

    async def open(self, **arguments: Any) -> "Stage":
        arguments.setdefault("patience", PATIENT)
        self.server = HttpServer(self.echo, look_s=0.01, shutdown_s=DEADLINE_S, **arguments)
        self.address = await self.server.start("127.0.0.1", 0)
        self._stack.push_async_callback(self.server.stop)
        return self

    async def client(self) -> Client:
        reader, writer = await asyncio.open_connection(*self.address, limit=2**20)
        client = Client(reader, writer)
        self._stack.callback(client.abort)
        return client


Open = Callable[..., Awaitable[Stage]]


@pytest.fixture
async def open_stage() -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def make(**arguments: Any) -> Stage:
            return await Stage(stack).open(**arguments)

        yield make


@pytest.fixture
async def stage(open_stage: Open) -> Stage:
    return await open_stage()


def post(target: str = "/x", body: bytes = b"{}", *headers: str) -> bytes:
    lines = [f"POST {target} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


# -- what callers send -------------------------------------------------------------------------


async def test_requests_on_one_connection(stage: Stage) -> None:
    client = await stage.client()
    for number in range(3):
        client.send(post(f"/{number}?q=%2f", b"x" * number))
        status, headers, body = await client.answer()
        assert (status, body) == (200, f"POST /{number}?q=%2f {number};".encode())
        assert headers["x-echo"] == "yes"
        assert headers["date"].endswith("gmt")
        assert "connection" not in headers


async def test_a_request_that_comes_byte_by_byte(stage: Stage) -> None:
    client = await stage.client()
    client.writer.transport.get_extra_info("socket").setsockopt(
        socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
    )
    request = post("/slow", b"body", "Authorization: one", "authorization: two")
    for place in range(len(request)):
        client.send(request[place : place + 1])
        await client.writer.drain()
        await asyncio.sleep(0)
    assert (await client.answer())[2] == b"POST /slow 4;"
    assert list(stage.echo.requests[0].authorization) == ["one", "two"]
    assert stage.echo.requests[0].body == b"body"


async def test_a_body_in_chunks(stage: Stage) -> None:
    client = await stage.client()
    client.send(
        b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n4;name=value\r\ndefg\r\n0\r\nAuthorization: trailer\r\n\r\n"
    )
    await client.answer()
    assert stage.echo.requests[0].body == b"abcdefg"
    assert list(stage.echo.requests[0].authorization) == []


async def test_requests_before_the_answer_are_answered_in_order(stage: Stage) -> None:
    client = await stage.client()
    client.send(post("/held") + post("/1") + post("/2"))
    await eventually(lambda: stage.echo.requests)
    client.send(post("/3"))
    assert len(stage.echo.requests) == 1
    stage.echo.let_go.set()
    for target in ("/held", "/1", "/2", "/3"):
        assert (await client.answer())[2] == f"POST {target} 2;".encode()


async def test_head_and_no_content_have_no_body(stage: Stage) -> None:
    client = await stage.client()
    client.send(b"HEAD /x HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(DEADLINE_S):
        head = await client.reader.readuntil(b"\r\n\r\n")
    assert b"Content-Length: 10\r\n" in head
    client.send(b"GET /empty HTTP/1.1\r\nHost: x\r\n\r\n")
    status, headers, _ = await client.answer()
    assert status == 204 and "content-length" not in headers


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /x HTTP/1.0\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
)
async def test_a_connection_that_is_not_kept(stage: Stage, request_: bytes) -> None:
    client = await stage.client()
    client.send(request_)
    status, headers, _ = await client.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert await client.ended() == b""


async def test_a_body_that_waits_for_leave(stage: Stage) -> None:
    client = await stage.client()
    head, _, body = post("/x", b"body", "Expect: 100-continue").partition(b"\r\n\r\n")
    client.send(head + b"\r\n\r\n")
    async with asyncio.timeout(DEADLINE_S):
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(body)
    assert (await client.answer())[2] == b"POST /x 4;"


async def test_a_caller_that_ends_his_side_is_answered(stage: Stage) -> None:
    client = await stage.client()
    client.send(post("/held"))
    client.writer.write_eof()
    await eventually(lambda: stage.echo.requests)
    stage.echo.let_go.set()
    assert (await client.answer())[2] == b"POST /held 2;"
    assert await client.ended() == b""


# -- large bodies ------------------------------------------------------------------------------

LARGE = b"x" * (5 * MAX_BODY_BYTES)


async def test_large_bodies_one_after_the_other(open_stage: Open) -> None:
    large = LargeBodies(3 * len(LARGE))
    stage = await open_stage(large_bodies=large)
    client = await stage.client()
    client.send(post("/held", b"{}") + post("/large", LARGE) * 3)
    await eventually(lambda: stage.echo.requests)
    stage.echo.let_go.set()
    assert (await client.answer())[2] == b"POST /held 2;"
    for _ in range(3):
        assert (await client.answer())[2] == b"POST /large %d;" % len(LARGE)
    assert large.left == 3 * len(LARGE)


@pytest.mark.parametrize("part", [LARGE[:-1], LARGE + post("/x")], ids=["half", "waiting"])
async def test_a_caller_that_goes_away_leaves_nothing(open_stage: Open, part: bytes) -> None:
    large = LargeBodies(11 * MAX_BODY_BYTES)
    stage = await open_stage(large_bodies=large)
    client = await stage.client()
    head = post("/large", LARGE).removesuffix(LARGE)
    client.send(post("/held") + head + part)
    await eventually(lambda: large.left < 11 * MAX_BODY_BYTES)
    client.reset()
    stage.echo.let_go.set()
    await eventually(lambda: stage.server.open_connections == 0)
    assert large.left == 11 * MAX_BODY_BYTES


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\x00c\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked, x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1), 413),
        (b"POST / HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\n", 415),
        (b"GET /" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (MAX_HEAD_BYTES // 2) + b"\r\n", 431),
    ],
    ids=lambda value: repr(value[:50]) if isinstance(value, bytes) else "",
)
async def test_what_is_refused(stage: Stage, data: bytes, status: int) -> None:
    client = await stage.client()
    client.send(data)
    found, headers, body = await client.answer()
    assert (found, headers["connection"]) == (status, "close")
    assert body.decode().endswith(".")
    # The server closes its side; that ours is open holds nothing up.
    assert await client.ended() == b""
    other = await stage.client()
    other.send(post())
    assert (await other.answer())[0] == 200


async def test_endless_parts_of_a_request(stage: Stage) -> None:
    async def pour(begin: bytes, piece: bytes) -> int:
        client = await stage.client()
        client.send(begin)
        for _ in range(200):
            client.send(piece)
        return (await client.answer())[0]

    piece = b"a" * 1_000
    assert await pour(b"GET /", piece) == 431
    assert await pour(b"GET / HTTP/1.1\r\nA: ", piece) == 431
    assert await pour(b"GET / HTTP/1.1\r\n", b"A: " + piece + b"\r\n") == 431
    chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert await pour(chunked, b"3e8\r\n" + piece + b"\r\n") == 413
    assert await pour(chunked + b"0\r\n", b"A: " + piece + b"\r\n") == 431


async def test_the_answer_before_a_refusal_comes_first(stage: Stage) -> None:
    client = await stage.client()
    client.send(post("/held") + b"nonsense\r\n\r\n")
    await eventually(lambda: stage.echo.requests)
    stage.echo.let_go.set()
    assert (await client.answer())[0] == 200
    assert (await client.answer())[0] == 400
    assert await client.ended() == b""


async def test_a_refused_body_may_still_be_sent(stage: Stage) -> None:
    # Else the answer would be lost with the reset of the connection.
    client = await stage.client()
    client.send(post("/x", b"x" * 5_000_000))
    assert (await client.answer())[0] == 413


# -- what takes too long -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "begun", [b"POST", b"POST / HTTP/1.1\r\nHost: x\r\n", post("/", b"body")[:-1]]
)
async def test_a_request_that_never_ends(open_stage: Open, begun: bytes) -> None:
    stage = await open_stage(patience=Patience(request=0.05, idle=600, answer=600, end=0.05))
    client = await stage.client()
    client.send(begun)
    assert (await client.answer())[0] == 408
    assert await client.ended() == b""
    assert stage.echo.requests == []


async def test_drops_do_not_prolong_a_request(open_stage: Open) -> None:
    stage = await open_stage(patience=Patience(request=0.1, idle=600, answer=600, end=0.1))
    client = await stage.client()
    client.send(b"GET / HTTP/1.1\r\nA: ")
    answer = asyncio.create_task(client.answer())
    while not answer.done():
        client.send(b"a")
        await asyncio.sleep(0.005)
    assert (await answer)[0] == 408


async def test_an_idle_connection_ends(open_stage: Open) -> None:
    stage = await open_stage(patience=Patience(request=600, idle=0.05, answer=600, end=600))
    fresh, used = await stage.client(), await stage.client()
    used.send(post())
    await used.answer()
    assert await fresh.ended() == await used.ended() == b""


async def test_the_time_for_an_answer_is_not_the_callers(open_stage: Open) -> None:
    stage = await open_stage(patience=Patience(request=0.02, idle=0.02, answer=0.02, end=0.02))
    held, other = await stage.client(), await stage.client()
    held.send(post("/held"))
    await eventually(lambda: stage.echo.requests)
    assert await other.ended() == b""  # its time was over, and that of others
    stage.echo.let_go.set()
    assert (await held.answer())[0] == 200


async def test_who_takes_no_answers_gets_no_more(open_stage: Open) -> None:
    stage = await open_stage(patience=Patience(request=600, idle=600, answer=0.05, end=600))
    stage.echo.size = 1_000_000
    client = await stage.client()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    requests = post() * 200
    client.send(requests)
    await eventually(lambda: stage.server.open_connections == 0)
    assert len(stage.echo.requests) <= 200
    other = await stage.client()
    stage.echo.size = 0
    other.send(post())
    assert (await other.answer())[0] == 200


# -- how many ----------------------------------------------------------------------------------


async def test_a_thousand_idle_connections(stage: Stage) -> None:
    clients = [await stage.client() for _ in range(1_000)]
    busy = await stage.client()
    busy.send(post())
    assert (await busy.answer())[0] == 200
    clients[0].send(post("/still-open"))
    assert (await clients[0].answer())[0] == 200


async def test_the_longest_idle_make_room(open_stage: Open) -> None:
    stage = await open_stage(most=3)
    held, used, idle = [await stage.client() for _ in range(3)]
    held.send(post("/held"))
    await eventually(lambda: stage.echo.requests)
    newest = await stage.client()
    newest.send(post("/new"))
    assert (await newest.answer())[0] == 200
    assert await idle.ended() == b"" == await used.ended()
    stage.echo.let_go.set()
    assert (await held.answer())[0] == 200


async def test_without_idle_ones_the_new_one_has_no_place(open_stage: Open) -> None:
    stage = await open_stage(most=1)
    held = await stage.client()
    held.send(post("/held"))
    await eventually(lambda: stage.echo.requests)
    assert await (await stage.client()).ended() == b""
    stage.echo.let_go.set()
    assert (await held.answer())[0] == 200


# -- the end -----------------------------------------------------------------------------------


async def test_stopping_waits_for_what_is_under_way(stage: Stage) -> None:
    held, arriving, idle = [await stage.client() for _ in range(3)]
    held.send(post("/held"))
    arriving.send(post("/arriving")[:-1])
    await eventually(lambda: stage.echo.requests)
    await eventually(lambda: stage.server.busy_connections == 2)
    stopping = asyncio.create_task(stage.server.stop())
    assert await idle.ended() == b""
    arriving.send(b"}")
    status, headers, _ = await arriving.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert not stopping.done()
    stage.echo.let_go.set()
    status, headers, _ = await held.answer()
    assert (status, headers["connection"]) == (200, "close")
    await stopping


async def test_stopping_waits_for_the_answer_to_a_caller_that_went_away(stage: Stage) -> None:
    client = await stage.client()
    client.send(post("/held"))
    await eventually(lambda: stage.echo.requests)
    client.reset()
    await eventually(lambda: stage.server.open_connections == 0)
    stopping = asyncio.create_task(stage.server.stop())
    await asyncio.sleep(0)
    assert not stopping.done()
    stage.echo.let_go.set()
    await stopping


async def test_what_came_before_the_callers_end_is_answered(stage: Stage) -> None:
    client = await stage.client()
    client.send(post("/held") + post("/1"))
    client.writer.write_eof()
    await eventually(lambda: stage.echo.requests)
    stage.echo.let_go.set()
    assert (await client.answer())[2] == b"POST /held 2;"
    assert (await client.answer())[2] == b"POST /1 2;"
    assert await client.ended() == b""


async def test_stopping_waits_no_longer_than_told() -> None:
    echo = Echo()
    server = HttpServer(echo, shutdown_s=0.05)
    address = await server.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(post("/held"))
    await eventually(lambda: echo.requests)
    async with asyncio.timeout(DEADLINE_S):
        await server.stop()
        assert await Client(reader, writer).ended() == b""
    writer.close()
