"""Clients that are slow, silent or many, while others want their answers.

How long each may take is tested with the bounds passed in, in tests/endpoint.
"""

import asyncio
import os
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from policybot.protocol.paths import SIGN
from tests.bot.moderated import DEADLINE_S
from tests.store.samples import eventually

from .live import Live

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]

PART_OF_HEAD = f"POST {SIGN} HTTP/1.1\r\nHost: exam".encode()
PART_OF_BODY = f"POST {SIGN} HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n{{".encode()
MOST = 2_000  # connections, see HttpServer


@asynccontextmanager
async def connections(
    live: Live, count: int, beginning: bytes = b""
) -> AsyncIterator[list[Stream]]:
    """So many connections that have sent this and then nothing."""
    address = urlsplit(live.front.behind)
    streams: list[Stream] = []
    try:
        for _ in range(count):
            stream = await asyncio.open_connection(address.hostname, address.port)
            streams.append(stream)
            stream[1].write(beginning)
        yield streams
    finally:
        for _, writer in streams:
            writer.transport.abort()


def open_files(live: Live) -> int:
    return len(os.listdir(Path("/proc") / str(live.pid) / "fd"))


async def protected(live: Live) -> str:
    room_id = live.room()
    await live.start()
    assert (await live.ask(f"!policy enable {room_id}")).startswith("✅")
    return room_id


def allow_many_files() -> None:
    """For the connections of this process; usually more than enough are allowed if asked for."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8_192), hard))


async def test_many_idle_and_slow_connections(live: Live) -> None:
    """More than the 1,024 files that systemd allows a service that does not ask for more."""
    allow_many_files()
    room_id = await protected(live)
    before = open_files(live)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(connections(live, 1_000))
        await stack.enter_async_context(connections(live, 150, PART_OF_HEAD))
        await stack.enter_async_context(connections(live, 150, PART_OF_BODY))
        await eventually(lambda: open_files(live) >= before + 1_300)
        assert (await live.sign(room_id)).status == 200
        assert "“Lobby”: protected" in await live.ask("!policy status")
    await eventually(lambda: open_files(live) < before + 50)
    assert (await live.sign(room_id)).status == 200
    assert "Traceback" not in live.log()


async def test_beyond_a_number_the_longest_idle_connections_end(live: Live) -> None:
    allow_many_files()
    room_id = await protected(live)
    before = open_files(live)
    async with connections(live, MOST + 200) as streams, asyncio.timeout(DEADLINE_S):
        assert await streams[0][0].read() == b""
        assert (await live.sign(room_id)).status == 200
        assert open_files(live) <= before + MOST + 10
        newest, writer = streams[-1]
        writer.write(b"GET /_policybot/health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await newest.readline() == b"HTTP/1.1 200 OK\r\n"


async def test_who_sends_no_more_is_let_go(live: Live) -> None:
    await protected(live)
    before = open_files(live)
    async with connections(live, 20, PART_OF_BODY) as streams, asyncio.timeout(DEADLINE_S):
        for _, writer in streams:
            writer.write_eof()
        for reader, _ in streams:
            await reader.read()
        await eventually(lambda: open_files(live) <= before)
