"""Local exemptions: users whom no list decides about, by moderation room."""

from mautrix.util.async_db import Connection, Database

from policybot.policy.records import Exemption

from .transaction import storable, transact


class ExemptionTable:
    """One row per moderation room and user."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def load(self) -> list[Exemption]:
        """All exemptions, each moderation room's oldest first."""
        rows = await self._db.fetch(
            """SELECT moderation_room, user_id, reason, allowed_by, allowed_ts FROM exemption
            ORDER BY moderation_room, allowed_ts, user_id"""
        )
        return [
            Exemption(
                moderation_room=row["moderation_room"],
                user_id=row["user_id"],
                reason=row["reason"],
                allowed_by=row["allowed_by"],
                allowed_ts=row["allowed_ts"],
            )
            for row in rows
        ]

    async def save(self, exemption: Exemption) -> None:
        """Insert or replace one exemption."""

        async def write(conn: Connection) -> None:
            await conn.execute(
                """INSERT INTO exemption
                (moderation_room, user_id, reason, allowed_by, allowed_ts)
                VALUES ($1, $2, $3, $4, $5)
                ON CONFLICT (moderation_room, user_id) DO UPDATE SET
                    reason = excluded.reason,
                    allowed_by = excluded.allowed_by,
                    allowed_ts = excluded.allowed_ts""",
                exemption.moderation_room,
                exemption.user_id,
                storable(exemption.reason),
                exemption.allowed_by,
                exemption.allowed_ts,
            )

        await transact(self._db, write)

    async def remove(self, moderation_room: str, user_id: str) -> None:
        """Remove one exemption, if it is there."""

        async def write(conn: Connection) -> None:
            await conn.execute(
                "DELETE FROM exemption WHERE moderation_room = $1 AND user_id = $2",
                moderation_room,
                user_id,
            )

        await transact(self._db, write)
