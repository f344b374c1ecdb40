"""What waits for the database, in which order, and what goes when there is too much."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policybot.policy.verdict import Decision
from policybot.store.verdict_queue import VerdictQueue, WaitingVerdict

from ..protocol.events import steady
from .samples import accept, dry_run_hit, key, refusal


def keys(batch: list[WaitingVerdict]) -> list[bytes]:
    return [waiting.decision.key for waiting in batch]


async def test_others_and_accepts_are_taken_apart_and_in_turn() -> None:
    queue = VerdictQueue(10)
    for decision in (accept(1), refusal(2), accept(3), dry_run_hit(4), Decision(key(5), False)):
        queue.add(decision)
    assert keys(queue.take(2)) == [key(2), key(4)]
    assert keys(queue.take(10)) == [key(1), key(3)]
    assert keys(queue.take(10)) == [key(5)]
    assert queue.take(10) == []
    assert len(queue) == 5


async def test_a_flood_of_one_kind_does_not_hold_up_the_other() -> None:
    queue = VerdictQueue(100)
    queue.add(accept("patient"))
    for number in range(50):
        queue.add(refusal(number))
    assert keys(queue.take(1)) == [key(0)]
    assert keys(queue.take(1)) == [key("patient")]


async def test_what_is_put_back_comes_first_again() -> None:
    queue = VerdictQueue(10)
    for number in range(4):
        queue.add(refusal(number))
    queue.put_back(queue.take(3))
    queue.add(refusal(4))
    assert keys(queue.take(10)) == [key(number) for number in range(5)]


async def test_settled_verdicts_resolve_and_go() -> None:
    queue = VerdictQueue(10)
    futures = [queue.add(accept(number))[0].future() for number in range(3)]
    batch = queue.take(2)
    queue.settle({key(0): False, key(2): True, key("unknown"): True})
    queue.put_back(batch)
    assert [future.done() for future in futures] == [True, False, True]
    assert futures[0].result() is False
    assert keys(queue.take(10)) == [key(1)]


async def test_the_oldest_accepts_go_then_the_oldest_others() -> None:
    queue = VerdictQueue(4)
    for decision in (refusal(1), accept(2), accept(3), refusal(4)):
        assert queue.add(decision)[1] is None
    gone = [queue.add(refusal(number))[1] for number in (5, 6, 7)]
    assert [waiting and waiting.decision.key for waiting in gone] == [key(2), key(3), key(1)]
    assert len(queue) == 4


async def test_what_is_being_written_does_not_go() -> None:
    queue = VerdictQueue(2)
    queue.add(accept(1))
    queue.add(accept(2))
    queue.take(2)
    assert queue.add(accept(3))[1] is None
    assert queue.get(key(1)) is not None


async def test_one_future_for_all_and_a_new_one_after_a_cancellation() -> None:
    waiting = WaitingVerdict(accept(1))
    first = waiting.future()
    assert waiting.future() is first
    first.cancel()
    second = waiting.future()
    assert second is not first
    waiting.resolve(True)
    assert second.result() is True


async def test_giving_up_cancels_all() -> None:
    queue = VerdictQueue(10)
    futures = [queue.add(decision)[0].future() for decision in (accept(1), refusal(2), accept(3))]
    queue.take(1)
    assert queue.give_up() == 3
    assert all(future.cancelled() for future in futures)
    assert len(queue) == 0


@steady(100)
@given(
    st.lists(
        st.tuples(st.sampled_from("axtsp"), st.integers(0, 12)),
        max_size=60,
    )
)
def test_nothing_is_lost_or_doubled(steps: list[tuple[str, int]]) -> None:
    async def play() -> None:
        queue, expected = VerdictQueue(1_000), set[bytes]()
        taken: list[WaitingVerdict] = []
        for step, number in steps:
            if step in "ax" and key(number) not in expected:
                decision = accept(number) if step == "a" else refusal(number)
                queue.add(decision)
                expected.add(decision.key)
            elif step == "t":
                taken += queue.take(number)
            elif step == "s":
                queue.settle({key(number): True})
                expected.discard(key(number))
            elif step == "p":
                queue.put_back(taken)
                taken = []
            assert Counter(waiting.decision.key for waiting in queue) == Counter(expected)
            assert len(queue) == len(expected)

    asyncio.run(play())


@pytest.mark.parametrize("size", [1, 7])
async def test_size_holds(size: int) -> None:
    queue = VerdictQueue(size)
    for number in range(50):
        queue.add(refusal(number) if number % 3 else accept(number))
        assert len(queue) <= size
