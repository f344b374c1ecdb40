"""The endpoint, served for one test."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from .scene import Scene

Open = Callable[..., Awaitable[Scene]]


@pytest.fixture
async def open_scene() -> AsyncIterator[Open]:
    """Makes a scene with the given arguments and serves it."""
    async with AsyncExitStack() as stack:

        async def make(**arguments: Any) -> Scene:
            scene = Scene(**arguments)
            scene.client = await stack.enter_async_context(TestClient(TestServer(scene.app)))
            return scene

        yield make


@pytest.fixture
async def scene(open_scene: Open) -> Scene:
    return await open_scene()
