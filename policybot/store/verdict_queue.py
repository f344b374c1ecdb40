"""Verdicts that wait for the database. Bounded, and each kept until its commit has returned."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping

from policybot.policy.verdict import Decision


class WaitingVerdict:
    """A decision and the future that resolves with the verdict that stands (signed?)."""

    __slots__ = ("_future", "decision")

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self._future: asyncio.Future[bool] | None = None

    def future(self) -> "asyncio.Future[bool]":
        """One future for all who ask; a new one if somebody has cancelled the last."""
        if self._future is None or self._future.cancelled():
            self._future = asyncio.get_running_loop().create_future()
        return self._future

    def resolve(self, signed: bool) -> None:
        """Tell all who wait what stands in the database."""
        if self._future is not None and not self._future.done():
            self._future.set_result(signed)

    def give_up(self) -> None:
        """Tell all who wait that it will not be stored: the future is cancelled."""
        if self._future is not None:
            self._future.cancel()


class VerdictQueue:
    """Waiting verdicts by key: plain accepts, all others in order, and those being written.

    At most ``size`` wait; beyond, the oldest accepts go, and if there are none, the oldest others.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        # Ordered dicts, since taking the first of a plain dict over and over is slow.
        self._accepts: OrderedDict[bytes, WaitingVerdict] = OrderedDict()
        self._others: OrderedDict[bytes, WaitingVerdict] = OrderedDict()
        self._taken: dict[bytes, WaitingVerdict] = {}
        self._accepts_next = False

    def __len__(self) -> int:
        return len(self._accepts) + len(self._others) + len(self._taken)

    def __iter__(self) -> Iterator[WaitingVerdict]:
        """All that wait, the ones being written first."""
        yield from self._taken.values()
        yield from self._others.values()
        yield from self._accepts.values()

    def get(self, key: bytes) -> WaitingVerdict | None:
        """What waits under the key."""
        return self._accepts.get(key) or self._others.get(key) or self._taken.get(key)

    def add(self, decision: Decision) -> tuple[WaitingVerdict, WaitingVerdict | None]:
        """Put a decision at the end; the second value is one that had to go for it."""
        waiting = WaitingVerdict(decision)
        gone = None
        if len(self) >= self._size and (crowd := self._accepts or self._others):
            _, gone = crowd.popitem(last=False)
        self._queue(decision)[decision.key] = waiting
        return waiting, gone

    def take(self, count: int) -> list[WaitingVerdict]:
        """Begin writing the oldest ``count``: either plain accepts only, or others only, in turn
        so that a flood of the one does not hold up the other."""
        if self._accepts_next:
            queue = self._accepts or self._others
        else:
            queue = self._others or self._accepts
        self._accepts_next = not self._accepts_next
        batch = [queue.popitem(last=False) for _ in range(min(count, len(queue)))]
        self._taken.update(batch)
        return [waiting for _, waiting in batch]

    def put_back(self, batch: Iterable[WaitingVerdict]) -> None:
        """Put what was taken and not written back to the front, in the same order."""
        for waiting in reversed(list(batch)):
            key = waiting.decision.key
            if self._taken.pop(key, None) is not None:
                queue = self._queue(waiting.decision)
                queue[key] = waiting
                queue.move_to_end(key, last=False)

    def settle(self, standing: Mapping[bytes, bool]) -> None:
        """Let go what the database holds, and tell those who wait what stands."""
        for key, signed in standing.items():
            for queue in (self._taken, self._accepts, self._others):
                waiting = queue.pop(key, None)
                if waiting is not None:
                    waiting.resolve(signed)
                    break

    def give_up(self) -> int:
        """Let go everything, and return how many these were."""
        count = len(self)
        for waiting in self:
            waiting.give_up()
        for queue in (self._taken, self._accepts, self._others):
            queue.clear()
        return count

    def _queue(self, decision: Decision) -> OrderedDict[bytes, WaitingVerdict]:
        plain = decision.signed and decision.details is None
        return self._accepts if plain else self._others
