"""How far each reports room has been told: the other half of the outbox (see refusal_log)."""

from mautrix.util.async_db import Connection, Database

from policybot.policy.records import ReportCursor, ReportNotice

from .transaction import transact

_COLUMNS = (
    "room_id",
    "number",
    "pending_to",
    "pending_since",
    "notice_id",
    "notice_after",
    "notice_begun_ts",
    "notice_told_ts",
)
_SAVE = (
    f"INSERT INTO report_cursor ({', '.join(_COLUMNS)}) "
    f"VALUES ({', '.join(f'${place}' for place in range(1, 1 + len(_COLUMNS)))}) "
    "ON CONFLICT (room_id) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in _COLUMNS[1:])
)


class ReportCursorTable:
    """One cursor per reports room."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def get(self, room_id: str) -> ReportCursor | None:
        """The room's cursor, or None if nothing was ever reported there."""
        row = await self._db.fetchrow(
            f"SELECT {', '.join(_COLUMNS)} FROM report_cursor WHERE room_id = $1", room_id
        )
        if row is None:
            return None
        notice = None
        if row["notice_id"] is not None:
            notice = ReportNotice(
                row["notice_id"],
                row["notice_after"],
                row["notice_begun_ts"],
                row["notice_told_ts"],
            )
        return ReportCursor(
            room_id, row["number"], row["pending_to"], row["pending_since"], notice
        )

    async def save(self, cursor: ReportCursor) -> None:
        """Insert or replace the room's cursor."""
        notice = cursor.notice
        values = (
            cursor.room_id,
            cursor.number,
            cursor.pending_to,
            cursor.pending_since,
            None if notice is None else notice.event_id,
            None if notice is None else notice.after,
            None if notice is None else notice.begun_ts,
            None if notice is None else notice.told_ts,
        )

        async def write(conn: Connection) -> None:
            await conn.execute(_SAVE, *values)

        await transact(self._db, write)
