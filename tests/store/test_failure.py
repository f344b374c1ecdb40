"""What an error of the database means."""

import sqlite3

import asyncpg  # type: ignore[import-untyped]
import pytest

from policybot.store.failure import blames_row, is_locked, passes


def sqlite_error(kind: type[sqlite3.Error], code: int) -> sqlite3.Error:
    error = kind()
    error.sqlite_errorcode = code
    return error


BUSY = sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_BUSY)
FULL = sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_FULL)


@pytest.mark.parametrize(
    ("error", "blamed"),
    [
        (sqlite3.IntegrityError(), True),
        (sqlite_error(sqlite3.IntegrityError, sqlite3.SQLITE_CONSTRAINT_TRIGGER), True),
        (sqlite_error(sqlite3.IntegrityError, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY), False),
        (OverflowError(), True),
        (UnicodeEncodeError("utf-8", "x", 0, 1, "no"), True),
        (sqlite3.OperationalError("database is locked"), False),
        (sqlite3.OperationalError("database or disk is full"), False),
        (sqlite3.DatabaseError("database disk image is malformed"), False),
        (ValueError("Connection closed"), False),
        (ConnectionError(), False),
        (RuntimeError("database pool has been stopped"), False),
        (asyncpg.DataError(), True),
        (asyncpg.CheckViolationError(), True),
        (asyncpg.UniqueViolationError(), False),
        (asyncpg.DiskFullError(), False),
    ],
)
def test_whose_fault_it_is(error: Exception, blamed: bool) -> None:
    assert blames_row(error) is blamed


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (BUSY, True),
        (FULL, False),
        (ConnectionRefusedError(), True),
        (FileNotFoundError("no socket"), True),
        (asyncpg.AdminShutdownError(), True),
        (asyncpg.CannotConnectNowError(), True),
        (asyncpg.ConnectionDoesNotExistError(), True),
        (asyncpg.DeadlockDetectedError(), True),
        (asyncpg.LockNotAvailableError(), True),
        (asyncpg.TooManyConnectionsError(), True),
        (asyncpg.InterfaceError("connection is closed"), True),
        (asyncpg.InternalClientError("another operation is in progress"), True),
        (asyncpg.UniqueViolationError(), False),
        (asyncpg.InvalidPasswordError(), False),
        (asyncpg.DiskFullError(), False),
        (LookupError(), False),
    ],
)
def test_whether_it_passes(error: Exception, passing: bool) -> None:
    assert passes(error) is passing


def test_whether_it_is_a_lock() -> None:
    assert is_locked(BUSY)
    assert is_locked(asyncpg.LockNotAvailableError())
    assert not is_locked(FULL)
    assert not is_locked(asyncpg.AdminShutdownError())
