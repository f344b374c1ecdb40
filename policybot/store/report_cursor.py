"""How far each reports room has been told: the other half of the outbox (see verdict_log)."""

from mautrix.util.async_db import Connection, Database

from policybot.policy.records import ReportCursor

from .transaction import transact


class ReportCursorTable:
    """One cursor per reports room."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def get(self, room_id: str) -> ReportCursor | None:
        """The room's cursor, or None if nothing was ever reported there."""
        row = await self._db.fetchrow(
            "SELECT number, pending_to, pending_since FROM report_cursor WHERE room_id = $1",
            room_id,
        )
        if row is None:
            return None
        return ReportCursor(room_id, row["number"], row["pending_to"], row["pending_since"])

    async def save(self, cursor: ReportCursor) -> None:
        """Insert or replace the room's cursor."""

        async def write(conn: Connection) -> None:
            await conn.execute(
                """INSERT INTO report_cursor (room_id, number, pending_to, pending_since)
                VALUES ($1, $2, $3, $4)
                ON CONFLICT (room_id) DO UPDATE SET
                    number = excluded.number,
                    pending_to = excluded.pending_to,
                    pending_since = excluded.pending_since""",
                cursor.room_id,
                cursor.number,
                cursor.pending_to,
                cursor.pending_since,
            )

        await transact(self._db, write)
