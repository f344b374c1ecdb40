"""Key documents of other servers, so that a restart does not ask for all of them again."""

import json
from dataclasses import dataclass
from typing import Protocol

from mautrix.util.async_db import Connection, Database

from policybot.protocol.canonical_json import JsonObject

from .transaction import transact

KEPT = 10_000
SAVES_BETWEEN_REMOVALS = 500


class FetchedServerKeys(Protocol):
    """What is saved of one server. Times are milliseconds since 1970."""

    @property
    def server_name(self) -> str: ...
    @property
    def document(self) -> JsonObject: ...
    @property
    def fetched_ts(self) -> int: ...
    @property
    def valid_until_ts(self) -> int: ...


@dataclass(frozen=True, slots=True)
class StoredServerKeys:
    """A server's latest key document. Times are milliseconds since 1970."""

    server_name: str
    document: JsonObject
    fetched_ts: int
    valid_until_ts: int


class ServerKeyTable:
    """One document per server, of the ``kept`` servers fetched last and a few more."""

    def __init__(self, db: Database, *, kept: int = KEPT) -> None:
        self._db = db
        self._kept = kept
        self._saves = 0

    async def load(self, limit: int) -> list[StoredServerKeys]:
        """The documents of at most ``limit`` servers, the latest fetched first. What was fetched
        before these is removed, so that the table stays bounded."""
        rows = await self._db.fetch(
            """SELECT server_name, document, fetched_ts, valid_until_ts FROM server_keys
            ORDER BY fetched_ts DESC LIMIT $1""",
            limit,
        )
        if len(rows) == limit:
            await self._remove_all_but(limit)
        return [
            StoredServerKeys(
                server_name=row["server_name"],
                document=json.loads(row["document"]),
                fetched_ts=row["fetched_ts"],
                valid_until_ts=row["valid_until_ts"],
            )
            for row in rows
        ]

    async def save(self, keys: FetchedServerKeys) -> None:
        """Put the document in the place of the one that its server had. Now and then what was
        fetched longest ago is removed as well."""
        document = json.dumps(keys.document, separators=(",", ":"))

        async def write(conn: Connection) -> None:
            await conn.execute(
                """INSERT INTO server_keys (server_name, document, fetched_ts, valid_until_ts)
                VALUES ($1, $2, $3, $4)
                ON CONFLICT (server_name) DO UPDATE SET
                    document = excluded.document,
                    fetched_ts = excluded.fetched_ts,
                    valid_until_ts = excluded.valid_until_ts""",
                keys.server_name,
                document,
                keys.fetched_ts,
                keys.valid_until_ts,
            )

        await transact(self._db, write)
        self._saves += 1
        if self._saves % SAVES_BETWEEN_REMOVALS == 0:
            await self._remove_all_but(self._kept)

    async def _remove_all_but(self, latest: int) -> None:
        async def write(conn: Connection) -> None:
            await conn.execute(
                """DELETE FROM server_keys WHERE fetched_ts < (
                    SELECT MIN(fetched_ts) FROM (
                        SELECT fetched_ts FROM server_keys ORDER BY fetched_ts DESC LIMIT $1
                    ) AS latest
                )""",
                latest,
            )

        await transact(self._db, write)
