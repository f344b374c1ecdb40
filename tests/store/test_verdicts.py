"""The store of verdicts under load, with a database that fails, and at its end."""

import asyncio
import logging
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from mautrix.util.async_db import Database, Scheme

from policybot.policy.verdict import Decision, reference_code
from policybot.store.database import open_database
from policybot.store.refusal_log import RefusalLog
from policybot.store.verdict_writer import VerdictWriter
from policybot.store.verdicts import VerdictStore

from .samples import (
    MODS,
    NOW,
    ROOM,
    Clock,
    accept,
    dry_run_hit,
    eventually,
    exemption,
    key,
    locked,
    refusal,
    result_of,
)


async def stored(db: Database) -> dict[bytes, bool]:
    rows = await db.fetch("SELECT key, signed FROM verdict")
    return {bytes(row["key"]): bool(row["signed"]) for row in rows}


async def reported(db: Database) -> list[str]:
    verdicts = await RefusalLog(db).refusals_between(0, 100_000, [MODS])
    assert [verdict.number for verdict in verdicts] == list(range(1, len(verdicts) + 1))
    return [verdict.details.event_id for verdict in verdicts]


# -- the first verdict stands --------------------------------------------------------------------


@pytest.mark.parametrize(
    "decision", [accept(1), refusal(1), dry_run_hit(1), Decision(key(1), False)]
)
async def test_a_verdict_is_stored(store: VerdictStore, db: Database, decision: Decision) -> None:
    future = store.submit(decision)
    assert not future.done()
    assert await result_of(future) is decision.signed
    assert await stored(db) == {decision.key: decision.signed}
    assert store.waiting(decision.key) is None


@pytest.mark.parametrize(
    ("first", "second"),
    [(accept(1), refusal(1)), (refusal(1), accept(1)), (refusal(1), exemption(1))],
)
@pytest.mark.parametrize("apart", [False, True])
async def test_the_first_of_two_stands(
    store: VerdictStore, db: Database, first: Decision, second: Decision, apart: bool
) -> None:
    one = store.submit(first)
    if apart:
        await result_of(one)
    two = store.submit(second)
    assert await result_of(one) is first.signed
    assert await result_of(two) is first.signed
    assert await stored(db) == {key(1): first.signed}
    assert await reported(db) == (["$1"] if not first.signed else [])


async def test_it_stands_after_a_restart(database_url: str, clock: Clock) -> None:
    for decision in (refusal(1), accept(1)):
        db = await open_database(database_url)
        store = VerdictStore(db, clock=clock)
        await store.start()
        assert await result_of(store.submit(decision)) is False
        assert await store.stop() == 0
        await db.stop()


async def test_submitted_before_the_start(db: Database, clock: Clock) -> None:
    store = VerdictStore(db, clock=clock)
    future = store.submit(accept(1))
    await store.start()
    assert await result_of(future) is True
    await store.stop()


@pytest.mark.parametrize("old", [True, False, None])
@pytest.mark.parametrize("own", [True, False])
async def test_looking_up_stores_nothing(
    store: VerdictStore, db: Database, old: bool | None, own: bool
) -> None:
    if old is not None:
        await result_of(store.submit(Decision(key(1), old)))
    before = await stored(db)
    assert await result_of(store.submit(Decision(key(1), own), keep=False)) is (
        own if old is None else old
    )
    assert await stored(db) == before


async def test_looking_up_what_waits(store: VerdictStore) -> None:
    store.submit(refusal(1))
    assert await result_of(store.submit(accept(1), keep=False)) is False


async def test_two_look_ups_each_with_its_own_value(store: VerdictStore) -> None:
    futures = [store.submit(Decision(key(1), own), keep=False) for own in (True, False)]
    assert [await result_of(future) for future in futures] == [True, False]


async def test_waiting(store: VerdictStore) -> None:
    assert store.waiting(key(1)) is None
    future = store.submit(accept(1))
    waiting = store.waiting(key(1))
    assert waiting is not None
    assert store.waiting_count == 1
    assert await result_of(waiting) is True
    assert future.done()
    assert store.waiting_count == 0


async def test_many_at_once(store: VerdictStore, db: Database) -> None:
    decisions = [refusal(n) if n % 2 else accept(n) for n in range(3_000)]
    futures = [store.submit(decision) for decision in decisions]
    await asyncio.wait(futures)
    assert [future.result() for future in futures] == [each.signed for each in decisions]
    assert len(await stored(db)) == 3_000
    assert await reported(db) == [f"${number}" for number in range(1, 3_000, 2)]


async def test_cancelling_those_who_wait_does_not_hurt(store: VerdictStore, db: Database) -> None:
    async def wait_for(decision: Decision) -> bool:
        return await store.submit(decision)

    tasks = [asyncio.create_task(wait_for(refusal(number))) for number in range(50)]
    for step in range(20):
        await asyncio.sleep(0)
        tasks[step].cancel()
    await asyncio.wait(tasks)
    assert await result_of(store.submit(accept("last"))) is True
    assert len(await stored(db)) >= 49
    assert len(await reported(db)) == len(await stored(db)) - 1
    assert not store.failing


# -- the database fails --------------------------------------------------------------------------


@pytest.mark.parametrize("decision", [accept(1), refusal(1)])
async def test_a_locked_database(
    store: VerdictStore, db: Database, database_url: str, decision: Decision
) -> None:
    async with locked(database_url):
        future = store.submit(decision)
        await eventually(lambda: store.failing)
        assert not future.done()
        assert store.waiting(decision.key) is future
    assert await result_of(future) is decision.signed
    assert not store.failing
    assert await stored(db) == {decision.key: decision.signed}


async def test_old_verdicts_are_read_while_the_database_is_locked(
    store: VerdictStore, database_url: str
) -> None:
    await result_of(store.submit(refusal("old")))
    await result_of(store.submit(refusal("older")))
    async with locked(database_url):
        # The first attempt to write fails and looks up; later ones look up at once.
        assert await result_of(store.submit(accept("old"))) is False
        assert store.failing
        assert await result_of(store.submit(accept("older"))) is False
        fresh = [store.submit(accept(number)) for number in range(1_200)]
        assert await result_of(store.submit(accept("old"), keep=False)) is False
        assert await result_of(store.submit(refusal("never"), keep=False)) is False
        assert not any(future.done() for future in fresh)
    assert await result_of(fresh[-1]) is True
    await asyncio.wait(fresh)


async def test_nothing_is_lost_and_the_order_stays(
    store: VerdictStore, db: Database, database_url: str
) -> None:
    futures = []
    for burst in range(3):
        async with locked(database_url):
            for number in range(burst * 700, (burst + 1) * 700):
                futures.append(store.submit(refusal(number)))
                futures.append(store.submit(accept(-number - 1)))
            await eventually(lambda: store.failing)
        if burst == 1:
            await eventually(lambda: not store.failing)
    await asyncio.wait(futures)
    assert await reported(db) == [f"${number}" for number in range(2_100)]
    assert len(await stored(db)) == 4_200


async def test_failures_are_logged_once_and_so_is_the_end(
    store: VerdictStore, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "policybot.store"):
        async with locked(database_url):
            future = store.submit(accept(1))
            await eventually(lambda: store.failing)
            another = store.submit(accept(2))
            assert await result_of(store.submit(accept(3), keep=False)) is True
        await result_of(future)
        await result_of(another)
        await eventually(lambda: not store.failing)
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "lock" in caplog.text
    assert "can be written again" in caplog.text


async def test_a_database_that_cannot_be_read_counts_as_nothing_stored(
    store: VerdictStore, db: Database
) -> None:
    await db.execute("ALTER TABLE verdict RENAME TO elsewhere")
    await db.execute("ALTER TABLE decision RENAME TO elsewhere_too")
    future = store.submit(accept(1))
    assert await store.counts_since(ROOM, NOW) is None
    await eventually(lambda: store.failing)
    assert await result_of(store.submit(Decision(key(2), False), keep=False)) is False
    assert not future.done()
    await db.execute("ALTER TABLE elsewhere RENAME TO verdict")
    assert await result_of(future) is True


async def test_a_closed_database_is_survived(database_url: str, clock: Clock) -> None:
    db = await open_database(database_url)
    store = VerdictStore(db, clock=clock)
    await store.start()
    await result_of(store.submit(accept(1)))
    await db.stop()
    future = store.submit(refusal(2))
    await eventually(lambda: store.failing)
    assert await result_of(store.submit(accept(3), keep=False)) is True
    assert not future.done()
    assert await store.stop(timeout_s=0.2) == 1
    assert future.cancelled()


async def test_a_full_disk(store: VerdictStore, db: Database, sqlite_file: Path) -> None:
    pages = await db.fetchval("PRAGMA page_count")
    await db.fetchval(f"PRAGMA max_page_count = {pages + 8}")
    futures = [store.submit(refusal(number)) for number in range(600)]
    await eventually(lambda: store.failing)
    await db.fetchval("PRAGMA max_page_count = 1000000")
    await asyncio.wait(futures)
    assert await reported(db) == [f"${number}" for number in range(600)]


async def test_details_that_the_database_refuses_do_not_stop_the_rest(
    store: VerdictStore, db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await db.execute(
        """CREATE TRIGGER picky BEFORE INSERT ON decision WHEN NEW.event_id LIKE '_37'
        BEGIN SELECT RAISE(ABORT, 'no'); END"""
        if db.scheme is Scheme.SQLITE
        else "ALTER TABLE decision ADD CONSTRAINT picky CHECK (event_id NOT LIKE '_37')"
    )
    futures = [store.submit(refusal(number)) for number in range(100)]
    await asyncio.wait(futures)
    assert not any(future.result() for future in futures)
    assert len(await stored(db)) == 100
    assert await reported(db) == [f"${number}" for number in range(100) if number != 37]
    assert await result_of(store.submit(accept("next"))) is True
    assert not store.failing
    assert "the database refuses them" in caplog.text
    assert "buy this" not in caplog.text


@pytest_asyncio.fixture
async def small_store(db: Database, clock: Clock) -> AsyncIterator[VerdictStore]:
    verdicts = VerdictStore(db, clock=clock, max_waiting=10, chunk=4)
    await verdicts.start()
    yield verdicts
    await verdicts.stop()


async def test_beyond_the_limit_the_oldest_accepts_go(
    small_store: VerdictStore, db: Database, database_url: str
) -> None:
    store = small_store
    async with locked(database_url):
        first = store.submit(accept("first"))
        await eventually(lambda: store.failing)
        refusals = [store.submit(refusal(number)) for number in range(5)]
        accepts = [store.submit(accept(-number - 1)) for number in range(20)]
        assert store.waiting_count <= 10
        assert store.dropped >= 15
        assert not any(future.done() for future in refusals)
        assert accepts[0].cancelled()
    await asyncio.wait([first, *refusals, *accepts])
    assert await reported(db) == [f"${number}" for number in range(5)]
    assert not accepts[-1].cancelled()
    assert len(await stored(db)) == 26 - store.dropped


async def test_two_processes_on_one_database(database_url: str, clock: Clock) -> None:
    """A mistake; but each event still has one verdict, and no refusal is lost."""
    keys = list(range(400))
    async with AsyncExitStack() as stack:
        stores = []
        for _ in range(2):
            db = await open_database(database_url)
            stack.push_async_callback(db.stop)
            store = VerdictStore(db, clock=clock, chunk=20)
            await store.start()
            stack.push_async_callback(store.stop)
            stores.append(store)
        answers: list[list[asyncio.Future[bool]]] = [[], []]
        for number in keys:
            answers[0].append(stores[0].submit(refusal(number) if number % 2 else accept(number)))
            other = keys[-1 - number]
            answers[1].append(stores[1].submit(accept(other) if other % 2 else refusal(other)))
            await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await asyncio.wait([*answers[0], *answers[1]])
        verdicts = [future.result() for future in answers[0]]
        assert verdicts == [future.result() for future in reversed(answers[1])]
        assert set(await reported(db)) == {f"${n}" for n in keys if not verdicts[n]}


async def test_a_number_that_another_process_took(store: VerdictStore, db: Database) -> None:
    await result_of(store.submit(refusal(1)))
    await VerdictWriter(db, keep_text=True).write_decisions([refusal(2)], 20_000)
    assert await result_of(store.submit(refusal(3))) is False
    assert await reported(db) == ["$1", "$2", "$3"]


# -- the end -------------------------------------------------------------------------------------


async def test_stop_writes_what_waits(db: Database, clock: Clock) -> None:
    store = VerdictStore(db, clock=clock)
    await store.start()
    futures = [store.submit(refusal(number)) for number in range(1_300)]
    lookup = store.submit(accept(-1), keep=False)
    assert await store.stop() == 0
    assert all(future.done() for future in futures)
    assert lookup.result() is True
    assert len(await reported(db)) == 1_300


async def test_stop_says_how_many_could_not_be_written(
    db: Database, clock: Clock, database_url: str
) -> None:
    store = VerdictStore(db, clock=clock)
    await store.start()
    async with locked(database_url):
        futures = [store.submit(accept(number)) for number in range(7)]
        await eventually(lambda: store.failing)
        assert await store.stop(timeout_s=0.1) == 7
    assert all(future.cancelled() for future in futures)
    assert await stored(db) == {}


async def test_stop_waits_for_a_lock_to_go(db: Database, clock: Clock, database_url: str) -> None:
    store = VerdictStore(db, clock=clock)
    await store.start()
    async with locked(database_url):
        future = store.submit(refusal(1))
        await eventually(lambda: store.failing)
        stopping = asyncio.create_task(store.stop(timeout_s=20))
        await asyncio.sleep(0)
    assert await stopping == 0
    assert future.result() is False


async def test_after_the_end(db: Database, clock: Clock) -> None:
    store = VerdictStore(db, clock=clock)
    await store.start()
    await store.stop()
    assert store.submit(accept(1)).cancelled()
    assert store.submit(Decision(key(1), False), keep=False).result() is False
    assert store.dropped == 1
    assert await store.stop() == 0


async def test_stopped_without_a_start(db: Database, clock: Clock) -> None:
    store = VerdictStore(db, clock=clock)
    future = store.submit(accept(1))
    assert await store.stop() == 1
    assert future.cancelled()


def test_what_was_committed_survives_kill_9(database_url: str) -> None:
    committed: dict[bytes, bool] = {}

    def note(line: str) -> None:
        digest, verdict = line.split()
        committed[bytes.fromhex(digest)] = verdict == "signed"

    with subprocess.Popen(
        [sys.executable, "-m", "tests.store.crash_child", database_url],
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        while len(committed) < 2_000:
            note(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        for line in child.stdout.read().splitlines(keepends=True):
            if line.endswith("\n"):
                note(line)
    assert child.returncode == -signal.SIGKILL

    async def compare() -> None:
        db = await open_database(database_url)
        try:
            there = await stored(db)
            details = len(await reported(db))
        finally:
            await db.stop()
        assert committed.items() <= there.items()
        assert details == sum(not signed for signed in there.values())

    asyncio.run(compare())


# -- for moderators ------------------------------------------------------------------------------


async def test_the_reporter_is_woken_after_the_commit(store: VerdictStore, db: Database) -> None:
    woken = 0

    def wake() -> None:
        nonlocal woken
        woken += 1
        raise RuntimeError("a fault of the reporter's")

    store.on_refusal = wake
    await result_of(store.submit(accept(1)))
    await result_of(store.submit(exemption(2)))
    assert woken == 0
    await result_of(store.submit(refusal(3)))
    await eventually(lambda: woken == 1)
    await result_of(store.submit(dry_run_hit(4)))
    await eventually(lambda: woken == 2)
    assert len(await store.refusals.refusals_between(0, 10, [MODS])) == 2


async def test_finding_what_is_stored_and_what_waits(
    store: VerdictStore, database_url: str
) -> None:
    await result_of(store.submit(refusal(1)))
    async with locked(database_url):
        future = store.submit(refusal(2))
        await eventually(lambda: store.failing)
        for number, expected in ((1, 1), (2, 0)):
            code = reference_code(key(number))
            for found in (
                await store.find_by_event(f"${number}", MODS),
                await store.find_by_reference(code, MODS),
                await store.find_by_reference(code.lower().replace("-", ""), MODS),
            ):
                assert [(verdict.number, verdict.reference) for verdict in found] == [
                    (expected, code)
                ]
            assert await store.find_by_event(f"${number}", "!others:example.org") == []
    await result_of(future)
    assert await store.refusals.latest_number() == 2
    assert await store.counts_since(ROOM, NOW) == (2, 0)


async def test_pruned_events_are_judged_anew(
    db: Database, store: VerdictStore, clock: Clock
) -> None:
    await VerdictWriter(db, keep_text=True).write_accepts([key(1)], 1)
    await store.retention.prune()
    assert await result_of(store.submit(refusal(1))) is False


async def test_pruning_and_writing_at_once(db: Database, store: VerdictStore) -> None:
    old = [key(("old", number)) for number in range(5_000)]
    writer = VerdictWriter(db, keep_text=True)
    for start in range(0, len(old), 500):
        await writer.write_accepts(old[start : start + 500], 1)
    pruning = asyncio.create_task(store.retention.prune())
    number = 0
    while not pruning.done():
        number += 1
        assert await result_of(store.submit(accept(number))) is True
        # An old verdict stands until it is removed; then the new one stands.
        await result_of(store.submit(Decision(old[number % len(old)], True)))
    await pruning
    assert {key(n) for n in range(1, number + 1)} <= set(await stored(db))
