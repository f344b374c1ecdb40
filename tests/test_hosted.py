"""policybot inside another process: it begins, changes and ends without leaving anything."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession
from mautrix.util.async_db import Database

from policybot.account import Account
from policybot.bot.client import MatrixClient, open_api
from policybot.bot.sync import SyncBatch
from policybot.demo.ports import LOOPBACK, free_ports
from policybot.endpoint.gate import Gate
from policybot.hosted import MOST_WAITING, Host, WebApp
from policybot.protocol.paths import HEALTH
from policybot.store.database import close_database, open_database

from .command import BOT
from .federation.authority import Authority
from .federation.conftest import authority

__all__ = ["authority"]

NOBODY_THERE = "http://127.0.0.1:1"
DEADLINE_S = 20.0


class Surroundings:
    """The process around a host: its web server, as far as the host can tell."""

    def __init__(self) -> None:
        self._serving = False
        self.web_app = WebApp("The rule.", self._serve, self._withdraw)

    def serves(self) -> bool:
        """Whether the endpoint is put there."""
        return self._serving

    def _serve(self, gate: Gate) -> None:
        self._serving = True

    def _withdraw(self) -> None:
        self._serving = False


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = await open_database(f"sqlite://{tmp_path / 'policybot.db'}")
    yield database
    await close_database(database)


@asynccontextmanager
async def hosting(database: Database, around: Surroundings) -> AsyncIterator[Host]:
    """A host whose homeserver is away; at its end nothing of it is left."""
    before = asyncio.all_tasks()
    client = MatrixClient(open_api(NOBODY_THERE))
    host = Host(Account(BOT, NOBODY_THERE), client, database, around.web_app, retry_s=0.05)
    try:
        yield host
    finally:
        async with asyncio.timeout(DEADLINE_S):
            await host.stop(for_good=True)
    assert asyncio.all_tasks() == before


def config(port: int | None, *, tls: Any = None, **sections: Any) -> dict[str, Any]:
    return {
        "moderation_rooms": ["!mods:example.org"],
        "policy_server": {"name": "example.org"},
        "listen": None if port is None else {"host": LOOPBACK, "port": port, "tls": tls},
        **sections,
    }


async def listens(port: int, tls: ssl.SSLContext | None = None) -> bool:
    scheme = "http" if tls is None else "https"
    try:
        async with ClientSession() as session:
            url = f"{scheme}://{LOOPBACK}:{port}{HEALTH}"
            async with session.get(url, ssl=tls or True) as response:
                return response.status == 200
    except (ClientError, OSError):
        return False


async def test_the_endpoint_moves_with_the_configuration(database: Database) -> None:
    around = Surroundings()
    one, other = free_ports(2)
    async with hosting(database, around) as host:
        await host.configure(config(one))
        assert await listens(one) and not around.serves()
        await host.configure(config(other))
        assert await listens(other) and not await listens(one)
        await host.configure(config(None))
        assert around.serves() and not await listens(other)
        await host.configure(config(one))
        assert await listens(one) and not around.serves()
    assert not await listens(one)


async def test_a_certificate_comes_and_goes_with_the_configuration(
    database: Database, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    (port,) = free_ports(1)
    file = str(authority.server_file(LOOPBACK))
    files = {"certificate": file, "key": file}
    tls = authority.client_context()
    async with hosting(database, Surroundings()) as host:
        await host.configure(config(port))
        assert await listens(port)
        await host.configure(config(port, tls=files))
        assert await listens(port, tls) and not await listens(port)
        # What was loaded goes on while the files are bad, whatever else is changed.
        good = Path(file).read_bytes()
        Path(file).write_text("nonsense")
        await host.configure(config(port, tls=files, command_prefix="!p"))
        assert await listens(port, tls) and "cannot be used" not in caplog.text
        Path(file).write_bytes(good)
        await host.configure(config(port, tls={**files, "key": "/no/such.pem"}))
        assert "listen.tls.key: /no/such.pem cannot be read" in caplog.text
        assert await listens(port, tls)
        await host.configure(config(port))
        assert await listens(port) and not await listens(port, tls)

        # What cannot be begun with does not change the certificate either.
        await database.execute("ALTER TABLE protected_room RENAME TO lost")
        await host.configure(config(port, tls=files))
        assert not await listens(port, tls)
        await database.execute("ALTER TABLE lost RENAME TO protected_room")
        async with asyncio.timeout(DEADLINE_S):
            while not await listens(port, tls):
                pass


@pytest.mark.parametrize(
    ("sections", "why"),
    [
        ({"nonsense": 1}, "nonsense: unknown key"),
        (
            {"policy_server": {"name": "elsewhere.example"}, "listen": None},
            "listen is null, but policy_server.name is a name of its own",
        ),
        ({"listen": {"host": "192.0.2.1", "port": 1}}, "cannot listen on 192.0.2.1, port 1"),
        ({"moderation_rooms": []}, "moderation_rooms: name at least one room"),
    ],
)
async def test_a_wrong_configuration_leaves_the_one_before(
    database: Database, caplog: pytest.LogCaptureFixture, sections: dict[str, Any], why: str
) -> None:
    (port,) = free_ports(1)
    async with hosting(database, Surroundings()) as host:
        await host.configure(config(port))
        await host.configure(config(port, **sections))
        assert why in caplog.text
        assert await listens(port)
    # It is known after a restart.
    async with hosting(database, Surroundings()) as host:
        await host.configure(config(port, **sections))
        assert "The configuration before is used." in caplog.text
        assert await listens(port)


async def test_without_any_right_configuration_it_waits_for_one(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    (port,) = free_ports(1)
    async with hosting(database, Surroundings()) as host:
        await host.configure({})
        assert "moderation_rooms: missing" in caplog.text
        assert not await listens(port)
        await host.configure(config(port))
        assert await listens(port)


async def test_a_database_that_fails_at_start_is_tried_again(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    (port,) = free_ports(1)
    await database.execute("ALTER TABLE protected_room RENAME TO lost")
    async with hosting(database, Surroundings()) as host:
        await host.configure(config(port))
        assert "cannot be read" in caplog.text
        assert not await listens(port)
        await database.execute("ALTER TABLE lost RENAME TO protected_room")
        async with asyncio.timeout(DEADLINE_S):
            while not await listens(port):
                pass


async def test_a_database_that_fails_at_a_change_is_tried_again(database: Database) -> None:
    (port,) = free_ports(1)
    async with hosting(database, Surroundings()) as host:
        await host.configure(config(port))
        await database.execute("ALTER TABLE protected_room RENAME TO lost")
        await host.configure(config(port, command_prefix="!p"))
        assert not await listens(port)
        await database.execute("ALTER TABLE lost RENAME TO protected_room")
        async with asyncio.timeout(DEADLINE_S):
            while not await listens(port):
                pass


async def test_what_cannot_be_worked_on_does_not_pile_up(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with hosting(database, Surroundings()) as host:
        for number in range(MOST_WAITING + 1):
            host.take(SyncBatch("", str(number), ()))
        assert caplog.text.count("the oldest is lost") == 1
