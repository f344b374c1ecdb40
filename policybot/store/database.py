"""Opening the database, or saying in one sentence why it cannot be used and what to do."""

import asyncio
import logging
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mautrix.util.async_db import (
    Database,
    DatabaseNotOwned,
    ForeignTablesFound,
    Scheme,
    UnsupportedDatabaseVersion,
)
from yarl import URL

from .failure import first_line, is_locked
from .migrations import upgrade_table
from .schema import table_names
from .sqlite_settings import SQLITE_COMMANDS, too_old
from .transaction import connection

log = logging.getLogger("policybot.store")

OWNER = "policybot"

_LOCK_PATIENCE_S = 5.0

_POSTGRES_ARGUMENTS: dict[str, object] = {
    # Connections are kept while they are used, and closed after five idle minutes, before a
    # firewall in between forgets them without a word. With a minimum above 0 asyncpg logs a
    # traceback each time it cannot restore it while the server is away.
    "min_size": 0,
    "max_size": 4,
    # Seconds for connecting and for a statement.
    "timeout": 10,
    "command_timeout": 10,
    # The library's default is to end the process when a connection breaks at a bad moment.
    "meow_exit_on_ice": False,
}

_STOP_PATIENCE_S = 3.0


_AWAY = ("57P01", "57P02", "57P03")  # shutting down, crashed, starting up


class DatabaseUnusable(Exception):
    """The database cannot be used. The text is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where a database is, its name for people (without the password), and how to open it."""

    url: str
    name: str
    arguments: dict[str, object]

    def unusable(self, error: Exception) -> DatabaseUnusable:
        """What an error of this database means for the operator."""
        return DatabaseUnusable(_reason(self.name, error))


async def open_database(url: str) -> Database:
    """Open the database, with the tables of this version.

    ``url`` is ``sqlite:file.db`` (relative), ``sqlite:///directory/file.db`` or
    ``postgres://user:password@host/name``. Whoever opens it must close it with `close_database`:
    the process does not end otherwise.

    Raises:
        DatabaseUnusable: nothing was changed in a database that is not ours or is damaged.
    """
    address = await find_database(url)
    db = Database.create(
        url,
        db_args=address.arguments,
        upgrade_table=upgrade_table,
        owner_name=OWNER,
        ignore_foreign_tables=False,
    )
    try:
        await db.start()
        async with connection(db) as conn:
            if "verdict" not in await table_names(conn):
                raise ForeignTablesFound("it has a version but no verdicts")
    except BaseException as error:
        await close_database(db)
        if not isinstance(error, Exception) or isinstance(error, DatabaseUnusable):
            raise
        raise address.unusable(error) from error
    return db


async def find_database(url: str) -> DatabaseAddress:
    """Check what can be checked before a database is opened. A SQLite file is made if it is not
    there.

    Raises:
        DatabaseUnusable: see `open_database`.
    """
    scheme = url.partition(":")[0]
    if scheme == "sqlite":
        return await _find_sqlite(url)
    if scheme in ("postgres", "postgresql"):
        return _find_postgres(url)
    raise DatabaseUnusable(
        "The database must be given as sqlite: and a file name, such as sqlite:policybot.db, "
        "or as a URL that begins with postgres://."
    )


async def close_database(db: Database) -> None:
    """Close it. What is under way is waited for, on PostgreSQL a few seconds at most."""
    if db.scheme is Scheme.SQLITE:
        await db.stop()
        return
    try:
        async with asyncio.timeout(_STOP_PATIENCE_S):
            await db.stop()
    except Exception as error:
        # The connections are cut then.
        log.warning("The database was not closed in order (%s).", first_line(error))


async def adjust(db: Database) -> None:
    """Set up, as `open_database` does, a database that somebody else has opened for us.

    Raises:
        DatabaseUnusable: SQLite is too old.
    """
    if db.scheme is not Scheme.SQLITE:
        return
    _check_sqlite()
    async with connection(db) as conn:
        for command in SQLITE_COMMANDS:
            await conn.execute(command)


async def _find_sqlite(url: str) -> DatabaseAddress:
    path = sqlite_path(url)
    _check_sqlite()
    # Looked at beforehand, since the library loses its connection (and its thread, which keeps
    # the process from ending) when the first commands fail.
    await asyncio.to_thread(_check_file, path)
    # The library appends to the list, so it gets one of its own.
    return DatabaseAddress(url, f"file {path}", {"init_commands": list(SQLITE_COMMANDS)})


def _check_sqlite() -> None:
    if (sentence := too_old()) is not None:
        raise DatabaseUnusable(sentence)


def sqlite_path(url: str) -> str:
    """The file that a ``sqlite:`` URL names.

    Raises:
        DatabaseUnusable: it names none.
    """
    parsed = URL(url)
    if parsed.host or not parsed.path or parsed.query_string or parsed.fragment:
        raise DatabaseUnusable(
            f"{url} names no database file: write sqlite:policybot.db for a file in the current "
            "directory, or sqlite:///directory/policybot.db, without the characters ? and #."
        )
    if parsed.path.endswith(":memory:"):
        raise DatabaseUnusable(
            "A database in memory would forget every verdict and key: name a file, "
            "such as sqlite:policybot.db."
        )
    return parsed.path


def _check_file(path: str) -> None:
    file = Path(path).absolute()
    if not file.parent.is_dir():
        raise DatabaseUnusable(
            f"The database {file} cannot be made since there is no directory {file.parent}: "
            "make it, or name another file."
        )
    try:
        # A new file can be read by its owner alone: it will hold the signing key.
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
        if not os.access(file.parent, os.W_OK | os.X_OK):
            raise PermissionError(None, f"the directory {file.parent} is not writable")
    except OSError as error:
        raise DatabaseUnusable(
            f"The database {file} cannot be written ({error.strerror}): give the user that "
            "policybot runs as the right to write this file and its directory."
        ) from error
    try:
        _check_pages(file)
        with closing(
            sqlite3.connect(file, timeout=_LOCK_PATIENCE_S, isolation_level=None)
        ) as conn:
            conn.execute("BEGIN IMMEDIATE")
            tables = {name for (name,) in conn.execute("SELECT name FROM sqlite_master")}
            conn.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise DatabaseUnusable(_reason(f"file {file}", error)) from error
    if tables and "verdict" not in tables and not tables <= {"version", "database_owner"}:
        raise DatabaseUnusable(_not_ours(f"file {file}"))


def _check_pages(file: Path) -> None:
    """Read every page now, since a damaged one would come to light at a worse moment. Ten million
    verdicts take about a second.

    Raises:
        sqlite3.Error: it is damaged, and not a byte of it was changed.
    """
    logs = (file.with_name(f"{file.name}-{kind}") for kind in ("wal", "journal"))
    pending = any(log.exists() and log.stat().st_size > 0 for log in logs)
    # What is pending is written back by the last one who may write, even into a damaged file.
    mode = "ro" if pending else "rw"
    with closing(
        sqlite3.connect(f"{file.as_uri()}?mode={mode}", timeout=_LOCK_PATIENCE_S, uri=True)
    ) as conn:
        ((found,),) = conn.execute("PRAGMA quick_check(1)")
        ((page_size,),) = conn.execute("PRAGMA page_size")
    if not pending and file.stat().st_size % page_size:
        raise sqlite3.DatabaseError("its end is missing")
    if found != "ok":
        raise sqlite3.DatabaseError(found.splitlines()[-1])


def _find_postgres(url: str) -> DatabaseAddress:
    if "postgres" not in Database.schemes:
        raise DatabaseUnusable(
            "PostgreSQL needs the package asyncpg: install policybot[postgres], "
            "or use sqlite:policybot.db."
        )
    try:
        parsed = URL(url)
        # Without the password, which must not reach a log.
        name = f"PostgreSQL database {parsed.path.strip('/')} at {parsed.host or 'this host'}"
    except ValueError as error:
        raise DatabaseUnusable(
            "The address of the PostgreSQL database cannot be read: write it as "
            "postgres://user:password@host/name, with special characters percent-encoded."
        ) from error
    hooks = {"init": _check_connection, "reset": _leave_connection}
    return DatabaseAddress(url, name, {**_POSTGRES_ARGUMENTS, **hooks})


async def _leave_connection(conn: Any) -> None:
    """Nothing is set, listened to or locked beyond a transaction here, so nothing is reset when a
    connection goes back to the pool: that spares a round trip for each batch of verdicts."""


async def _check_connection(conn: Any) -> None:
    encoding = conn.get_settings().server_encoding
    if encoding != "UTF8":
        raise DatabaseUnusable(
            f"The PostgreSQL database has the encoding {encoding}, which cannot hold every name "
            "and text: make one with createdb --encoding=UTF8 --template=template0."
        )


def _reason(name: str, error: Exception) -> str:
    if isinstance(error, UnsupportedDatabaseVersion):
        return (
            f"The {name} was written by a newer version of policybot: install that version "
            "again, or put back a backup from before."
        )
    if isinstance(error, (DatabaseNotOwned, ForeignTablesFound)):
        return _not_ours(name)
    if is_locked(error):
        return (
            f"The {name} is in use by another process: stop it (is a second policybot running?) "
            "and start again."
        )
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.OperationalError
    ):
        return (
            f"The {name} is damaged or not a database ({error}), and was left as it is: put a "
            "backup in its place, or name another file."
        )
    if isinstance(error, sqlite3.Error):
        return (
            f"The {name} cannot be used ({error}): check its rights and that the disk is not full."
        )
    return f"The {name} {_postgres_reason(error)}"


def _postgres_reason(error: Exception) -> str:
    text = first_line(error)
    state = str(getattr(error, "sqlstate", None) or "")
    if state in _AWAY or isinstance(error, OSError):
        return f"cannot be reached ({text}): start it, or correct its address."
    if state.startswith("28"):
        return f"does not let policybot in ({text}): correct user and password."
    if state == "3D000":
        return f"is not there ({text}): make it with createdb, or name another."
    if state == "42501":
        return f"cannot be used ({text}): make policybot's user its owner."
    return f"cannot be used ({text}): check the server, and the address, user and password."


def _not_ours(name: str) -> str:
    return f"The {name} belongs to another program: give policybot a database of its own."
