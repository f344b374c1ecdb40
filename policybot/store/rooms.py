"""Protected rooms and moderation rooms, as last known: they serve before the homeserver is asked.

Events and members are kept as JSON in one column: they are always read and replaced whole.
"""

import json

from mautrix.util.async_db import Connection, Database

from policybot.policy.records import ModerationRoomRecord, RoomRecord
from policybot.policy.room import RoomMode

from .transaction import transact


class RoomTable:
    """The protected rooms, also those that are being disabled."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def load(self) -> list[RoomRecord]:
        """All protected rooms."""
        rows = await self._db.fetch(
            """SELECT room_id, moderation_room, mode, enabled_ts, disabled_ts, settled, state
            FROM protected_room ORDER BY room_id"""
        )
        return [
            RoomRecord(
                room_id=row["room_id"],
                moderation_room=row["moderation_room"],
                mode=RoomMode(row["mode"]),
                enabled_ts=row["enabled_ts"],
                disabled_ts=row["disabled_ts"],
                settled=bool(row["settled"]),
                state=tuple(json.loads(row["state"])),
            )
            for row in rows
        ]

    async def save(self, record: RoomRecord) -> None:
        """Insert or replace one room."""
        state = json.dumps(record.state, separators=(",", ":"))

        async def write(conn: Connection) -> None:
            await conn.execute(
                """INSERT INTO protected_room
                (room_id, moderation_room, mode, enabled_ts, disabled_ts, settled, state)
                VALUES ($1, $2, $3, $4, $5, $6, $7)
                ON CONFLICT (room_id) DO UPDATE SET
                    moderation_room = excluded.moderation_room,
                    mode = excluded.mode,
                    enabled_ts = excluded.enabled_ts,
                    disabled_ts = excluded.disabled_ts,
                    settled = excluded.settled,
                    state = excluded.state""",
                record.room_id,
                record.moderation_room,
                record.mode.value,
                record.enabled_ts,
                record.disabled_ts,
                record.settled,
                state,
            )

        await transact(self._db, write)

    async def remove(self, room_id: str) -> None:
        """Remove one room, if it is there."""

        async def write(conn: Connection) -> None:
            await conn.execute("DELETE FROM protected_room WHERE room_id = $1", room_id)

        await transact(self._db, write)


class ModerationRoomTable:
    """Join rule and members of the moderation rooms, since exemptions hold while the homeserver
    is away."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def load(self) -> list[ModerationRoomRecord]:
        """All moderation rooms that were ever saved and not removed."""
        rows = await self._db.fetch(
            "SELECT room_id, join_rule, members FROM moderation_room ORDER BY room_id"
        )
        return [
            ModerationRoomRecord(
                room_id=row["room_id"],
                join_rule=row["join_rule"],
                members=tuple(json.loads(row["members"])),
            )
            for row in rows
        ]

    async def save(self, record: ModerationRoomRecord) -> None:
        """Insert or replace one moderation room."""
        members = json.dumps(record.members, separators=(",", ":"))

        async def write(conn: Connection) -> None:
            await conn.execute(
                """INSERT INTO moderation_room (room_id, join_rule, members) VALUES ($1, $2, $3)
                ON CONFLICT (room_id) DO UPDATE SET
                    join_rule = excluded.join_rule, members = excluded.members""",
                record.room_id,
                record.join_rule,
                members,
            )

        await transact(self._db, write)

    async def remove(self, room_id: str) -> None:
        """Remove one moderation room, if it is there."""

        async def write(conn: Connection) -> None:
            await conn.execute("DELETE FROM moderation_room WHERE room_id = $1", room_id)

        await transact(self._db, write)
