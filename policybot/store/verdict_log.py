"""The noteworthy verdicts: refusals, dry-run hits and exemptions that overruled a rule.

They are numbered in the order of their commits, without gaps, and a row never appears later with
a smaller number: whoever remembers the number up to which he has read misses nothing. That makes
the rows an outbox for reports; clocks may jump and do not matter.
"""

from dataclasses import dataclass
from typing import Any

from mautrix.util.async_db import Database

from policybot.policy.rule import Recommendation, Rule, RuleKind
from policybot.policy.verdict import Decision, Details, Ground, reference_code

from .transaction import storable

MAX_TEXT = 2_000
"""Characters of a message's text that are kept."""

_MAX_FOUND = 20
_BIGINT = (1 << 63) - 1

COLUMNS = (
    "number, key, reference, signed, room_id, moderation_room, event_id, event_type, state_key, "
    "sender, caller, origin_server_ts, received_ts, ground, unverified, old, text, rule_list, "
    "rule_kind, rule_event_type, rule_state_key, rule_entity, rule_entity_hash, "
    "rule_recommendation, rule_reason, rule_event_id, rule_sender, rule_ts, msgtype"
)

INSERT_DECISION = (
    f"INSERT INTO decision ({COLUMNS}) "
    f"VALUES ({', '.join(f'${number}' for number in range(1, 30))})"
)
"""Takes what ``decision_row`` makes."""


@dataclass(frozen=True, slots=True)
class StoredVerdict:
    """A noteworthy verdict with its number, or 0 while it waits for the database."""

    number: int
    reference: str
    signed: bool
    details: Details


class VerdictLog:
    """Reads noteworthy verdicts."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def find_by_reference(self, code: str, moderation_room: str) -> list[StoredVerdict]:
        """The verdicts of that moderation room's rooms under a reference code, oldest first."""
        return await self._find("reference", code, moderation_room)

    async def find_by_event(self, event_id: str, moderation_room: str) -> list[StoredVerdict]:
        """The verdicts of that moderation room's rooms about an event, oldest first."""
        return await self._find("event_id", event_id, moderation_room)

    async def _find(self, column: str, value: str, moderation_room: str) -> list[StoredVerdict]:
        rows = await self._db.fetch(
            f"""SELECT {COLUMNS} FROM decision WHERE {column} = $1 AND moderation_room = $2
            ORDER BY number LIMIT {_MAX_FOUND}""",
            storable(value),
            storable(moderation_room),
        )
        return [stored_verdict(row) for row in rows]

    async def refused_since(self, room_id: str, since_ts: int) -> int:
        """How many events of the room were refused from that time on (milliseconds)."""
        return await self._count_since(Ground.RULE, room_id, since_ts)

    async def dry_run_since(self, room_id: str, since_ts: int) -> int:
        """How many would have been refused from that time on, but for dry run."""
        return await self._count_since(Ground.DRY_RUN, room_id, since_ts)

    async def _count_since(self, ground: Ground, room_id: str, since_ts: int) -> int:
        # The ground is written out so that the partial index is used.
        count: int = await self._db.fetchval(
            f"""SELECT COUNT(*) FROM decision
            WHERE ground = '{ground.value}' AND room_id = $1 AND received_ts >= $2""",
            room_id,
            since_ts,
        )
        return count


def normal_reference(code: str) -> str:
    """A reference code as it is stored, however a person has typed it: lower case, without the
    hyphen, O for 0, I or L for 1."""
    plain = "".join(code.upper().split()).replace("-", "")
    plain = plain.replace("O", "0").replace("I", "1").replace("L", "1")
    return f"{plain[:4]}-{plain[4:]}"


def waiting_verdict(decision: Decision) -> StoredVerdict | None:
    """A decision that has no number yet as a stored verdict; None if it is not noteworthy."""
    if decision.details is None:
        return None
    return StoredVerdict(0, reference_code(decision.key), decision.signed, decision.details)


def decision_row(
    number: int, decision: Decision, details: Details, keep_text: bool
) -> tuple[object, ...]:
    """The values of a row, in the order of ``INSERT_DECISION``."""
    text = details.text[:MAX_TEXT] if keep_text and details.text is not None else None
    return (
        number,
        decision.key,
        reference_code(decision.key),
        decision.signed,
        storable(details.room_id),
        storable(details.moderation_room),
        storable(details.event_id),
        storable(details.event_type),
        None if details.state_key is None else storable(details.state_key),
        storable(details.sender),
        storable(details.caller),
        _bigint(details.origin_server_ts),
        _bigint(details.received_ts),
        details.ground.value,
        details.unverified,
        details.old,
        None if text is None else storable(text),
        *_rule_values(details.rule),
        None if details.msgtype is None else storable(details.msgtype),
    )


def _rule_values(rule: Rule | None) -> tuple[object, ...]:
    if rule is None:
        return (None,) * 11
    return (
        storable(rule.list_id),
        rule.kind.value,
        storable(rule.event_type),
        storable(rule.state_key),
        storable(rule.entity),
        storable(rule.entity_hash),
        rule.recommendation.value,
        storable(rule.reason),
        storable(rule.event_id),
        storable(rule.sender),
        _bigint(rule.origin_server_ts),
    )


def stored_verdict(row: Any) -> StoredVerdict:
    """A row with ``COLUMNS`` as a value."""
    return StoredVerdict(
        number=row["number"],
        reference=row["reference"],
        signed=bool(row["signed"]),
        details=Details(
            room_id=row["room_id"],
            moderation_room=row["moderation_room"],
            event_id=row["event_id"],
            event_type=row["event_type"],
            state_key=row["state_key"],
            sender=row["sender"],
            caller=row["caller"],
            origin_server_ts=row["origin_server_ts"],
            received_ts=row["received_ts"],
            ground=Ground(row["ground"]),
            rule=_rule(row),
            unverified=bool(row["unverified"]),
            old=bool(row["old"]),
            text=row["text"],
            msgtype=row["msgtype"],
        ),
    )


def _rule(row: Any) -> Rule | None:
    if row["rule_list"] is None:
        return None
    return Rule(
        list_id=row["rule_list"],
        kind=RuleKind(row["rule_kind"]),
        event_type=row["rule_event_type"],
        state_key=row["rule_state_key"],
        entity=row["rule_entity"],
        entity_hash=row["rule_entity_hash"],
        recommendation=Recommendation(row["rule_recommendation"]),
        reason=row["rule_reason"],
        event_id=row["rule_event_id"],
        sender=row["rule_sender"],
        origin_server_ts=row["rule_ts"],
    )


def _bigint(number: int) -> int:
    """The number as near as a column can hold it: old room versions bound no integers."""
    return max(-_BIGINT, min(number, _BIGINT))
