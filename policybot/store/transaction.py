"""The one way in which everything is written to the database.

SQLite has a single connection here (PostgreSQL a small pool), so whoever holds it never waits for
anything but the database.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar, cast
from weakref import WeakSet

import aiosqlite
from mautrix.util.async_db import Connection, Database, Scheme

from .failure import passes

T = TypeVar("T")

ROWS_AT_ONCE = 500
"""How many rows bulk work reads or writes before it lets others at the database."""

PATIENCE_S = 5.0
_PAUSE_S = 0.05

_running: set["asyncio.Task[object]"] = set()

_given_up: "WeakSet[Database]" = WeakSet()
"""Those that were waited for in vain: until one of them works again, each work is tried once."""


async def transact(db: Database, work: Callable[[Connection], Awaitable[T]]) -> T:
    """Run ``work`` in one transaction and return its result.

    Cancelling the caller does not cut the transaction: a SQLite transaction that is cancelled
    half way would stay open on the only connection, and swallow what others write later. While
    another process holds a lock, or a PostgreSQL server restarts, this is tried again for a few
    seconds. So ``work`` may run more than once, also after a commit whose answer was lost.
    """
    task = asyncio.ensure_future(_patiently(db, work))
    _running.add(task)
    task.add_done_callback(_ended)
    return await asyncio.shield(task)


async def settle() -> None:
    """Wait for the transactions under way, also those whose callers were cancelled, within a
    bound."""
    loop = asyncio.get_running_loop()
    running = {task for task in _running if task.get_loop() is loop}
    if running:
        await asyncio.wait(running, timeout=2 * PATIENCE_S)


def _ended(task: "asyncio.Task[object]") -> None:
    _running.discard(task)
    # The error is the caller's, if he is still there.
    if not task.cancelled():
        task.exception()


async def _patiently(db: Database, work: Callable[[Connection], Awaitable[T]]) -> T:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + (0 if db in _given_up else PATIENCE_S)
    while True:
        try:
            async with transaction(db) as conn:
                result = await work(conn)
        except Exception as error:
            if not passes(error):
                raise
            if loop.time() >= deadline:
                _given_up.add(db)
                raise
        else:
            _given_up.discard(db)
            return result
        await asyncio.sleep(_PAUSE_S)


@asynccontextmanager
async def transaction(db: Database) -> AsyncIterator[Connection]:
    """One transaction; after it the connection is clean, also if the commit itself failed or the
    task was cancelled."""
    async with connection(db) as conn:
        try:
            async with cast(Any, conn).transaction():
                yield conn
        except BaseException:
            wrapped = conn.wrapped
            if isinstance(wrapped, aiosqlite.Connection) and wrapped.in_transaction:
                await wrapped.rollback()
            raise


def connection(db: Database) -> AbstractAsyncContextManager[Connection]:
    """A connection for single statements."""
    return cast("AbstractAsyncContextManager[Connection]", db.acquire())


async def fetch_at_once(conn: Connection, sql: str, *args: object) -> list[Any]:
    """The rows of one statement, as ``conn.fetch`` gives them.

    With SQLite this visits the database's thread once instead of three times (execute, fetch,
    close), which is most of what a small statement costs.
    """
    if conn.scheme is Scheme.SQLITE:
        visit = cast(aiosqlite.Connection, conn.wrapped)
        return list(await visit.execute_fetchall(sql.replace("$", "?"), args))
    return await conn.fetch(sql, *args)


def storable(text: str) -> str:
    """The text as every database takes it: PostgreSQL refuses NUL, and none takes a lone
    surrogate."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
