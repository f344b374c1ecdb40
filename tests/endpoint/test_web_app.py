"""The bounds of the server that is used where httptools is not installed."""

import asyncio

import pytest

from policybot.endpoint.web_app import WebServer
from policybot.protocol.paths import SIGN

from .scene import DEADLINE_S, Scene

PART_OF_HEAD = f"POST {SIGN} HTTP/1.1\r\nHost: exam".encode()
PART_OF_BODY = f"POST {SIGN} HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n{{".encode()


async def all_of(server: WebServer, sent: bytes) -> bytes:
    """What comes on a connection, until it ends, on which nothing more is sent."""
    host, port = await server.start("127.0.0.1", 0)
    try:
        async with asyncio.timeout(DEADLINE_S):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(sent)
            answer = await reader.read()
            writer.close()
            return answer
    finally:
        await server.stop()


@pytest.mark.parametrize("sent", [b"", PART_OF_HEAD], ids=["nothing", "part of a head"])
async def test_a_connection_on_which_no_request_comes_ends(sent: bytes) -> None:
    assert await all_of(WebServer(Scene().routes, idle_s=0.05), sent) == b""


async def test_a_body_that_does_not_come(caplog: pytest.LogCaptureFixture) -> None:
    answer = await all_of(WebServer(Scene().routes, request_s=0.05), PART_OF_BODY)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive in time" in answer
    assert caplog.text == ""
