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
Serve = Callable[[Scene], Awaitable[None]]


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
async def serve(make_server: Callable[..., Server]) -> AsyncIterator[Serve]:
    """Serves a scene until the test is over."""
    async with AsyncExitStack() as stack:

        async def start(scene: Scene) -> None:
            listener = Listener(scene.routes, "127.0.0.1", 0, make_server(scene.routes))
            await listener.start()
            stack.push_async_callback(listener.stop)
            scene.port = int(listener.url.rpartition(":")[2])
            scene.session = await stack.enter_async_context(ClientSession(listener.url))

        yield start


@pytest.fixture
def open_scene(serve: Serve) -> Open:
    """Makes a scene with the given arguments and serves it."""

    async def make(**arguments: Any) -> Scene:
        scene = Scene(**arguments)
        await serve(scene)
        return scene

    return make


@pytest.fixture
async def scene(open_scene: Open) -> Scene:
    return await open_scene()
