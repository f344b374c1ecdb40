"""Noteworthy verdicts: they come back as they were, in the order of their numbers."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mautrix.util.async_db import Database

from policybot.policy.verdict import Decision, Ground, reference_code
from policybot.store.verdict_log import VerdictLog, normal_reference
from policybot.store.verdict_writer import VerdictWriter

from ..protocol.events import steady
from .samples import (
    MODS,
    ROOM,
    RULE,
    dry_run_hit,
    exemption,
    key,
    refusal,
    refusal_details,
)

DAY = 20_000


async def write(db: Database, *decisions: Decision) -> None:
    await VerdictWriter(db, keep_text=True).write_decisions(decisions, DAY)


async def test_details_come_back_as_they_were(db: Database) -> None:
    decisions = [
        refusal(1),
        refusal(2, state_key="", unverified=True, old=True, text=None),
        exemption(3, state_key="@a:example.org"),
        dry_run_hit(4),
        Decision(key(5), True, refusal_details(5, ground=Ground.DISABLED, rule=None)),
    ]
    await write(db, *decisions)
    for number, decision in enumerate(decisions, 1):
        (stored,) = await VerdictLog(db).find_by_event(f"${number}", MODS)
        assert stored.details == decision.details
        assert stored.signed is decision.signed
        assert stored.number == number
        assert stored.reference == reference_code(decision.key)
        assert type(stored.details.old) is bool


@pytest.mark.parametrize(
    ("field", "value", "stored"),
    [
        ("text", "x" * 3_000, "x" * 2_000),
        ("text", "a\0b\ud800", "a\ufffdb?"),
        ("sender", "@\0:example.org", "@\ufffd:example.org"),
        ("state_key", "\0", "\ufffd"),
        ("rule", replace(RULE, reason="\0"), replace(RULE, reason="\ufffd")),
        ("origin_server_ts", 2**80, 2**63 - 1),
        ("origin_server_ts", -(2**80), 1 - 2**63),
    ],
)
async def test_odd_values_are_stored_as_well_as_can_be(
    db: Database, field: str, value: Any, stored: Any
) -> None:
    await write(db, refusal(1, **{field: value}))
    (verdict,) = await VerdictLog(db).find_by_event("$1", MODS)
    assert getattr(verdict.details, field) == stored


async def test_found_by_its_own_moderation_room_only(db: Database) -> None:
    await write(db, refusal(1))
    log = VerdictLog(db)
    code = reference_code(key(1))
    assert [verdict.details.event_id for verdict in await log.find_by_reference(code, MODS)] == [
        "$1"
    ]
    assert await log.find_by_reference(code, "!others:example.org") == []
    assert await log.find_by_event("$1", "!others:example.org") == []
    assert await log.find_by_event("\0\ud800", MODS) == []


async def test_refused_since_counts_refusals_of_the_room(db: Database) -> None:
    await write(
        db,
        refusal(1, received_ts=10),
        refusal(2, received_ts=20),
        refusal(3, received_ts=30),
        dry_run_hit(4, received_ts=30),
        exemption(5, received_ts=30),
        refusal(6, room_id="!other:example.org", received_ts=30),
    )
    log = VerdictLog(db)
    assert await log.refused_since(ROOM, 20) == 2
    assert await log.refused_since(ROOM, 31) == 0
    assert await log.refused_since("!other:example.org", 0) == 1


async def test_dry_run_since_counts_what_would_have_been_refused(db: Database) -> None:
    await write(
        db,
        dry_run_hit(1, received_ts=10),
        dry_run_hit(2, received_ts=20),
        refusal(3, received_ts=20),
        exemption(4, received_ts=20),
        dry_run_hit(5, room_id="!other:example.org", received_ts=30),
    )
    log = VerdictLog(db)
    assert await log.dry_run_since(ROOM, 20) == 1
    assert await log.dry_run_since(ROOM, 0) == 2
    assert await log.dry_run_since("!other:example.org", 31) == 0


@pytest.mark.usefixtures("sqlite_file")
@pytest.mark.parametrize(
    "query",
    [
        "SELECT number FROM decision WHERE reference = 'a' AND moderation_room = 'b'",
        "SELECT number FROM decision WHERE event_id = 'a' AND moderation_room = 'b'",
        "SELECT sender, COUNT(*) FROM decision WHERE number > 1 AND number <= 5 "
        "AND moderation_room IN ('b') AND ground IN ('rule', 'dry run') GROUP BY sender",
        "SELECT sender FROM decision WHERE number > 1 AND number <= 5 "
        "AND moderation_room IN ('b', 'c') AND ground IN ('rule', 'dry run') ORDER BY number",
        "SELECT sender FROM decision WHERE number IN (1, 2)",
        "SELECT COUNT(*) FROM decision WHERE ground = 'rule' AND room_id = 'a' "
        "AND received_ts >= 1",
        "SELECT COUNT(*) FROM decision WHERE ground = 'dry run' AND room_id = 'a' "
        "AND received_ts >= 1",
        "SELECT MAX(number) FROM decision",
        "SELECT MIN(number) FROM decision",
        "DELETE FROM decision WHERE number BETWEEN 1 AND 2 AND number < 3 AND received_ts < 4",
        "DELETE FROM verdict WHERE key > 'a' AND key <= 'b' AND day < 1",
        "SELECT key FROM verdict WHERE key > 'a' ORDER BY key LIMIT 1 OFFSET 2000",
        "SELECT key, signed FROM verdict WHERE key IN ('a', 'b')",
    ],
)
async def test_no_question_reads_a_whole_table(db: Database, query: str) -> None:
    plan = [row["detail"] for row in await db.fetch(f"EXPLAIN QUERY PLAN {query}")]
    searches = [step for step in plan if not step.startswith("USE TEMP B-TREE FOR")]
    assert searches and all(step.startswith("SEARCH") for step in searches), plan
    if "number <= 5" in query:  # only the rows of the slice are read and sorted
        assert "number>? AND number<?" in searches[0] or "rowid>? AND rowid<?" in searches[0]


@pytest.mark.parametrize("typed", ["{}", " {} ", "{}\n"])
@steady(100)
@given(st.binary(min_size=32, max_size=32))
def test_reference_codes_as_people_type_them(typed: str, digest: bytes) -> None:
    code = reference_code(digest)
    for spelling in (code, code.lower(), code.replace("-", ""), code.replace("-", " ")):
        assert normal_reference(typed.format(spelling)) == code
    assert normal_reference(code.replace("0", "o").replace("1", "l")) == code
