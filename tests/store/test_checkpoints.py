"""The write-ahead log is copied beside the writing."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from shutil import copyfile

from mautrix.util.async_db import Database

from policybot.store.checkpoints import MANY_ROWS, Checkpoints
from policybot.store.verdict_writer import VerdictWriter
from policybot.store.verdicts import VerdictStore

from .samples import accept, eventually, key, locked, result_of


def copied(sqlite_file: Path) -> int:
    """The verdicts in the file itself, without its write-ahead log."""
    alone = sqlite_file.with_name("alone.db")
    copyfile(sqlite_file, alone)
    with closing(sqlite3.connect(alone)) as conn:
        try:
            (count,) = conn.execute("SELECT COUNT(*) FROM verdict").fetchone()
        except sqlite3.DatabaseError:  # no such table yet, or the copy was made in between
            return 0
        return int(count)


async def write(db: Database, *names: int) -> None:
    await VerdictWriter(db, keep_text=True).write_accepts([key(name) for name in names], 20_000)


async def test_the_log_is_copied_when_many_rows_were_written(
    db: Database, sqlite_file: Path
) -> None:
    task = asyncio.create_task(Checkpoints(db, rows=100, interval_s=0.01).run())
    await write(db, *range(200))
    await eventually(lambda: copied(sqlite_file) == 200)
    await write(db, *range(200, 300))
    await eventually(lambda: copied(sqlite_file) == 300)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_it_waits_for_nobody_who_writes(
    db: Database, database_url: str, sqlite_file: Path
) -> None:
    await write(db, *range(200))
    async with locked(database_url):
        task = asyncio.create_task(Checkpoints(db, rows=100, interval_s=0.01).run())
        await eventually(lambda: copied(sqlite_file) == 200)
    task.cancel()
    await asyncio.wait({task})


async def test_the_store_does_it(store: VerdictStore, sqlite_file: Path) -> None:
    futures = [store.submit(accept(number)) for number in range(MANY_ROWS + 500)]
    for future in futures:
        await result_of(future)
    await eventually(lambda: copied(sqlite_file) >= MANY_ROWS)
