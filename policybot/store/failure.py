"""What an error of the database means: whether it passes, and whose fault it is."""

import sqlite3

try:
    from asyncpg import (  # type: ignore[import-untyped]
        InterfaceError,
        InternalClientError,
    )
except ImportError:  # without PostgreSQL
    _LOST_CONNECTION: tuple[type[Exception], ...] = ()
else:
    # What asyncpg says of a connection that was cut while it was in use, besides OSError.
    _LOST_CONNECTION = (InterfaceError, InternalClientError)

_UNIQUE_VIOLATION = "23505"

_PASSING = frozenset(
    (
        "40001",  # serialization failure
        "40P01",  # deadlock
        "53300",  # too many connections
        "55P03",  # a lock was not to be had in time
        "57P01",  # the server shuts down
        "57P02",  # another session has crashed
        "57P03",  # the server starts up
    )
)
_CONNECTION_EXCEPTION = "08"
_DATA_EXCEPTION = "22"
_INTEGRITY_VIOLATION = "23"


def is_locked(error: BaseException) -> bool:
    """Whether another process holds the database, or the part of it that is needed."""
    code = getattr(error, "sqlite_errorcode", 0) or 0
    return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or _state(error) == "55P03"


def passes(error: BaseException) -> bool:
    """Whether the same may succeed in a moment: somebody holds a lock, or a PostgreSQL server
    restarts."""
    if is_locked(error) or isinstance(error, (OSError, *_LOST_CONNECTION)):
        return True
    state = _state(error)
    return state in _PASSING or state.startswith(_CONNECTION_EXCEPTION)


def is_of_database(error: BaseException) -> bool:
    """Whether it comes from a database, and not from a fault of ours."""
    return isinstance(error, (sqlite3.Error, OSError, *_LOST_CONNECTION)) or bool(_state(error))


def blames_row(error: BaseException) -> bool:
    """Whether the database does not take one of the rows, so that repeating does not help."""
    if isinstance(error, sqlite3.IntegrityError):
        return not _is_taken(error)
    if isinstance(error, (sqlite3.DataError, OverflowError, UnicodeError)):
        return True
    state = _state(error)
    if state == _UNIQUE_VIOLATION:
        return False
    return state.startswith((_DATA_EXCEPTION, _INTEGRITY_VIOLATION))


def first_line(error: BaseException) -> str:
    """What the error says, without the rest: there PostgreSQL may repeat a whole row, and with it
    somebody's message."""
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__


def refuses_row(error: BaseException) -> bool:
    """Whether the database does not take a row, for what it holds or since its key is taken."""
    return (
        blames_row(error)
        or isinstance(error, sqlite3.IntegrityError)
        or _state(error) == _UNIQUE_VIOLATION
    )


def _is_taken(error: sqlite3.IntegrityError) -> bool:
    """Whether a row with that key or number is there. We look before we insert, so another
    process was faster, and the next attempt sees its row."""
    return getattr(error, "sqlite_errorcode", 0) in (
        sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
        sqlite3.SQLITE_CONSTRAINT_ROWID,
        sqlite3.SQLITE_CONSTRAINT_UNIQUE,
    )


def _state(error: BaseException) -> str:
    """PostgreSQL's code (SQLSTATE), or ""."""
    return str(getattr(error, "sqlstate", None) or "")
