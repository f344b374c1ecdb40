"""A database as it is found: whose it is, and of which version. Nothing in it is changed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mautrix.util.async_db import (
    Connection,
    Database,
    DatabaseException,
    ForeignTablesFound,
    Scheme,
    UnsupportedDatabaseVersion,
)

from .database import DatabaseUnusable, close_database, find_database
from .failure import is_of_database
from .schema import LATEST, LIBRARY_TABLES, table_names

_FIRST_TABLES = frozenset(("verdict", "decision", "setting"))

_LONGEST_STATEMENT_S = 600
"""A migration may go through a large table."""


@asynccontextmanager
async def bare_database(url: str) -> AsyncIterator[Database]:
    """The database without making tables or bringing them up to date. A SQLite file is made if
    it is not there.

    Raises:
        DatabaseUnusable: also in place of every error of the database while it is in use.
    """
    address = await find_database(url)
    arguments = dict(address.arguments)
    if "command_timeout" in arguments:
        arguments["command_timeout"] = _LONGEST_STATEMENT_S
    db = Database.create(url, db_args=arguments)
    try:
        await db.start()
        yield db
    except Exception as error:
        if not (is_of_database(error) or isinstance(error, DatabaseException)):
            raise
        raise address.unusable(error) from error
    finally:
        await close_database(db)


async def version_of(conn: Connection) -> int:
    """The version of the schema; 0 if policybot never ran on the database.

    Raises:
        DatabaseUnusable: the URL names a PostgreSQL schema that is not there.
        ForeignTablesFound: it belongs to another program.
        UnsupportedDatabaseVersion: a newer policybot has written it.
    """
    if conn.scheme is Scheme.POSTGRES and not await conn.fetchval("SELECT current_schema()"):
        raise DatabaseUnusable(
            "The schema that search_path names in the database's URL is not there: correct the "
            "name, or make it with CREATE SCHEMA."
        )
    names = await table_names(conn)
    if names <= LIBRARY_TABLES:
        return 0
    version = 0
    if names >= _FIRST_TABLES | {"version"}:
        version = await conn.fetchval("SELECT version FROM version") or 0
    if version < 1:
        raise ForeignTablesFound("there are tables, but not ours")
    if version > LATEST:
        raise UnsupportedDatabaseVersion("database", version, LATEST)
    return version
