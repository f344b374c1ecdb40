"""What the tables of a version of the schema are, read off the migrations themselves.

So nothing that a migration adds can be forgotten where all tables are gone through.
"""

import asyncio
from contextvars import Context
from dataclasses import dataclass
from enum import StrEnum
from tempfile import TemporaryDirectory

from mautrix.util.async_db import Connection, Database, Scheme, UpgradeTable
from yarl import URL

from .migrations import upgrade_table
from .transaction import connection

LATEST = len(upgrade_table.upgrades)
"""The version that this policybot makes and reads."""

LIBRARY_TABLES = frozenset(("version", "database_owner"))
"""Tables that the database library keeps for itself."""


class ColumnKind(StrEnum):
    """What a column holds. The values are the types that migrations name."""

    TEXT = "TEXT"
    INTEGER = "INTEGER"
    BIGINT = "BIGINT"
    BOOLEAN = "BOOLEAN"
    BYTES = "BYTEA"


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its columns in their order, and the columns of its primary key."""

    name: str
    columns: dict[str, ColumnKind]
    key: tuple[str, ...]


def steps_to(version: int) -> UpgradeTable:
    """The migrations up to a version."""
    steps = UpgradeTable()
    steps.upgrades = upgrade_table.upgrades[:version]
    return steps


async def table_names(conn: Connection) -> set[str]:
    """The tables in a SQLite file, or in the current schema of a PostgreSQL database."""
    if conn.scheme is Scheme.SQLITE:
        rows = await conn.fetch("SELECT name FROM sqlite_master WHERE type = 'table'")
    else:
        # Others of its schemas may be other programs'.
        rows = await conn.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        )
    return {row[0] for row in rows}


async def tables_of(version: int) -> dict[str, Table]:
    """The tables of a version by name, as the migrations make them in a new SQLite file."""
    # In a context of its own: the library remembers the connection in use, whichever database's
    # it is, and would ask that one.
    work = asyncio.get_running_loop().create_task(_made_by(steps_to(version)), context=Context())
    return await work


async def _made_by(steps: UpgradeTable) -> dict[str, Table]:
    with TemporaryDirectory(prefix="policybot-schema-") as directory:
        url = URL.build(scheme="sqlite", path=f"{directory}/schema.db")
        db = Database.create(url, upgrade_table=steps)
        try:
            await db.start()
            async with connection(db) as conn:
                names = sorted(await table_names(conn) - LIBRARY_TABLES)
                return {name: await _table(conn, name) for name in names}
        finally:
            await db.stop()


async def _table(conn: Connection, name: str) -> Table:
    rows = await conn.fetch(f"PRAGMA table_info({name})")
    columns = {row["name"]: ColumnKind(row["type"]) for row in rows}
    key = sorted((row["pk"], row["name"]) for row in rows if row["pk"])
    return Table(name, columns, tuple(column for _, column in key))
