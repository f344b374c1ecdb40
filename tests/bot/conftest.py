"""A fake homeserver and the bot's client on it."""

from collections.abc import AsyncIterator

import pytest

from policybot.bot.client import MatrixClient, open_api

from .fake_homeserver import FakeHomeserver

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
