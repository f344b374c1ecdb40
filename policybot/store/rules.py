"""The rules of all watched policy lists, as last known: they serve before the homeserver is asked.

A list may have 100,000 rules, so everything here goes in pieces, each a transaction of its own:
verdicts wait for the database only a few milliseconds. What is cut off half way by a crash is made
whole by the next ``replace``.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import islice
from sys import intern
from typing import Any

from mautrix.util.async_db import Connection, Database

from policybot.policy.rule import Recommendation, Rule, RuleKey, RuleKind

from .transaction import ROWS_AT_ONCE, transact

_COLUMNS = (
    "list_id, event_type, state_key, kind, entity, entity_hash, recommendation, reason, "
    "event_id, sender, origin_server_ts"
)

_UPSERT = f"""INSERT INTO policy_rule ({_COLUMNS})
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    ON CONFLICT (list_id, event_type, state_key) DO UPDATE SET
        kind = excluded.kind,
        entity = excluded.entity,
        entity_hash = excluded.entity_hash,
        recommendation = excluded.recommendation,
        reason = excluded.reason,
        event_id = excluded.event_id,
        sender = excluded.sender,
        origin_server_ts = excluded.origin_server_ts"""

_DELETE = "DELETE FROM policy_rule WHERE list_id = $1 AND event_type = $2 AND state_key = $3"


class RuleTable:
    """One row per rule, found by list, event type and state key."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def load(self) -> AsyncIterator[list[Rule]]:
        """All rules of all lists, some hundred at a time."""
        last = RuleKey("", "", "")
        while True:
            rows = await self._db.fetch(
                f"""SELECT {_COLUMNS} FROM policy_rule
                WHERE (list_id, event_type, state_key) > ($1, $2, $3)
                ORDER BY list_id, event_type, state_key LIMIT {ROWS_AT_ONCE}""",
                *last,
            )
            if not rows:
                return
            rules = [_rule(row) for row in rows]
            last = rules[-1].key
            yield rules

    async def save(
        self, list_id: str, upserts: Iterable[Rule], removals: Iterable[RuleKey] = ()
    ) -> None:
        """Insert or replace rules of one list, then remove others."""
        rows = (_row(rule) for rule in upserts)
        while piece := list(islice(rows, ROWS_AT_ONCE)):
            await self._many(_UPSERT, piece)
        keys = ((list_id, key.event_type, key.state_key) for key in removals)
        while gone := list(islice(keys, ROWS_AT_ONCE)):
            await self._many(_DELETE, gone)

    async def replace(self, list_id: str, rules: Iterable[Rule]) -> None:
        """Make these the rules of the list. Only what differs is written; a rule that stays is
        never missing in between."""
        differing = {rule.key: rule for rule in rules}
        gone: list[RuleKey] = []
        async for piece in self._rules_of(list_id):
            for saved in piece:
                rule = differing.get(saved.key)
                if rule is None:
                    gone.append(saved.key)
                elif rule == saved:
                    del differing[saved.key]
        await self.save(list_id, differing.values(), gone)

    async def remove_list(self, list_id: str) -> None:
        """Remove all rules of the list."""
        await self.replace(list_id, ())

    async def _rules_of(self, list_id: str) -> AsyncIterator[list[Rule]]:
        last = RuleKey(list_id, "", "")
        while True:
            rows = await self._db.fetch(
                f"""SELECT {_COLUMNS} FROM policy_rule
                WHERE list_id = $1 AND (event_type, state_key) > ($2, $3)
                ORDER BY event_type, state_key LIMIT {ROWS_AT_ONCE}""",
                *last,
            )
            if not rows:
                return
            rules = [_rule(row) for row in rows]
            last = rules[-1].key
            yield rules

    async def _many(self, sql: str, rows: Sequence[tuple[object, ...]]) -> None:
        async def write(conn: Connection) -> None:
            await conn.executemany(sql, rows)

        await transact(self._db, write)


def _row(rule: Rule) -> tuple[object, ...]:
    return (
        rule.list_id,
        rule.event_type,
        rule.state_key,
        rule.kind.value,
        rule.entity,
        rule.entity_hash,
        rule.recommendation.value,
        rule.reason,
        rule.event_id,
        rule.sender,
        rule.origin_server_ts,
    )


def _rule(row: Any) -> Rule:
    # Interned as the parser does: these texts are shared by thousands of rules.
    return Rule(
        list_id=intern(row["list_id"]),
        kind=RuleKind(row["kind"]),
        event_type=intern(row["event_type"]),
        state_key=row["state_key"],
        entity=row["entity"],
        entity_hash=row["entity_hash"],
        recommendation=Recommendation(row["recommendation"]),
        reason=intern(row["reason"]),
        event_id=row["event_id"],
        sender=intern(row["sender"]),
        origin_server_ts=row["origin_server_ts"],
    )
