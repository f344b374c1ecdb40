"""Everything that is in the database into a file.

Tables are gone through by what the migrations say (see `schema`), so none is named here. All is
read in one transaction: a file shows one moment, also while policybot runs.
"""

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, BinaryIO

from mautrix.util.async_db import Connection, Database, Scheme

from policybot import __version__

from .archive_file import ArchiveHeader, ArchiveWriter
from .bare_database import version_of
from .database import DatabaseUnusable
from .schema import LATEST, ColumnKind, Table, tables_of
from .settings import Setting
from .transaction import ROWS_AT_ONCE, transaction

LOGIN = frozenset((Setting.ACCESS_TOKEN, Setting.DEVICE_ID, Setting.SYNC_POSITION))
"""The settings that belong to one session of the bot's account."""

PLACE = frozenset((Setting.CONFIGURATION,))
"""The settings that belong to the place where policybot runs, and never travel."""


async def export_database(db: Database, file: BinaryIO, account: str | None) -> dict[str, int]:
    """Write everything and return the number of rows by table. The configuration that maubot keeps
    is left out, and the login unless ``account`` is given: the user ID that it belongs to.

    Raises:
        DatabaseUnusable: policybot never ran on it, or another version has written it.
        ArchiveUnusable: the file cannot be written.
    """
    tables = await tables_of(LATEST)
    left_out = PLACE if account is not None else PLACE | LOGIN
    async with transaction(db) as conn:
        if conn.scheme is Scheme.POSTGRES:
            await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        await _check_version(conn)
        written = datetime.now(UTC).isoformat(timespec="seconds")
        writer = ArchiveWriter(file, ArchiveHeader(LATEST, __version__, written, account))
        for table in tables.values():
            writer.begin_table(table.name, list(table.columns))
            async for rows in _rows(conn, table):
                if table.name == "setting":
                    rows = [row for row in rows if row["name"] not in left_out]
                writer.add([_to_json(row, table) for row in rows])
        return writer.finish()


async def _check_version(conn: Connection) -> None:
    version = await version_of(conn)
    if version == 0:
        raise DatabaseUnusable("There is nothing to export: policybot never ran on the database.")
    if version < LATEST:
        raise DatabaseUnusable(
            "The database was written by an older version of policybot: run `policybot check` of "
            "this version on it, or start it, which brings it up to date."
        )


async def _rows(conn: Connection, table: Table) -> AsyncIterator[list[Any]]:
    select = f"SELECT {', '.join(table.columns)} FROM {table.name}"
    key = ", ".join(table.key)
    places = ", ".join(f"${place}" for place in range(1, 1 + len(table.key)))
    order = f"ORDER BY {key} LIMIT {ROWS_AT_ONCE}"
    rows = await conn.fetch(f"{select} {order}")
    while rows:
        yield rows
        last = [rows[-1][column] for column in table.key]
        rows = await conn.fetch(f"{select} WHERE ({key}) > ({places}) {order}", *last)


def _to_json(row: Any, table: Table) -> list[object]:
    return [
        None if value is None else _json_value(value, kind)
        for value, kind in zip(row, table.columns.values(), strict=True)
    ]


def _json_value(value: Any, kind: ColumnKind) -> object:
    if kind is ColumnKind.BYTES:
        return base64.b64encode(value).decode()
    return bool(value) if kind is ColumnKind.BOOLEAN else value
