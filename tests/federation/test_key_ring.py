import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from policybot.federation import key_fetch, key_ring
from policybot.federation.key_ring import KeyRing
from policybot.federation.key_saver import StoredServerKeys
from policybot.federation.lookup_allowance import LookupAllowance, LookupLimits
from policybot.federation.notary import Notary
from policybot.protocol.signing import SigningKey

from .fake_notary import DAY, HOUR, NOW, OWN_NAME, Clock, FakeNotary, document
from .rings import Table, running
from .servers import until

KEY, NEW_KEY = SigningKey.generate(), SigningKey.generate()
GOOD = document("a.example", ("ed25519:a", KEY))
SECOND, MINUTE = 1_000, 60_000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
async def fake() -> FakeNotary:
    fake = FakeNotary(document(OWN_NAME, ("ed25519:own", KEY)))
    fake.servers["a.example"] = GOOD
    return fake


@pytest.fixture
async def ring(notary: Notary, table: Table, clock: Clock) -> AsyncIterator[KeyRing]:
    ring = KeyRing(notary, table, clock)
    async with running(ring):
        yield ring


def asked(server: str, key_id: str, minimum: int) -> dict[str, dict[str, dict[str, int]]]:
    return {server: {key_id: {"minimum_valid_until_ts": minimum}}}


async def fetched(
    ring: KeyRing, clock: Clock, server: str = "a.example", key_id: str = "ed25519:a"
) -> bool:
    """Whether the key is there after a fetch."""
    await ring.fetch(server, key_id, 5)
    return ring.lookup(server, key_id, clock.now) is not None


async def settled(ring: KeyRing) -> None:
    """Wait until nothing is fetched in the background."""
    await until(lambda: not ring._fetching)


async def test_a_key_is_fetched_once_then_known(
    ring: KeyRing, fake: FakeNotary, clock: Clock
) -> None:
    assert ring.lookup("a.example", "ed25519:a", NOW) is None
    assert ring.event_key("a.example", "ed25519:a", NOW, strict=True) is None
    for _ in range(2):
        await ring.fetch("a.example", "ed25519:a", 5)
        assert ring.lookup("a.example", "ed25519:a", NOW) == KEY.verify_key
    assert ring.event_key("a.example", "ed25519:a", NOW, strict=True) == KEY.verify_key
    assert fake.questions == [asked("a.example", "ed25519:a", NOW)]
    assert ring.status().servers == 1


async def test_what_the_notary_has_needs_no_fetch_of_its_own(
    ring: KeyRing, fake: FakeNotary, clock: Clock
) -> None:
    fake.remember(GOOD)
    assert await fetched(ring, clock)
    assert fake.fetched == []


async def test_the_notary_itself(ring: KeyRing, fake: FakeNotary, clock: Clock) -> None:
    assert await fetched(ring, clock, OWN_NAME, "ed25519:own")
    assert fake.questions == []


async def test_an_unknown_key_id_brings_the_others_and_is_not_asked_for_at_once(
    ring: KeyRing, fake: FakeNotary, clock: Clock
) -> None:
    assert not await fetched(ring, clock, key_id="ed25519:b")
    assert fake.questions == [asked("a.example", "ed25519:b", NOW), {"a.example": {}}]
    assert ring.lookup("a.example", "ed25519:a", NOW) == KEY.verify_key
    clock.now += MINUTE - 1
    for key_id in ("ed25519:b", "ed25519:c", "ed25519:d"):
        assert not await fetched(ring, clock, key_id=key_id)
    assert len(fake.questions) == 2
    clock.now += 1
    fake.servers["a.example"] = document(
        "a.example", ("ed25519:a", KEY), ("ed25519:b", NEW_KEY), until=NOW + 2 * DAY
    )
    assert await fetched(ring, clock, key_id="ed25519:b")
    assert len(fake.questions) == 3


async def test_a_retired_key_is_asked_for_no_more_often_than_an_unknown_one(
    ring: KeyRing, fake: FakeNotary, clock: Clock
) -> None:
    fake.servers["a.example"] = document(
        "a.example", ("ed25519:a", KEY), old={"ed25519:old": (NEW_KEY, NOW - DAY)}
    )
    for _ in range(3):
        assert not await fetched(ring, clock, key_id="ed25519:old")
    assert len(fake.questions) == 2
    assert ring.event_key("a.example", "ed25519:old", NOW - DAY, strict=True) is not None
    assert ring.event_key("a.example", "ed25519:old", NOW, strict=True) is None


async def test_a_lookup_past_half_of_the_validity_refreshes_in_the_background(
    ring: KeyRing, fake: FakeNotary, clock: Clock, table: Table
) -> None:
    assert await fetched(ring, clock)
    clock.now = NOW + DAY // 2 - 1
    assert ring.lookup("a.example", "ed25519:a", clock.now) is not None
    assert not ring._fetching
    clock.now += 1
    newer = document("a.example", ("ed25519:a", KEY), until=clock.now + DAY)
    fake.servers["a.example"] = newer
    for _ in range(3):
        assert ring.lookup("a.example", "ed25519:a", clock.now) == KEY.verify_key
    await settled(ring)
    assert fake.questions[1:] == [asked("a.example", "ed25519:a", NOW + DAY + 1)]
    clock.now = NOW + DAY + HOUR
    assert ring.lookup("a.example", "ed25519:a", clock.now) == KEY.verify_key
    await until(lambda: table.rows["a.example"].document == newer)


async def test_an_older_document_does_not_replace_a_newer_one(
    ring: KeyRing, fake: FakeNotary, clock: Clock
) -> None:
    assert await fetched(ring, clock)
    clock.now = NOW + DAY // 2
    older = document("a.example", ("ed25519:a", NEW_KEY), until=NOW + HOUR)
    fake.lie = web.json_response({"server_keys": [older]})
    ring.lookup("a.example", "ed25519:a", clock.now)
    await settled(ring)
    assert ring.lookup("a.example", "ed25519:a", clock.now) == KEY.verify_key
    # It was no refresh: it is tried again after 30 s, then after 60 s.
    questions = len(fake.questions)
    for wait in (30 * SECOND, 60 * SECOND):
        clock.now += wait - 1
        ring.lookup("a.example", "ed25519:a", clock.now)
        assert not ring._fetching
        clock.now += 1
        ring.lookup("a.example", "ed25519:a", clock.now)
        await settled(ring)
        assert len(fake.questions) == questions + 2
        questions += 2


async def test_a_rotated_key_is_found_though_the_notary_still_has_the_old_one(
    ring: KeyRing, fake: FakeNotary, clock: Clock
) -> None:
    assert await fetched(ring, clock)
    clock.now = NOW + DAY // 2
    fake.servers["a.example"] = document(
        "a.example",
        ("ed25519:b", NEW_KEY),
        until=clock.now + DAY,
        old={"ed25519:old": (KEY, NOW)},
    )
    ring.lookup("a.example", "ed25519:a", clock.now)
    await settled(ring)
    assert fake.questions[1:] == [
        asked("a.example", "ed25519:a", NOW + DAY + 1),
        {"a.example": {}},
    ]
    assert ring.lookup("a.example", "ed25519:b", clock.now) == NEW_KEY.verify_key
    # The old key is good up to the end that was published with it, and no longer.
    clock.now = NOW + DAY
    assert ring.lookup("a.example", "ed25519:a", clock.now) == KEY.verify_key
    clock.now += 1
    assert not await fetched(ring, clock)
    assert ring.lookup("a.example", "ed25519:b", clock.now) == NEW_KEY.verify_key


async def test_keys_past_their_end_serve_only_after_a_failed_refresh_and_for_seven_days(
    ring: KeyRing, fake: FakeNotary, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    assert await fetched(ring, clock)
    clock.now = NOW + DAY + 1
    assert ring.lookup("a.example", "ed25519:a", clock.now) is None
    fake.lie = web.Response(status=502)
    assert await fetched(ring, clock)
    assert ring.event_key("a.example", "ed25519:a", clock.now, strict=True) is None
    status = ring.status()
    assert status.in_grace == 1
    assert "answered 502" in status.notary_fault
    assert "past their end" in caplog.text
    clock.now = NOW + 8 * DAY
    assert ring.lookup("a.example", "ed25519:a", clock.now) == KEY.verify_key
    await settled(ring)
    clock.now += 1
    assert ring.lookup("a.example", "ed25519:a", clock.now) is None

    fake.lie = None
    clock.now += MINUTE
    fake.servers["a.example"] = document("a.example", ("ed25519:a", KEY), until=clock.now + DAY)
    assert await fetched(ring, clock)
    assert ring.status() == key_ring.KeyRingStatus(1, 0, "")


async def test_an_end_far_away_counts_seven_days_and_the_same_document_renews_it(
    ring: KeyRing, fake: FakeNotary, clock: Clock
) -> None:
    far = NOW + 1000 * DAY
    fake.servers["a.example"] = document("a.example", ("ed25519:a", KEY), until=far)
    assert await fetched(ring, clock)
    clock.now = NOW + 7 * DAY + 1
    assert ring.lookup("a.example", "ed25519:a", clock.now) is None
    assert await fetched(ring, clock)
    assert fake.questions[1] == asked("a.example", "ed25519:a", far + 1)
    assert fake.fetched == ["a.example", "a.example"]
    assert ring.status().in_grace == 0


async def test_one_fetch_serves_all_who_wait_and_outlives_them(
    ring: KeyRing, fake: FakeNotary, clock: Clock
) -> None:
    gate = fake.gates["a.example"] = asyncio.Event()
    waiters = [asyncio.create_task(fetched(ring, clock)) for _ in range(20)]
    await until(lambda: bool(fake.fetched))
    waiters[0].cancel()
    await asyncio.wait({waiters[0]})
    await ring.fetch("a.example", "ed25519:a", 0)
    await ring.fetch("a.example", "ed25519:a", 0.01)
    gate.set()
    assert await asyncio.gather(*waiters[1:]) == [True] * 19
    assert len(fake.questions) == 1


async def test_a_fetch_goes_on_when_nobody_waits_any_more(ring: KeyRing, fake: FakeNotary) -> None:
    gate = fake.gates["a.example"] = asyncio.Event()
    await ring.fetch("a.example", "ed25519:a", 0.01)
    assert ring.lookup("a.example", "ed25519:a", NOW) is None
    gate.set()
    await settled(ring)
    assert ring.lookup("a.example", "ed25519:a", NOW) == KEY.verify_key


async def test_a_refresh_that_takes_too_long_lets_old_keys_serve(
    ring: KeyRing, fake: FakeNotary, clock: Clock
) -> None:
    assert await fetched(ring, clock)
    fake.gates["a.example"] = asyncio.Event()
    clock.now = NOW + DAY + 1
    await ring.fetch("a.example", "ed25519:a", 0)
    assert ring.lookup("a.example", "ed25519:a", clock.now) == KEY.verify_key


async def test_who_waits_for_another_key_asks_for_it_afterwards(
    ring: KeyRing, fake: FakeNotary, clock: Clock
) -> None:
    gate = fake.gates["a.example"] = asyncio.Event()
    first = asyncio.create_task(fetched(ring, clock))
    await until(lambda: bool(fake.fetched))
    second = asyncio.create_task(fetched(ring, clock, key_id="ed25519:b"))
    await asyncio.sleep(0)
    assert len(ring._fetching) == 1
    fake.remember(document("a.example", ("ed25519:b", NEW_KEY), until=NOW + HOUR))
    gate.set()
    assert [await first, await second] == [True, True]
    assert fake.questions == [
        asked("a.example", "ed25519:a", NOW),
        asked("a.example", "ed25519:b", NOW),
    ]


async def test_failures_wait_longer_and_longer_until_a_success(
    ring: KeyRing, fake: FakeNotary, clock: Clock
) -> None:
    fake.servers["a.example"] = None
    assert not await fetched(ring, clock)
    for wait in (30, 60, 120, 240, 480, 600, 600):
        questions = len(fake.questions)
        clock.now += wait * SECOND - 1
        assert not await fetched(ring, clock)
        assert len(fake.questions) == questions
        clock.now += 1
        assert not await fetched(ring, clock)
        assert len(fake.questions) == questions + 2
    clock.now += 600 * SECOND
    fake.servers["a.example"] = document("a.example", ("ed25519:a", KEY), until=clock.now + DAY)
    assert await fetched(ring, clock)
    # The next failure begins with the short wait again.
    fake.servers["a.example"] = None
    clock.now += 10 * DAY
    assert not await fetched(ring, clock)
    questions = len(fake.questions)
    clock.now += 30 * SECOND
    assert not await fetched(ring, clock)
    assert len(fake.questions) == questions + 2


async def test_a_notary_that_was_away_is_asked_again_within_a_minute(
    ring: KeyRing, fake: FakeNotary, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    fake.lie = web.Response(status=503)
    for _ in range(10):
        assert not await fetched(ring, clock)
        clock.now += MINUTE
    assert len(fake.questions) == 10
    fake.lie = None
    assert await fetched(ring, clock)
    assert len([r for r in caplog.records if "no keys from the homeserver" in r.message]) == 1


async def test_a_clock_set_back_does_not_lock_out(
    ring: KeyRing, fake: FakeNotary, clock: Clock
) -> None:
    clock.now = NOW + 1000 * DAY
    assert not await fetched(ring, clock)  # what came ended long ago
    assert not await fetched(ring, clock, "b.example")
    clock.now = NOW
    assert await fetched(ring, clock)
    fake.servers["b.example"] = document("b.example", ("ed25519:a", KEY))
    assert await fetched(ring, clock, "b.example")

    clock.now = NOW - 1000 * DAY
    fake.servers["c.example"] = document("c.example", ("ed25519:a", KEY))
    assert await fetched(ring, clock, "c.example")
    clock.now = NOW
    assert await fetched(ring, clock, "c.example")


LIES = {
    "another server": document("b.example", ("ed25519:a", KEY)),
    "signature of another": {**GOOD, "signatures": {"b.example": {"ed25519:a": "x" * 86}}},
    "changed": {**GOOD, "valid_until_ts": NOW + 2},
    "too large": document("a.example", ("ed25519:a", KEY), junk="x" * 40_000),
    "wrong types": {**GOOD, "verify_keys": [1]},
    "not an object": 5,
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_a_lying_notary_gives_no_key_and_is_not_asked_again_at_once(
    ring: KeyRing,
    fake: FakeNotary,
    clock: Clock,
    lie: object,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake.lie = web.json_response({"server_keys": [lie]})
    for _ in range(5):
        assert not await fetched(ring, clock)
    assert len(fake.questions) == 2
    assert ring.status().servers == 0
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1


async def test_a_slow_notary_is_given_up(
    ring: KeyRing, fake: FakeNotary, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_fetch, "ASK_TIMEOUT_S", 0.05)
    fake.gates["a.example"] = asyncio.Event()
    assert not await fetched(ring, clock)
    assert len(fake.questions) == 2
    assert not await fetched(ring, clock)
    assert len(fake.questions) == 2


async def test_hostile_names_are_not_asked_for(
    ring: KeyRing, fake: FakeNotary, clock: Clock
) -> None:
    for server in ("", "a b", "@u:a.example", "x" * 300, "a.example/..", "é.example"):
        assert not await fetched(ring, clock, server)
    for key_id in ("", "ed25519", "ed25519:", "rsa:a", "ed25519:" + "x" * 300, "ed25519:a b"):
        assert not await fetched(ring, clock, key_id=key_id)
    assert fake.questions == []


async def test_a_refresh_does_not_wait_behind_what_nobody_heard_of(
    notary: Notary, fake: FakeNotary, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_ring, "UNKNOWN_AT_A_TIME", 3)
    ring = KeyRing(
        notary, Table(), clock, allowance=LookupAllowance(together=LookupLimits(10, 100, 1))
    )
    async with running(ring):
        assert await fetched(ring, clock)
        names = [f"{number}.example" for number in range(12)]
        for name in names:
            fake.gates[name] = asyncio.Event()
            await ring.fetch(name, "ed25519:a", 0)
        await until(lambda: fake.asking == 3)
        assert len(ring._fetching) == 10
        clock.now = NOW + DAY + 1
        newer = document("a.example", ("ed25519:a", KEY), until=clock.now + DAY)
        fake.servers["a.example"] = newer
        assert await fetched(ring, clock)
        assert fake.asking == 3
        for gate in fake.gates.values():
            gate.set()
        await settled(ring)
    assert fake.most_asking == 4


async def test_too_many_servers_are_refused_at_once(
    notary: Notary, fake: FakeNotary, clock: Clock
) -> None:
    ring = KeyRing(
        notary, Table(), clock, allowance=LookupAllowance(together=LookupLimits(5, 100, 1))
    )
    async with running(ring):
        names = [f"{number}.example" for number in range(8)]
        for name in names:
            fake.gates[name] = asyncio.Event()
        for name in names[:5]:
            await ring.fetch(name, "ed25519:a", 0)
        for name in names[5:]:
            await ring.fetch(name, "ed25519:a", 3600)
        assert sorted(ring._fetching) == names[:5]


async def test_who_gets_no_turn_in_time_is_let_go_and_not_taken_for_failed(
    notary: Notary, fake: FakeNotary, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_ring, "UNKNOWN_AT_A_TIME", 1)
    monkeypatch.setattr(key_ring, "TURN_WAIT_S", 0.02)
    gate = fake.gates["slow.example"] = asyncio.Event()
    ring = KeyRing(notary, Table(), clock)
    async with running(ring):
        await ring.fetch("slow.example", "ed25519:a", 0)
        await until(lambda: fake.asking == 1)
        assert not await fetched(ring, clock)
        assert list(ring._fetching) == ["slow.example"]
        gate.set()
        await settled(ring)
        assert await fetched(ring, clock)


async def test_keys_survive_a_restart(
    notary: Notary, fake: FakeNotary, clock: Clock, table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    first = KeyRing(notary, table, clock)
    async with running(first):
        assert await fetched(first, clock)
    assert table.rows["a.example"] == StoredServerKeys("a.example", GOOD, NOW, NOW + DAY)
    table.rows["b.example"] = StoredServerKeys("b.example", GOOD, NOW, NOW + DAY)
    far = document("c.example", ("ed25519:a", KEY), until=NOW + 1000 * DAY)
    table.rows["c.example"] = StoredServerKeys("c.example", far, NOW + 500 * DAY, NOW + 507 * DAY)

    second = KeyRing(notary, table, clock)
    await second.load()
    assert second.lookup("a.example", "ed25519:a", NOW) == KEY.verify_key
    assert second.lookup("b.example", "ed25519:a", NOW) is None
    assert second.lookup("c.example", "ed25519:a", NOW + 7 * DAY) is not None
    assert second.lookup("c.example", "ed25519:a", NOW + 7 * DAY + 1) is None
    assert "1 saved documents" in caplog.text
    assert len(fake.questions) == 1


async def test_nothing_is_fetched_before_the_start_or_after_the_stop(
    notary: Notary, fake: FakeNotary, clock: Clock
) -> None:
    ring = KeyRing(notary, Table(), clock)
    assert not await fetched(ring, clock)
    assert await ring.prefetch(["a.example"]) == ("a.example",)
    await ring.start()
    fake.gates["a.example"] = asyncio.Event()
    waiter = asyncio.create_task(fetched(ring, clock))
    await until(lambda: bool(fake.fetched))
    await ring.stop()
    assert not await waiter
    assert not await fetched(ring, clock)
    assert not ring._tasks


async def test_prefetch_asks_the_notary_for_what_it_lacks_only(
    ring: KeyRing, fake: FakeNotary, clock: Clock
) -> None:
    fake.servers |= {"old.example": document("old.example", ("ed25519:a", KEY)), "c.example": None}
    fake.remember(document("b.example", ("ed25519:a", KEY)))
    fake.remember(document("old.example", ("ed25519:a", KEY), until=NOW - 1))
    names = ["a.example", "b.example", "old.example", "c.example", "no name", "a.example"]
    assert await ring.prefetch(names) == ("c.example",)
    assert sorted(fake.fetched) == ["a.example", "c.example", "old.example"]
    assert [sorted(question) for question in fake.questions] == [
        ["a.example", "b.example", "c.example", "old.example"],
        ["a.example", "c.example", "old.example"],
        ["a.example", "c.example", "old.example"],
    ]
    for name in ("a.example", "b.example", "old.example"):
        assert ring.lookup(name, "ed25519:a", NOW) == KEY.verify_key
    # One that was away in advance is asked at once when it comes itself.
    fake.servers["c.example"] = document("c.example", ("ed25519:a", KEY))
    assert await fetched(ring, clock, "c.example")


async def test_prefetch_goes_by_batches_two_at_a_time_and_a_slow_server_holds_up_only_its_own(
    ring: KeyRing, fake: FakeNotary, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_fetch, "ASK_TIMEOUT_S", 1.0)
    monkeypatch.setattr(key_ring, "MAX_PREFETCH", 95)
    names = [f"{number:03}.example" for number in range(100)]
    for name in names:
        fake.servers[name] = document(name, ("ed25519:a", KEY))
    fake.gates[names[7]] = asyncio.Event()
    missing = await ring.prefetch(iter(names))
    assert missing == (names[7],)
    assert fake.most_asking == 2
    assert max(len(question) for question in fake.questions) == 20
    assert not set(names[95:]) & set(fake.fetched)


async def test_prefetch_goes_on_without_the_one_who_waits(ring: KeyRing, fake: FakeNotary) -> None:
    gate = fake.gates["a.example"] = asyncio.Event()
    waiter = asyncio.create_task(ring.prefetch(["a.example"]))
    await until(lambda: bool(fake.fetched))
    waiter.cancel()
    await asyncio.wait({waiter})
    gate.set()
    await until(lambda: ring.lookup("a.example", "ed25519:a", NOW) is not None)


async def test_prefetch_ends_early_when_the_notary_is_away(
    ring: KeyRing, fake: FakeNotary
) -> None:
    fake.lie = web.Response(status=500)
    assert await ring.prefetch(["a.example"]) == ("a.example",)
    assert len(fake.questions) == 1
