"""Decisions and rules to store, and a few ways to disturb a database."""

import asyncio
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from typing import Any

import asyncpg  # type: ignore[import-untyped]
from mautrix.util.async_db import Database, UpgradeTable

from policybot.policy.rule import Recommendation, Rule, RuleKind
from policybot.policy.verdict import Decision, Details, Ground
from policybot.store.database import OWNER
from policybot.store.migrations import create_tables

ROOM = "!room:example.org"
MODS = "!mods:example.org"
NOW = 20_000 * 24 * 60 * 60 * 1000 + 12_345
DAY_MS = 24 * 60 * 60 * 1000

RULE = Rule(
    list_id="!list:example.org",
    kind=RuleKind.USER,
    event_type="m.policy.rule.user",
    state_key="rule:@spammer*",
    entity="@spammer*:example.com",
    entity_hash="",
    recommendation=Recommendation.BAN,
    reason="spam",
    event_id="$rule",
    sender="@mod:example.org",
    origin_server_ts=NOW - DAY_MS,
)


class Clock:
    """A clock that stands still until it is set; milliseconds since 1970."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


def key(name: object) -> bytes:
    return hashlib.sha256(str(name).encode()).digest()


def accept(name: object) -> Decision:
    return Decision(key(name), True)


def refusal(name: object, **details: Any) -> Decision:
    return Decision(key(name), False, refusal_details(name, **details))


def refusal_details(name: object, **changes: Any) -> Details:
    details = Details(
        room_id=ROOM,
        moderation_room=MODS,
        event_id=f"${name}",
        event_type="m.room.message",
        state_key=None,
        sender="@spammer1:example.com",
        caller="example.net",
        origin_server_ts=NOW - 5,
        received_ts=NOW,
        ground=Ground.RULE,
        rule=RULE,
        unverified=False,
        old=False,
        text="buy this",
    )
    return replace(details, **changes)


def dry_run_hit(name: object, **details: Any) -> Decision:
    return Decision(key(name), True, refusal_details(name, ground=Ground.DRY_RUN, **details))


def exemption(name: object, **details: Any) -> Decision:
    return Decision(key(name), True, refusal_details(name, ground=Ground.ALLOWED, **details))


@asynccontextmanager
async def locked(url: str) -> AsyncIterator[None]:
    """Another process's connection that holds the database against writing; it can be read."""
    if url.startswith("postgres:"):
        async with locked_tables(url, "SHARE"):
            yield
        return
    path = url.removeprefix("sqlite://")
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as conn:
        await eventually(lambda: _begin(conn))
        yield
        conn.execute("ROLLBACK")


@asynccontextmanager
async def locked_tables(url: str, mode: str) -> AsyncIterator[None]:
    """Another connection to PostgreSQL that holds tables in the given mode."""
    conn = await asyncpg.connect(url, server_settings={"lock_timeout": "0"})
    try:
        async with conn.transaction():
            await conn.execute(f"LOCK TABLE verdict, decision, setting IN {mode} MODE")
            yield
    finally:
        await conn.close()


def _begin(conn: sqlite3.Connection) -> bool:
    try:
        conn.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        return False
    return True


async def eventually(condition: Callable[[], object], deadline_s: float = 20.0) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(deadline_s):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


async def result_of(future: "asyncio.Future[bool]", deadline_s: float = 20.0) -> bool:
    """The future's result."""
    done, _ = await asyncio.wait({future}, timeout=deadline_s)
    assert done
    return future.result()


async def first_version(database_url: str) -> Database:
    """A started database with the tables that the first version made."""
    upgrade_table = UpgradeTable()
    upgrade_table.register(create_tables)
    db = Database.create(
        database_url,
        upgrade_table=upgrade_table,
        owner_name=OWNER,
        ignore_foreign_tables=False,
    )
    await db.start()
    return db
