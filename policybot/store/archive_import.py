"""Everything in a file into an empty database of either kind, in one transaction.

Whatever ends it before its end, has changed nothing.
"""

import base64
import binascii
from typing import Any

from mautrix.util.async_db import Connection, Database, Scheme

from .archive import LOGIN
from .archive_file import ArchiveDamaged, ArchiveNewer, ArchiveReader
from .bare_database import version_of
from .database import DatabaseUnusable
from .failure import refuses_row
from .migrations import upgrade_table
from .schema import LATEST, ColumnKind, Table, steps_to, table_names, tables_of
from .settings import Setting
from .transaction import storable, transaction

_LEFT_BY_CHECK = frozenset((Setting.INSTANCE_ID, Setting.ACCESS_TOKEN, Setting.DEVICE_ID))
_BIGINT = 1 << 63


async def import_archive(
    archive: ArchiveReader, db: Database, account: str | None
) -> dict[str, int]:
    """Read everything and return the number of rows by table. A login is left out unless it is
    that of ``account``, the bot's user ID; a login that is in the database stays.

    What an older version has exported is brought up to date.

    Raises:
        ArchiveUnusable: the file is damaged, or a newer policybot has written it.
        DatabaseUnusable: the database is in use already.
    """
    header = archive.header
    if header.schema > LATEST:
        raise ArchiveNewer(header.policybot)
    tables = await tables_of(header.schema)
    takes_login = account is not None and account == header.account
    counts = dict.fromkeys(tables, 0)
    async with transaction(db) as conn:
        login = await _clear(conn)
        # As old as the file, so that what comes later is up to the migrations.
        await steps_to(header.schema).upgrade(db)
        for piece in archive.pieces():
            table = tables.get(piece.table)
            if table is None or piece.columns != list(table.columns):
                raise ArchiveDamaged
            rows = [_from_json(row, table, conn.scheme) for row in piece.rows]
            if table.name == "setting" and not takes_login:
                rows = [row for row in rows if row[0] not in LOGIN]
            await _insert(conn, table, rows)
            counts[table.name] += len(rows)
        await conn.executemany(
            "INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
            login,
        )
        await upgrade_table.upgrade(db)
    return counts


async def _clear(conn: Connection) -> list[tuple[str, str]]:
    """Remove the tables of a database that is not in use, and return the login in it."""
    version = await version_of(conn)
    tables = {} if version == 0 else await tables_of(version)
    if tables and conn.scheme is Scheme.POSTGRES:
        # Otherwise a policybot that starts meanwhile could write something after the look.
        await conn.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
    login = []
    for name in tables:
        if name == "setting":
            settings = await conn.fetch("SELECT name, value FROM setting")
            login = [(row["name"], row["value"]) for row in settings if row["name"] in LOGIN]
            in_use = not {row["name"] for row in settings} <= _LEFT_BY_CHECK
        else:
            in_use = await conn.fetchrow(f"SELECT 1 FROM {name} LIMIT 1") is not None
        if in_use:
            raise DatabaseUnusable(
                "The database is in use already, and was left as it is: import into a new one."
            )
    for name in tables:
        await conn.execute(f"DROP TABLE {name}")
    if "version" in await table_names(conn):
        await conn.execute("DELETE FROM version")
    return login


async def _insert(conn: Connection, table: Table, rows: list[list[object]]) -> None:
    places = ", ".join(f"${place}" for place in range(1, 1 + len(table.columns)))
    columns = ", ".join(table.columns)
    try:
        await conn.executemany(f"INSERT INTO {table.name} ({columns}) VALUES ({places})", rows)
    except Exception as error:
        if refuses_row(error):
            raise ArchiveDamaged from error
        raise


def _from_json(row: list[Any], table: Table, scheme: Scheme) -> list[object]:
    if len(row) != len(table.columns):
        raise ArchiveDamaged
    return [
        None if value is None else _stored_value(value, kind, scheme)
        for value, kind in zip(row, table.columns.values(), strict=True)
    ]


def _stored_value(value: Any, kind: ColumnKind, scheme: Scheme) -> object:
    match kind:
        case ColumnKind.TEXT if isinstance(value, str):
            # PostgreSQL takes less than SQLite.
            return storable(value) if scheme is Scheme.POSTGRES else value
        case ColumnKind.BYTES if isinstance(value, str):
            try:
                return base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                raise ArchiveDamaged from None
        case ColumnKind.BOOLEAN if isinstance(value, bool):
            return value
        case ColumnKind.INTEGER | ColumnKind.BIGINT if type(value) is int:
            if -_BIGINT <= value < _BIGINT:
                return value
    raise ArchiveDamaged
