"""How SQLite is set up, and whether this one will do."""

import sqlite3

OLDEST = (3, 35, 0)  # the first with RETURNING

SQLITE_COMMANDS = (
    # Safe against `kill -9`; a power cut may cost the last moment.
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA foreign_keys = ON",
    # Keys are hashes and spread over all pages: 16 MB of them are kept, and a page that changes
    # often is copied out of the write-ahead log less often. A third off the cost of a verdict.
    "PRAGMA cache_size = -16000",
    # Pages of 4 kB. Only if `checkpoints` cannot keep up, since here a commit stops for it.
    "PRAGMA wal_autocheckpoint = 16000",
    # While another process holds the file, each attempt holds our only connection. Answers wait
    # 200 ms for the store, and reads still work then, so attempts are short and repeated.
    # Comes last: until here, sqlite3's own 5 seconds hold.
    "PRAGMA busy_timeout = 100",
)
"""Run on each connection before it is used."""


def too_old() -> str | None:
    """A sentence if this Python's SQLite is too old, else None."""
    if sqlite3.sqlite_version_info >= OLDEST:
        return None
    return (
        f"This Python has SQLite {sqlite3.sqlite_version}, and 3.35 or newer is needed: "
        "install a newer SQLite, or use PostgreSQL."
    )
