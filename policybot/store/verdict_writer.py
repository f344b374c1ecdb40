"""Verdicts into the database and out of it, a batch at a time.

Whatever is written, the verdict that was stored first stands; each method returns what stands by
key. Errors of the database are left to the caller, who may repeat the same batch: if the first
attempt was committed after all, the second finds its rows.
"""

from collections.abc import Sequence
from functools import lru_cache

from mautrix.util.async_db import Connection, Database

from policybot.policy.verdict import Decision

from .transaction import connection, fetch_at_once, transaction
from .verdict_log import INSERT_DECISION, decision_row

_INSERT_VERDICT = "INSERT INTO verdict (key, day, signed) VALUES ($1, $2, $3)"


class VerdictWriter:
    """The only one that numbers decisions. Its methods must not run at the same time."""

    def __init__(self, db: Database, *, keep_text: bool) -> None:
        self._db = db
        self._keep_text = keep_text
        self._latest: int | None = None

    async def standing(self, keys: Sequence[bytes]) -> dict[bytes, bool]:
        """What is stored under the keys; a key that is not stored is left out."""
        async with connection(self._db) as conn:
            return await _select(conn, keys)

    async def write_accepts(self, keys: Sequence[bytes], day: int) -> dict[bytes, bool]:
        """Store accepts without details: one statement, which is its own transaction.

        ``day`` counts from 1970. A key whose row was pruned just now may be left out.
        """
        async with connection(self._db) as conn:
            inserted = await fetch_at_once(conn, _insert_accepts(len(keys)), day, *keys)
            standing = {row[0]: True for row in inserted}
            if len(standing) < len(keys):
                others = [key for key in keys if key not in standing]
                standing |= await _select(conn, others)
            return standing

    async def write_decisions(self, decisions: Sequence[Decision], day: int) -> dict[bytes, bool]:
        """Store verdicts with their details, numbered in the given order. ``day`` counts from
        1970."""
        try:
            async with transaction(self._db) as conn:
                standing = await _select(conn, [decision.key for decision in decisions])
                new = [decision for decision in decisions if decision.key not in standing]
                latest = await self._latest_number(conn)
                if new:
                    latest = await self._insert(conn, new, day, latest)
        except BaseException:
            # Whether that was committed is not known, so the number is read again.
            self._latest = None
            raise
        self._latest = latest
        return standing | {decision.key: decision.signed for decision in new}

    async def _insert(
        self, conn: Connection, decisions: Sequence[Decision], day: int, latest: int
    ) -> int:
        # Row by row, since SQLite keeps a journal of its own for a statement with many rows
        # within a transaction. No "ON CONFLICT": if another process was faster, all is repeated.
        await conn.executemany(
            _INSERT_VERDICT, [(decision.key, day, decision.signed) for decision in decisions]
        )
        rows = [
            decision_row(number, decision, details, self._keep_text)
            for number, (decision, details) in enumerate(
                (
                    (decision, decision.details)
                    for decision in decisions
                    if decision.details is not None
                ),
                latest + 1,
            )
        ]
        if rows:
            await conn.executemany(INSERT_DECISION, rows)
        return latest + len(rows)

    async def _latest_number(self, conn: Connection) -> int:
        if self._latest is not None:
            return self._latest
        return int(await conn.fetchval("SELECT COALESCE(MAX(number), 0) FROM decision"))


async def _select(conn: Connection, keys: Sequence[bytes]) -> dict[bytes, bool]:
    rows = await fetch_at_once(conn, _select_verdicts(len(keys)), *keys)
    return {key: bool(signed) for key, signed in rows}


@lru_cache(maxsize=1_024)
def _insert_accepts(count: int) -> str:
    rows = ", ".join(f"(${place}, $1, TRUE)" for place in range(2, 2 + count))
    return (
        f"INSERT INTO verdict (key, day, signed) VALUES {rows} "
        "ON CONFLICT (key) DO NOTHING RETURNING key"
    )


@lru_cache(maxsize=1_024)
def _select_verdicts(count: int) -> str:
    places = ", ".join(f"${place}" for place in range(1, 1 + count))
    return f"SELECT key, signed FROM verdict WHERE key IN ({places})"
