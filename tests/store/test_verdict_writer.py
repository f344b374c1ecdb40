"""Batches: the first verdict stands, and numbers have no gaps."""

from collections.abc import Sequence
from contextlib import suppress

import pytest
from mautrix.util.async_db import Database

from policybot.policy.verdict import Decision
from policybot.store.refusal_log import RefusalLog
from policybot.store.verdict_log import VerdictLog
from policybot.store.verdict_writer import VerdictWriter

from .samples import MODS, dry_run_hit, key, refusal

DAY = 20_000


@pytest.fixture
def writer(db: Database) -> VerdictWriter:
    return VerdictWriter(db, keep_text=True)


async def numbers(db: Database) -> list[tuple[int, str]]:
    rows = await RefusalLog(db).refusals_between(0, 10_000, [MODS])
    return [(row.number, row.details.event_id) for row in rows]


@pytest.mark.parametrize("count", [1, 2, 500])
async def test_accepts(writer: VerdictWriter, db: Database, count: int) -> None:
    keys = [key(number) for number in range(count)]
    assert await writer.write_accepts(keys, DAY) == dict.fromkeys(keys, True)
    assert await writer.standing([*keys, key("other")]) == dict.fromkeys(keys, True)
    rows = await db.fetch("SELECT key, day, signed FROM verdict")
    assert {(bytes(row["key"]), row["day"], bool(row["signed"])) for row in rows} == {
        (each, DAY, True) for each in keys
    }


async def test_the_first_verdict_stands(writer: VerdictWriter, db: Database) -> None:
    await writer.write_decisions([refusal(1), dry_run_hit(2)], DAY)
    await writer.write_accepts([key(3)], DAY)
    assert await writer.write_accepts([key(number) for number in (1, 2, 3, 4)], DAY) == {
        key(1): False,
        key(2): True,
        key(3): True,
        key(4): True,
    }
    assert await writer.write_decisions([refusal(number) for number in (2, 3, 4, 5)], DAY) == {
        key(2): True,
        key(3): True,
        key(4): True,
        key(5): False,
    }
    assert await numbers(db) == [(1, "$1"), (2, "$2"), (3, "$5")]


async def test_numbering_goes_on_in_another_process(writer: VerdictWriter, db: Database) -> None:
    await writer.write_decisions([refusal(1), refusal(2)], DAY)
    await VerdictWriter(db, keep_text=True).write_decisions([refusal(3)], DAY)
    # Two processes on one database are a mistake, but a mistake that heals.
    with suppress(Exception):
        await writer.write_decisions([refusal(4)], DAY)
    await writer.write_decisions([refusal(4), refusal(5)], DAY)
    assert await numbers(db) == [(number, f"${number}") for number in range(1, 6)]


async def test_a_failed_batch_leaves_no_gap(writer: VerdictWriter, db: Database) -> None:
    await writer.write_decisions([refusal(1)], DAY)
    await db.execute("ALTER TABLE decision RENAME TO elsewhere")
    with pytest.raises(Exception, match="decision"):
        await writer.write_decisions([refusal(2)], DAY)
    await db.execute("ALTER TABLE elsewhere RENAME TO decision")
    assert await writer.standing([key(2)]) == {}
    await writer.write_decisions([refusal(2), refusal(3)], DAY)
    assert await numbers(db) == [(1, "$1"), (2, "$2"), (3, "$3")]


async def test_a_batch_may_be_repeated(writer: VerdictWriter, db: Database) -> None:
    batch: Sequence[Decision] = [refusal(1), refusal(2)]
    first = await writer.write_decisions(batch, DAY)
    assert await writer.write_decisions(batch, DAY) == first
    assert await numbers(db) == [(1, "$1"), (2, "$2")]


async def test_a_verdict_without_details_takes_no_number(
    writer: VerdictWriter, db: Database
) -> None:
    bare = Decision(key(1), False)
    assert await writer.write_decisions([bare, refusal(2)], DAY) == {key(1): False, key(2): False}
    assert await numbers(db) == [(1, "$2")]


async def test_texts_are_kept_only_if_wished(db: Database) -> None:
    await VerdictWriter(db, keep_text=False).write_decisions([refusal(1, text="secret")], DAY)
    (verdict,) = await VerdictLog(db).find_by_event("$1", MODS)
    assert verdict.details.text is None
