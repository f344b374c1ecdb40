"""Transactions: never cut in half, patient with locks."""

import asyncio

import pytest
from mautrix.util.async_db import Connection, Database

from policybot.store import transaction
from policybot.store.settings import Settings
from policybot.store.transaction import settle, storable, transact

from .samples import locked

DEADLINE_S = 20.0
INSERT = "INSERT INTO setting (name, value) VALUES ($1, $2)"


async def names(db: Database) -> set[str]:
    return {row["name"] for row in await db.fetch("SELECT name FROM setting")}


async def test_cancelled_caller_does_not_cut_the_transaction(db: Database) -> None:
    begun = asyncio.Event()
    go_on = asyncio.Event()

    async def work(conn: Connection) -> None:
        await conn.execute(INSERT, "first", "")
        begun.set()
        await go_on.wait()
        await conn.execute(INSERT, "second", "")

    caller = asyncio.create_task(transact(db, work))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    # Waits for the connection, and so for the transaction.
    await Settings(db).set("third", "")
    assert await names(db) == {"first", "second", "third"}


async def test_a_cancelled_callers_transaction_is_waited_for(db: Database) -> None:
    begun = asyncio.Event()
    go_on = asyncio.Event()

    async def work(conn: Connection) -> None:
        begun.set()
        await go_on.wait()
        await conn.execute(INSERT, "first", "")

    caller = asyncio.create_task(transact(db, work))
    await begun.wait()
    caller.cancel()
    settling = asyncio.create_task(settle())
    await asyncio.sleep(0)
    assert not settling.done()
    go_on.set()
    await settling
    assert await names(db) == {"first"}
    await settle()


@pytest.mark.parametrize("steps", range(0, 40, 3))
async def test_pool_is_clean_wherever_the_caller_is_cancelled(db: Database, steps: int) -> None:
    settings = Settings(db)
    caller = asyncio.create_task(settings.get_or_set("name", "first"))
    for _ in range(steps):
        await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait({caller})
    await settings.set("name", "second")
    assert await settings.get("name") == "second"


async def test_failed_work_leaves_nothing(db: Database) -> None:
    async def work(conn: Connection) -> None:
        await conn.execute(INSERT, "first", "")
        raise LookupError("fault")

    with pytest.raises(LookupError):
        await transact(db, work)
    assert await names(db) == set()
    await Settings(db).set("second", "")
    assert await names(db) == {"second"}


async def test_a_commit_that_fails_leaves_nothing(db: Database) -> None:
    await db.execute("CREATE TABLE parent (id BIGINT PRIMARY KEY)")
    await db.execute(
        """CREATE TABLE child (
            id BIGINT PRIMARY KEY REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED
        )"""
    )

    async def work(conn: Connection) -> None:
        await conn.execute("INSERT INTO child (id) VALUES (1)")

    with pytest.raises(Exception, match=r"(?i)foreign key"):
        await transact(db, work)
    await Settings(db).set("next", "")
    assert await names(db) == {"next"}
    assert await db.fetchval("SELECT COUNT(*) FROM child") == 0


async def test_cancelled_transaction_is_rolled_back(db: Database) -> None:
    """As at the end of the event loop, which cancels whatever still runs."""
    begun = asyncio.Event()
    inner: list[asyncio.Task[object] | None] = []

    async def work(conn: Connection) -> None:
        await conn.execute(INSERT, "first", "")
        inner.append(asyncio.current_task())
        begun.set()
        await asyncio.Event().wait()

    caller = asyncio.create_task(transact(db, work))
    await begun.wait()
    assert inner[0] is not None
    inner[0].cancel()
    await asyncio.wait({caller})
    await Settings(db).set("second", "")
    assert await names(db) == {"second"}


async def test_waits_for_a_lock_to_go(db: Database, database_url: str) -> None:
    settings = Settings(db)
    async with locked(database_url):
        writing = asyncio.create_task(settings.set("name", "value"))
        # Longer than a single attempt.
        await asyncio.wait({writing}, timeout=0.3)
        assert not writing.done()
        # The connection is not held meanwhile.
        assert await settings.get("name") is None
    await writing
    assert await settings.get("name") == "value"


async def test_a_lock_that_stays_is_waited_for_only_once(
    db: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = 0

    async def work(conn: Connection) -> None:
        nonlocal attempts
        attempts += 1
        await conn.execute(INSERT, "name", "")

    async with locked(database_url):
        monkeypatch.setattr(transaction, "PATIENCE_S", 0.3)
        with pytest.raises(Exception, match="lock"):
            await transact(db, work)
        first = attempts
        with pytest.raises(Exception, match="lock"):
            await transact(db, work)
        assert first > 1 and attempts == first + 1
    await transact(db, work)
    # Now there is patience again.
    monkeypatch.setattr(transaction, "PATIENCE_S", DEADLINE_S)
    async with locked(database_url):
        writing = asyncio.create_task(Settings(db).set("name", "new"))
        await asyncio.wait({writing}, timeout=0.3)
        assert not writing.done()
    await writing


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("plain", "plain"),
        ("Grüße 👋", "Grüße 👋"),
        ("a\0b", "a\ufffdb"),
        ("a\ud800b", "a?b"),
        ("", ""),
    ],
)
def test_storable(text: str, stored: str) -> None:
    assert storable(text) == stored
