"""The endpoint, served for one test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import uvloop
from aiohttp import ClientSession

from policybot.endpoint.listener import Listener, Server, server_for

from .scene import Scene

ON_BOTH_LOOPS = ("test_connection.py", "test_handshake.py")
"""The transports of the two loops differ in what they take amiss."""

Open = Callable[..., Awaitable[Scene]]


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]] | None:
    if item.path.name not in ON_BOTH_LOOPS:
        return {"asyncio": asyncio.new_event_loop}
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def make_server() -> Callable[..., Server]:
    """What serves the endpoint; a module may put another in its place."""
    return server_for


@pytest.fixture
async def open_scene(make_server: Callable[..., Server]) -> AsyncIterator[Open]:
    """Makes a scene with the given arguments and serves it."""
    async with AsyncExitStack() as stack:

        async def make(**arguments: Any) -> Scene:
            scene = Scene(**arguments)
            listener = Listener(scene.routes, "127.0.0.1", 0, make_server(scene.routes))
            await listener.start()
            stack.push_async_callback(listener.stop)
            scene.port = int(listener.url.rpartition(":")[2])
            scene.session = await stack.enter_async_context(ClientSession(listener.url))
            return scene

        yield make


@pytest.fixture
async def scene(open_scene: Open) -> Scene:
    return await open_scene()
