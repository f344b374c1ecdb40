"""Two real homeservers for all tests here, and accounts, rooms and a bot for each of them."""

import itertools
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest
import pytest_asyncio

from policybot.demo.bot_process import BotProcess, bot_config
from policybot.demo.cast import Cast, gather_cast
from policybot.demo.network import Network, running_network
from policybot.demo.requirements import what_is_missing

from .federation_server import FederationServer
from .maubot_server import MaubotServer, serving
from .recording_proxy import RecordingProxy

# Encryption needs python-olm, which has no package for newer versions of Python.
collect_ignore = [] if sys.version_info < (3, 13) else ["test_maubot_encryption.py"]

_SUFFIXES = itertools.count(1)


class MakeCast(Protocol):
    """Makes fresh accounts and rooms; ``room_version`` is the public room's."""

    async def __call__(self, *, room_version: str | None = None) -> Cast: ...


class MakeBot(Protocol):
    """Starts a bot for a cast; each keyword adds to a section of the configuration.

    ``name`` is the policy server's, None = that of hs1. With ``start=False`` the bot is only
    configured.
    """

    async def __call__(
        self,
        cast: Cast,
        *,
        name: str | None = None,
        start: bool = True,
        **sections: Mapping[str, Any],
    ) -> BotProcess: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of this directory on the event loop that the network lives on."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def network() -> AsyncIterator[Network]:
    """Two Synapses and the reverse proxy, started once."""
    if (sentence := what_is_missing()) is not None:
        pytest.fail(sentence)
    async with running_network() as network:
        yield network


@pytest_asyncio.fixture(loop_scope="session")
async def make_cast(network: Network) -> MakeCast:
    """A function that makes accounts and rooms that no other test has."""

    async def make(*, room_version: str | None = None) -> Cast:
        return await gather_cast(network, suffix=f"-{next(_SUFFIXES)}", room_version=room_version)

    return make


@pytest_asyncio.fixture(loop_scope="session")
async def cast(make_cast: MakeCast) -> Cast:
    """Accounts and rooms of the default room version."""
    return await make_cast()


@pytest_asyncio.fixture(loop_scope="session")
async def make_bot(network: Network, tmp_path: Path) -> AsyncIterator[MakeBot]:
    """A function that runs the real bot; what it logged is shown if the test fails."""
    bots: list[BotProcess] = []

    async def make(
        cast: Cast,
        *,
        name: str | None = None,
        start: bool = True,
        **sections: Mapping[str, Any],
    ) -> BotProcess:
        config = bot_config(network, cast.bot.account, [cast.moderation_room], name)
        for key, section in sections.items():
            config[key] = {**config.get(key, {}), **section}
        bot = BotProcess(network, tmp_path / f"bot{len(bots)}", config)
        bots.append(bot)
        if start:
            await bot.start()
        return bot

    yield make
    for bot in bots:
        await bot.stop()
        print(f"--- {bot.process.name}", *bot.log_tail(200), sep="\n")
    for name in (network.hs1.name, network.dedicated_name):
        network.route_policy_to(None, name)


@pytest_asyncio.fixture(loop_scope="session")
async def third_server(network: Network) -> AsyncIterator[FederationServer]:
    """A homeserver of the tests' own, new to everyone."""
    server = FederationServer(network.certificates)
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def way(network: Network) -> AsyncIterator[RecordingProxy]:
    """A bot's own way to hs1, which may be closed while hs1 itself stays up for everyone else."""
    way = RecordingProxy(network)
    await way.start()
    yield way
    await way.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def maubot(network: Network, tmp_path: Path) -> AsyncIterator[MaubotServer]:
    """A maubot server with the plugin, and no client yet."""
    async with serving(network, tmp_path / "maubot") as server:
        yield server
