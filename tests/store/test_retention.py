"""What is forgotten, and when."""

import pytest
from mautrix.util.async_db import Database

from policybot.store.refusal_log import RefusalLog
from policybot.store.retention import Retention
from policybot.store.verdict_writer import VerdictWriter

from .samples import DAY_MS, MODS, NOW, Clock, key, refusal

TODAY = NOW // DAY_MS


@pytest.fixture
def writer(db: Database) -> VerdictWriter:
    return VerdictWriter(db, keep_text=True)


@pytest.fixture
def retention(db: Database, clock: Clock) -> Retention:
    return Retention(db, clock=clock, retention_days=30, keep_text_ms=7 * DAY_MS)


async def test_verdicts_go_by_the_day(
    db: Database, writer: VerdictWriter, retention: Retention
) -> None:
    ages = {0: 3, 29: 2, 30: 2_500, 31: 2_500, 400: 7}
    for age, count in ages.items():
        keys = [key((age, number)) for number in range(count)]
        for start in range(0, count, 500):
            await writer.write_accepts(keys[start : start + 500], TODAY - age)
    await retention.prune()
    rows = await db.fetch("SELECT day, COUNT(*) AS count FROM verdict GROUP BY day")
    assert {TODAY - row["day"]: row["count"] for row in rows} == {0: 3, 29: 2, 30: 2_500}


async def test_verdicts_are_walked_once_a_day(
    db: Database, writer: VerdictWriter, retention: Retention, clock: Clock
) -> None:
    await retention.prune()
    await writer.write_accepts([key("old")], TODAY - 31)
    await retention.prune()
    assert await writer.standing([key("old")]) == {key("old"): True}
    clock.now += DAY_MS
    await retention.prune()
    assert await writer.standing([key("old")]) == {}


async def test_details_and_sooner_their_texts(
    db: Database, writer: VerdictWriter, retention: Retention, clock: Clock
) -> None:
    ages = {1: 0, 2: 6, 3: 8, 4: 29, 5: 31, 6: 1}
    await writer.write_decisions(
        [refusal(number, received_ts=NOW - age * DAY_MS) for number, age in ages.items()], TODAY
    )
    await retention.prune()

    async def texts() -> dict[int, str | None]:
        verdicts = await RefusalLog(db).refusals_between(0, 10_000, [MODS])
        return {verdict.number: verdict.details.text for verdict in verdicts}

    text = "buy this"
    assert await texts() == {1: text, 2: text, 3: None, 4: None, 6: text}
    clock.now += 100 * DAY_MS
    await retention.prune()
    # The latest stays, without its text, so that its number is not given again.
    assert await texts() == {6: None}
    await VerdictWriter(db, keep_text=True).write_decisions([refusal(7)], TODAY)
    assert await RefusalLog(db).latest_number() == 7


async def test_many_details_are_removed_in_slices(
    db: Database, writer: VerdictWriter, retention: Retention
) -> None:
    for start in range(0, 1_500, 500):
        await writer.write_decisions(
            [
                refusal(number, received_ts=NOW - 40 * DAY_MS if number % 2 else NOW)
                for number in range(start, start + 500)
            ],
            TODAY,
        )
    await retention.prune()
    assert await db.fetchval("SELECT COUNT(*) FROM decision") == 751


async def test_nothing_to_prune(retention: Retention) -> None:
    await retention.prune()
