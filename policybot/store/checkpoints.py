"""Copying SQLite's write-ahead log into the database file, beside the writing.

Left to itself SQLite does so within the commit that makes the log too long, and waits there until
the disk has it all: a stop of 50 ms for every verdict that waited. Here another connection does
it, which holds up nobody. What is committed survives ``kill -9`` with or without it.
"""

import asyncio
import logging
import sqlite3
from contextlib import closing
from typing import cast

import aiosqlite
from mautrix.util.async_db import Database

from .transaction import connection

log = logging.getLogger("policybot.store")

MANY_ROWS = 2_000
"""Written since the last time; some 16 MB of log at most. The log is better long: a page that
changes often is then copied less often."""

_INTERVAL_S = 1.0


class Checkpoints:
    """Does its work for an SQLite file; other databases have none to do."""

    def __init__(
        self, db: Database, *, rows: int = MANY_ROWS, interval_s: float = _INTERVAL_S
    ) -> None:
        self._db = db
        self._rows = rows
        self._interval_s = interval_s

    async def run(self) -> None:
        """Copy whenever many rows were written, until cancelled."""
        copied = 0
        while True:
            await asyncio.sleep(self._interval_s)
            written = await self._written()
            if written - copied < self._rows:
                continue
            copied = written
            copying = asyncio.create_task(asyncio.to_thread(_copy, self._db.url.path))
            try:
                await asyncio.shield(copying)
            except asyncio.CancelledError:
                await copying
                raise

    async def _written(self) -> int:
        """How many rows our connection has written so far."""
        async with connection(self._db) as conn:
            return cast(aiosqlite.Connection, conn.wrapped).total_changes


def _copy(path: str) -> None:
    try:
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as conn:
            conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    except sqlite3.Error as error:
        # Another process holds the file. In the end SQLite does it itself, see `database`.
        log.debug("The write-ahead log could not be copied: %s", error)
