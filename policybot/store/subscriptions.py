"""Which moderation room watches which policy lists, and in which order."""

from mautrix.util.async_db import Connection, Database

from policybot.policy.records import Subscription

from .transaction import transact


class SubscriptionTable:
    """One row per moderation room and policy list."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def load(self) -> list[Subscription]:
        """All subscriptions, each moderation room's in their order."""
        rows = await self._db.fetch(
            """SELECT moderation_room, list_id, position, shortcode, own FROM subscription
            ORDER BY moderation_room, position, list_id"""
        )
        return [
            Subscription(
                moderation_room=row["moderation_room"],
                list_id=row["list_id"],
                position=row["position"],
                shortcode=row["shortcode"],
                own=bool(row["own"]),
            )
            for row in rows
        ]

    async def save(self, subscription: Subscription) -> None:
        """Insert or replace one subscription."""

        async def write(conn: Connection) -> None:
            await conn.execute(
                """INSERT INTO subscription (moderation_room, list_id, position, shortcode, own)
                VALUES ($1, $2, $3, $4, $5)
                ON CONFLICT (moderation_room, list_id) DO UPDATE SET
                    position = excluded.position,
                    shortcode = excluded.shortcode,
                    own = excluded.own""",
                subscription.moderation_room,
                subscription.list_id,
                subscription.position,
                subscription.shortcode,
                subscription.own,
            )

        await transact(self._db, write)

    async def remove(self, moderation_room: str, list_id: str) -> None:
        """Remove one subscription, if it is there."""

        async def write(conn: Connection) -> None:
            await conn.execute(
                "DELETE FROM subscription WHERE moderation_room = $1 AND list_id = $2",
                moderation_room,
                list_id,
            )

        await transact(self._db, write)
