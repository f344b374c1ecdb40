"""A PostgreSQL server that refuses, restarts, crashes or hangs."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg  # type: ignore[import-untyped]
import pytest
import pytest_asyncio
from mautrix.util.async_db import Connection, Database
from mautrix.util.async_db.asyncpg import PostgresDatabase

from policybot.store import database
from policybot.store.database import DatabaseUnusable, close_database, open_database
from policybot.store.failure import passes
from policybot.store.refusal_log import RefusalLog
from policybot.store.settings import Settings
from policybot.store.transaction import transact
from policybot.store.verdicts import VerdictStore

from ..postgres import Postgres
from .samples import MODS, Clock, accept, eventually, key, refusal, result_of


@pytest_asyncio.fixture
async def db(postgres_url: str) -> AsyncIterator[Database]:
    database = await open_database(postgres_url)
    yield database
    await close_database(database)


async def sessions(db: Database) -> set[int]:
    """The process IDs of our connections."""
    rows = await db.fetch(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        "AND backend_type = 'client backend'"
    )
    return {row["pid"] for row in rows}


# -- connections -----------------------------------------------------------------------------


async def test_connections_are_few_and_kept(db: Database) -> None:
    async def use(conn: Connection) -> None:
        await conn.fetchval("SELECT 1")

    used = []
    for _ in range(3):
        await asyncio.gather(*(transact(db, use) for _ in range(50)))
        used.append(await sessions(db))
    assert len(used[0]) == 4
    assert used == [used[0]] * 3


# -- a server that restarts ------------------------------------------------------------------


async def check_nothing_is_lost(store: VerdictStore, db: Database, count: int) -> None:
    await eventually(lambda: not store.waiting_count)
    rows = await RefusalLog(db).refusals_between(0, count + 1, [MODS])
    assert [row.number for row in rows] == list(range(1, count + 1))
    assert [row.details.event_id for row in rows] == [f"${number}" for number in range(count)]
    accepted = await db.fetchval("SELECT COUNT(*) FROM verdict WHERE signed")
    assert accepted == count


@pytest.mark.parametrize("way", ["stop", "crash"])
async def test_a_server_that_restarts(
    store: VerdictStore, db: Database, postgres: Postgres, way: str
) -> None:
    numbers = iter(range(1_000_000))
    futures = []

    def submit() -> None:
        number = next(numbers)
        futures.append(store.submit(refusal(number)))
        futures.append(store.submit(accept(-number - 1)))

    for _ in range(3):
        ending = asyncio.create_task(asyncio.to_thread(getattr(postgres, way)))
        # Connections go one by one, so a failure may pass while the server is ending.
        while not ending.done():
            submit()
            await asyncio.sleep(0.001)
        await ending
        submit()
        await eventually(lambda: store.failing)
        # What waits is answered from memory, what is only looked up by its own value.
        assert futures[-1] is store.waiting(key(-len(futures) // 2))
        assert not futures[-1].done()
        assert await result_of(store.submit(accept("unknown"), keep=False)) is True
        submit()
        await asyncio.to_thread(postgres.start)
        await eventually(lambda: not store.failing)
    await asyncio.wait(futures)
    await check_nothing_is_lost(store, db, len(futures) // 2)


async def test_other_writes_wait_for_the_server(db: Database, postgres: Postgres) -> None:
    settings = Settings(db)
    await settings.set("name", "old")
    await asyncio.to_thread(postgres.stop)
    writing = asyncio.create_task(settings.set("name", "new"))
    reading = asyncio.create_task(settings.get("name"))
    await asyncio.to_thread(postgres.start)
    await writing
    assert await reading in ("old", "new")
    assert await settings.get("name") == "new"


async def test_connections_that_were_cut_are_replaced(db: Database, postgres: Postgres) -> None:
    settings = Settings(db)
    for number in range(5):
        await asyncio.gather(*(settings.set(f"name {n}", str(number)) for n in range(8)))
        postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        assert await settings.get("name 7") == str(number)


async def test_a_connection_in_disorder_does_not_end_the_process(db: Database) -> None:
    """What asyncpg raises when a server ends at a bad moment; the library's default is to exit."""
    error = asyncpg.InternalClientError("another operation is in progress")
    assert isinstance(db, PostgresDatabase)
    await db._handle_exception(error)
    assert passes(error)


# -- a server that hangs ---------------------------------------------------------------------


async def test_a_server_that_hangs(
    postgres: Postgres, postgres_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = database._POSTGRES_ARGUMENTS | {"command_timeout": 0.2, "timeout": 0.2}
    monkeypatch.setattr(database, "_POSTGRES_ARGUMENTS", arguments)
    db = await open_database(postgres_url)
    store = VerdictStore(db, clock=clock)
    await store.start()
    assert await result_of(store.submit(refusal(0))) is False
    with postgres.frozen():
        future = store.submit(accept(-1))
        await eventually(lambda: store.failing)
        assert store.waiting(key(-1)) is future and not future.done()
        assert await result_of(store.submit(accept("unknown"), keep=False)) is True
    assert await result_of(future) is True
    await check_nothing_is_lost(store, db, 1)
    assert await store.stop() == 0
    await close_database(db)


async def test_closing_does_not_wait_for_a_server_that_hangs(
    postgres: Postgres, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_STOP_PATIENCE_S", 0.1)
    arguments = database._POSTGRES_ARGUMENTS | {"command_timeout": 1_000}
    monkeypatch.setattr(database, "_POSTGRES_ARGUMENTS", arguments)
    db = await open_database(postgres_url)
    with postgres.frozen():
        reading = asyncio.create_task(db.fetchval("SELECT 1"))
        await asyncio.sleep(0)
        # The server still hangs when both have ended.
        async with asyncio.timeout(20):
            await close_database(db)
            await asyncio.wait({reading})
    assert reading.exception() is not None


# -- a server that cannot be used --------------------------------------------------------------


async def refused(url: str) -> str:
    with pytest.raises(DatabaseUnusable) as caught:
        await open_database(url)
    text = str(caught.value)
    assert text.startswith("The PostgreSQL database") and text.endswith(".")
    assert "\n" not in text and "secret" not in text
    return text


async def test_unknown_database(postgres: Postgres) -> None:
    text = await refused(postgres.url("elsewhere"))
    assert "is not there" in text and "createdb" in text


@pytest.mark.parametrize("user", ["policybot", "nobody"])
async def test_wrong_password(postgres: Postgres, postgres_url: str, user: str) -> None:
    with postgres.user_with_password("policybot", "right"):
        right = postgres.url("postgres", user="policybot", password="right")
        await close_database(await open_database(right))
        text = await refused(postgres.url("postgres", user=user, password="secret"))
    assert "does not let policybot in" in text and "password" in text


async def test_no_right_to_make_tables(postgres: Postgres, postgres_url: str) -> None:
    postgres.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with postgres.user_with_password("policybot", "right"):
        text = await refused(postgres.url("postgres", user="policybot", password="right"))
    assert "permission denied" in text and "owner" in text


async def test_an_encoding_that_holds_not_everything(postgres: Postgres) -> None:
    postgres.execute(
        "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0",
    )
    try:
        assert "encoding LATIN1" in await refused(postgres.url("latin"))
    finally:
        postgres.execute("DROP DATABASE latin WITH (FORCE)")


async def test_a_server_that_is_away(postgres: Postgres, postgres_url: str) -> None:
    postgres.stop()
    text = await refused(postgres_url)
    assert "cannot be reached" in text and "start it" in text
    assert "cannot be reached" in await refused("postgres://user:secret@127.0.0.1:1/policybot")
    assert "cannot be reached" in await refused("postgres://user:secret@no.invalid/policybot")


async def test_a_server_that_only_reads(postgres: Postgres, postgres_url: str) -> None:
    text = await refused(f"{postgres_url}&default_transaction_read_only=on")
    assert "read-only" in text
