"""Rows for every table, whatever the migrations have made, and reading all of them back."""

import hashlib
from typing import Any

from mautrix.util.async_db import Database

from policybot.store.schema import LATEST, ColumnKind, Table, tables_of
from policybot.store.settings import Setting
from policybot.store.transaction import transaction

PLENTY = 1_203
"""More than is read or written at once."""

Contents = dict[str, list[tuple[object, ...]]]


def value(kind: ColumnKind, number: int, name: str) -> object:
    """A value that is another one for each number."""
    match kind:
        case ColumnKind.TEXT:
            return f"{name} {number} \N{SNOWMAN} \U0001f600 \"'\\\r\n\u2028\x7f"
        case ColumnKind.BYTES:
            return hashlib.sha256(f"{name} {number}".encode()).digest()
        case ColumnKind.BOOLEAN:
            return number % 2 == 0
        case ColumnKind.INTEGER:
            return number
        case ColumnKind.BIGINT:
            return (-1) ** number * ((1 << 63) - 1 - number)


def rows_for(table: Table) -> list[tuple[object, ...]]:
    """Rows of one table. The login among the settings has its own test."""
    count = PLENTY if table.name in ("verdict", "policy_rule") else 5
    rows = [
        tuple(value(kind, number, name) for name, kind in table.columns.items())
        for number in range(1, count + 1)
    ]
    if table.name == "setting":
        kept = (Setting.SIGNING_KEY, Setting.FEDERATION_KEYS, Setting.INSTANCE_ID)
        return [*((name.value, f"the {name}") for name in kept), *rows]
    if table.name == "decision":
        # What is left out when there is no rule, no text and no state key.
        empty = ("state_key", "text")
        rows += [
            tuple(
                None if name.startswith("rule_") or name in empty else value(kind, count + 1, name)
                for name, kind in table.columns.items()
            )
        ]
    return rows


async def fill(db: Database, tables: dict[str, Table] | None = None) -> None:
    """Put rows into every table."""
    filled = tables or await tables_of(LATEST)
    async with transaction(db) as conn:
        for table in filled.values():
            places = ", ".join(f"${place}" for place in range(1, 1 + len(table.columns)))
            await conn.executemany(
                f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({places})",
                rows_for(table),
            )


async def contents(db: Database) -> Contents:
    """All rows of all tables, as PostgreSQL would give them."""
    return {
        table.name: sorted(
            (
                _plain(table, row)
                for row in await db.fetch(f"SELECT {', '.join(table.columns)} FROM {table.name}")
            ),
            key=repr,
        )
        for table in (await tables_of(LATEST)).values()
    }


def _plain(table: Table, row: Any) -> tuple[object, ...]:
    return tuple(
        bool(value) if kind is ColumnKind.BOOLEAN else value
        for value, kind in zip(row, table.columns.values(), strict=True)
    )
