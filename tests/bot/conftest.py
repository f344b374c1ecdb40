"""A fake homeserver and the bot's client on it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from policybot.bot.client import MatrixClient, open_api

from .dedicated import Dedicated
from .fake_homeserver import FakeHomeserver
from .moderated import Moderated
from .public_front import PublicFront

BOT = "@policybot:example.org"
ALICE = "@alice:example.org"


@pytest.fixture
async def homeserver() -> AsyncIterator[FakeHomeserver]:
    async with FakeHomeserver("example.org") as server:
        yield server


@pytest.fixture
async def client(homeserver: FakeHomeserver) -> AsyncIterator[MatrixClient]:
    client = MatrixClient(open_api(homeserver.url, homeserver.token(BOT)))
    yield client
    await client.close()


@pytest.fixture
async def moderated(homeserver: FakeHomeserver, tmp_path: Path) -> AsyncIterator[Moderated]:
    """A bot that is not started yet; it is stopped at the end."""
    async with PublicFront() as front:
        moderated = Moderated(homeserver, front, tmp_path)
        yield moderated
        await moderated.stop()


@pytest.fixture
async def idle_dedicated(homeserver: FakeHomeserver, tmp_path: Path) -> AsyncIterator[Dedicated]:
    """A bot whose policy server has a name of its own, not started yet; stopped at the end."""
    async with PublicFront() as front:
        dedicated = Dedicated(homeserver, front, tmp_path)
        yield dedicated
        await dedicated.stop()


@pytest.fixture
async def dedicated(idle_dedicated: Dedicated) -> Dedicated:
    """The same, started."""
    await idle_dedicated.start()
    return idle_dedicated


@pytest.fixture
async def bot(moderated: Moderated) -> Moderated:
    """A bot that is started and has nothing to do yet."""
    await moderated.start()
    return moderated
