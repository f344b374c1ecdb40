"""Who passes first when the homeserver takes only so much."""

import asyncio

import pytest

from policybot.bot.send_gate import MAX_CLOSED_S, Precedence, SendGate

ASKED, UNASKED = Precedence.ASKED, Precedence.UNASKED
DEADLINE_S = 10.0
LONG_S = 30.0


class Senders:
    """Those who want to pass a gate; ``passed`` tells who did, in order."""

    def __init__(self, gate: SendGate) -> None:
        self.passed: list[str] = []
        self._gate = gate
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._done: dict[str, asyncio.Event] = {}

    async def come(self, name: str, precedence: Precedence) -> None:
        """Somebody comes, and stays under way until he is `done` if he passes."""
        self._done[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._pass(name, precedence))
        await self.settle()

    async def _pass(self, name: str, precedence: Precedence) -> None:
        async with self._gate.turn(precedence):
            self.passed.append(name)
            await self._done[name].wait()

    async def done(self, name: str) -> None:
        """The request of somebody is answered."""
        self._done[name].set()
        await self._tasks[name]
        await self.settle()

    async def give_up(self, name: str) -> None:
        """Somebody does not wait any longer."""
        self._tasks[name].cancel()
        await asyncio.gather(self._tasks[name], return_exceptions=True)
        await self.settle()

    async def end(self) -> None:
        """All answer, and all have passed."""
        for done in self._done.values():
            done.set()
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    @staticmethod
    async def settle() -> None:
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
def gate() -> SendGate:
    return SendGate()


@pytest.fixture
def senders(gate: SendGate) -> Senders:
    return Senders(gate)


async def test_what_was_asked_for_waits_for_nobody(senders: Senders) -> None:
    await senders.come("report", UNASKED)
    await senders.come("reply", ASKED)
    await senders.come("another reply", ASKED)
    assert senders.passed == ["report", "reply", "another reply"]
    await senders.end()


async def test_what_was_not_asked_for_passes_alone(senders: Senders) -> None:
    await senders.come("reply", ASKED)
    await senders.come("report", UNASKED)
    await senders.come("notice", UNASKED)
    assert senders.passed == ["reply"]
    await senders.done("reply")
    assert senders.passed == ["reply", "report"]
    await senders.done("report")
    assert senders.passed == ["reply", "report", "notice"]
    await senders.end()


async def test_who_gives_up_holds_up_nobody(senders: Senders) -> None:
    await senders.come("reply", ASKED)
    await senders.come("report", UNASKED)
    await senders.come("notice", UNASKED)
    await senders.give_up("report")
    await senders.give_up("reply")
    assert senders.passed == ["reply", "notice"]
    await senders.end()


async def test_closed_nobody_passes(gate: SendGate, senders: Senders) -> None:
    gate.close(LONG_S)
    gate.close(0.0)
    await senders.come("reply", ASKED)
    await senders.come("report", UNASKED)
    assert senders.passed == []
    await senders.give_up("reply")
    await senders.give_up("report")


async def test_when_it_opens_the_reply_is_first(gate: SendGate, senders: Senders) -> None:
    gate.close(0.02)
    await senders.come("notice", UNASKED)
    await senders.come("report", UNASKED)
    await senders.come("reply", ASKED)
    await senders.end()
    assert senders.passed == ["reply", "notice", "report"]


async def test_it_opens_after_a_minute_at_the_latest(gate: SendGate) -> None:
    gate.close(1e9)
    assert 0 < gate._closed_for() <= MAX_CLOSED_S
