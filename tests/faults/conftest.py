"""The process, on a homeserver whose time is now."""

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.bot.fake_homeserver import FakeHomeserver
from tests.bot.public_front import PublicFront

from .live import Forker, Live


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    forker = Forker()
    yield forker
    forker.close()


@pytest.fixture
async def homeserver() -> AsyncIterator[FakeHomeserver]:
    async with FakeHomeserver("example.org", epoch_ms=time.time_ns() // 1_000_000) as server:
        yield server


@pytest.fixture
async def live(forker: Forker, homeserver: FakeHomeserver, tmp_path: Path) -> AsyncIterator[Live]:
    """A bot that is not started yet; what it logged is shown if the test fails."""
    async with PublicFront() as front:
        live = Live(forker, homeserver, front, tmp_path)
        yield live
        if forker.pid is not None:
            await live.kill()
        print(live.log())
