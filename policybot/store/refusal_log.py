"""What reports are made of: refusals and dry-run hits, counted by the database.

Each question is about a slice of numbers, so that it is short: verdicts wait for the same
connection.
"""

from collections.abc import Sequence

from mautrix.util.async_db import Database

from policybot.policy.records import RefusalGroup
from policybot.policy.verdict import Ground

from .transaction import connection, fetch_at_once
from .verdict_log import COLUMNS, StoredVerdict, stored_verdict

REPORTED = (Ground.RULE, Ground.DRY_RUN)
"""The grounds of verdicts that moderators are told of unasked."""

_REPORTED_SQL = ", ".join(f"'{ground.value}'" for ground in REPORTED)

_ALIKE = (
    "ground, old, unverified, sender, room_id, rule_list, rule_kind, rule_entity, rule_entity_hash"
)


class RefusalLog:
    """Reads refusals by their numbers, which are given in the order of the commits."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def latest_number(self) -> int:
        """The largest number so far, or 0."""
        number: int = await self._db.fetchval("SELECT COALESCE(MAX(number), 0) FROM decision")
        return number

    async def groups(
        self, after: int, upto: int, moderation_rooms: Sequence[str]
    ) -> list[RefusalGroup]:
        """The refusals with numbers above ``after`` and at most ``upto``, those alike as one."""
        async with connection(self._db) as conn:
            rows = await fetch_at_once(
                conn,
                f"""SELECT {_ALIKE}, COUNT(*), MAX(number), MIN(received_ts), MAX(received_ts)
                FROM decision WHERE {_reported_in(moderation_rooms)} GROUP BY {_ALIKE}""",
                after,
                upto,
                *moderation_rooms,
            )
        return [
            RefusalGroup(
                dry_run=ground == Ground.DRY_RUN,
                old=bool(old),
                unverified=bool(unverified),
                sender=sender,
                room_id=room_id,
                rule=None if rule[0] is None else tuple(rule),
                count=count,
                latest=latest,
                first_ts=first_ts,
                last_ts=last_ts,
            )
            for ground, old, unverified, sender, room_id, *rule, count, latest, first_ts, last_ts
            in (tuple(row) for row in rows)
        ]  # fmt: skip

    async def refusals_between(
        self, after: int, upto: int, moderation_rooms: Sequence[str]
    ) -> list[StoredVerdict]:
        """The same, one by one and in order."""
        rows = await self._db.fetch(
            f"""SELECT {COLUMNS} FROM decision
            WHERE {_reported_in(moderation_rooms)} ORDER BY number""",
            after,
            upto,
            *moderation_rooms,
        )
        return [stored_verdict(row) for row in rows]

    async def numbered(self, numbers: Sequence[int]) -> list[StoredVerdict]:
        """The verdicts with these numbers, as far as they are still kept."""
        places = ", ".join(f"${place}" for place in range(1, 1 + len(numbers)))
        rows = await self._db.fetch(
            f"SELECT {COLUMNS} FROM decision WHERE number IN ({places}) ORDER BY number", *numbers
        )
        return [stored_verdict(row) for row in rows]


def _reported_in(moderation_rooms: Sequence[str]) -> str:
    """A condition; $1 and $2 are numbers, the rooms follow."""
    rooms = ", ".join(f"${place}" for place in range(3, 3 + len(moderation_rooms)))
    return (
        f"number > $1 AND number <= $2 AND moderation_room IN ({rooms}) "
        f"AND ground IN ({_REPORTED_SQL})"
    )
