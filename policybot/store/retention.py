"""Forgetting in time: verdicts, their details, and sooner the texts of refused messages.

The tables are walked from one end to the other in slices, each a transaction of its own with a
pause after it, so verdicts do not wait and no index on the time is needed, which each new verdict
would pay for.
"""

import asyncio
import logging
from collections.abc import Callable

from mautrix.util.async_db import Connection, Database

from .transaction import ROWS_AT_ONCE, transact

log = logging.getLogger("policybot.store")

DAY_MS = 24 * 60 * 60 * 1000

_VERDICTS_AT_ONCE = 2_000  # they are small
_PAUSE_S = 0.02
_FIRST_AFTER_S = 60.0
_INTERVAL_S = 3_600.0


class Retention:
    """Removes what is too old. ``clock`` gives milliseconds since 1970."""

    def __init__(
        self, db: Database, *, clock: Callable[[], int], retention_days: int, keep_text_ms: int
    ) -> None:
        self._db = db
        self._clock = clock
        self._retention_days = retention_days
        self._keep_text_ms = keep_text_ms
        self._verdicts_pruned_on: int | None = None

    async def run(self) -> None:
        """Prune every hour, until cancelled."""
        await asyncio.sleep(_FIRST_AFTER_S)
        while True:
            try:
                await self.prune()
            except Exception:
                log.exception("Old verdicts could not be removed; this is tried again in an hour.")
            await asyncio.sleep(_INTERVAL_S)

    async def prune(self) -> None:
        """Remove what is too old now. Verdicts are kept by the day, so they are walked only once
        a day."""
        now = self._clock()
        await self._prune_decisions(now)
        today = now // DAY_MS
        if self._verdicts_pruned_on != today:
            await self._prune_verdicts(today - self._retention_days)
            self._verdicts_pruned_on = today

    async def _prune_decisions(self, now: int) -> None:
        # Two statements: SQLite would read the whole table to answer both at once.
        first: int | None = await self._db.fetchval("SELECT MIN(number) FROM decision")
        latest: int | None = await self._db.fetchval("SELECT MAX(number) FROM decision")
        if first is None or latest is None:
            return
        # The latest row stays, whatever its age, since numbering goes on from there.
        for lowest in range(first, latest + 1, ROWS_AT_ONCE):
            highest = min(lowest + ROWS_AT_ONCE - 1, latest)
            await self._prune_slice(lowest, highest, latest, now)
            await asyncio.sleep(_PAUSE_S)

    async def _prune_slice(self, lowest: int, highest: int, latest: int, now: int) -> None:
        async def write(conn: Connection) -> None:
            await conn.execute(
                """DELETE FROM decision
                WHERE number BETWEEN $1 AND $2 AND number < $3 AND received_ts < $4""",
                lowest,
                highest,
                latest,
                now - self._retention_days * DAY_MS,
            )
            await conn.execute(
                """UPDATE decision SET text = NULL
                WHERE number BETWEEN $1 AND $2 AND text IS NOT NULL AND received_ts < $3""",
                lowest,
                highest,
                now - self._keep_text_ms,
            )

        await transact(self._db, write)

    async def _prune_verdicts(self, oldest_day: int) -> None:
        after = b""
        while True:
            upto: bytes | None = await self._db.fetchval(
                f"""SELECT key FROM verdict WHERE key > $1
                ORDER BY key LIMIT 1 OFFSET {_VERDICTS_AT_ONCE - 1}""",
                after,
            )
            await self._prune_keys(after, upto, oldest_day)
            if upto is None:
                return
            after = upto
            await asyncio.sleep(_PAUSE_S)

    async def _prune_keys(self, after: bytes, upto: bytes | None, oldest_day: int) -> None:
        async def write(conn: Connection) -> None:
            if upto is None:
                await conn.execute(
                    "DELETE FROM verdict WHERE key > $1 AND day < $2", after, oldest_day
                )
            else:
                await conn.execute(
                    "DELETE FROM verdict WHERE key > $1 AND key <= $2 AND day < $3",
                    after,
                    upto,
                    oldest_day,
                )

        await transact(self._db, write)
