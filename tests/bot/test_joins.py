"""Joining is tried again after pauses, one try at a time for a room."""

import asyncio

from policybot.bot.joins import CONCURRENT, Joins
from policybot.bot.policy_user import JoinTimes

QUICK = JoinTimes(first_pause=0.001, longest_pause=0.002)
PATIENT = JoinTimes(first_pause=600.0, longest_pause=600.0)
DEADLINE_S = 10.0


class Attempts:
    """``results`` are what the tries come to, in their order, and True beyond."""

    def __init__(self, *results: bool | Exception) -> None:
        self.results = list(results)
        self.rooms: list[str] = []
        self.under_way = 0
        self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, room_id: str) -> bool:
        self.rooms.append(room_id)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.gate.wait()
        self.under_way -= 1
        result = self.results.pop(0) if self.results else True
        if isinstance(result, Exception):
            raise result
        return result


async def ended(joins: Joins) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while joins._tasks:
            await asyncio.wait(joins._tasks)


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_it_is_tried_until_it_works() -> None:
    attempts = Attempts(False, False, ValueError("a fault of ours"))
    joins = Joins(attempts, QUICK)
    joins.begin("!a:b")
    await ended(joins)
    assert attempts.rooms == ["!a:b"] * 4


async def test_after_a_failure_a_pause_comes_first() -> None:
    attempts = Attempts()
    joins = Joins(attempts, PATIENT)
    joins.begin("!a:b", failed=True)
    joins.begin("!a:b")
    await turns()
    assert attempts.rooms == []
    joins.now("!a:b")
    await ended(joins)
    assert attempts.rooms == ["!a:b"]


async def test_what_changes_during_a_try_is_not_missed() -> None:
    attempts = Attempts()
    attempts.gate.clear()
    joins = Joins(attempts, PATIENT)
    joins.begin("!a:b")
    await turns()
    joins.now("!a:b")
    attempts.gate.set()
    await ended(joins)
    assert attempts.rooms == ["!a:b"] * 2


async def test_one_try_at_a_time_for_a_room_and_few_in_all() -> None:
    attempts = Attempts()
    attempts.gate.clear()
    joins = Joins(attempts, QUICK)
    for number in range(20):
        joins.begin(f"!{number}:b")
        joins.begin(f"!{number}:b")
    await turns()
    assert attempts.most == CONCURRENT
    attempts.gate.set()
    await ended(joins)
    assert sorted(attempts.rooms) == sorted(f"!{number}:b" for number in range(20))


async def test_stop_ends_pauses_and_tries() -> None:
    attempts = Attempts(False)
    joins = Joins(attempts, PATIENT)
    joins.begin("!a:b")
    joins.begin("!c:d", failed=True)
    await turns()
    async with asyncio.timeout(DEADLINE_S):
        await joins.stop()
    assert not joins._tasks and not joins._now
