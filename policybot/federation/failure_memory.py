"""Remembering what failed, so that it is not asked for again at once."""

from collections import OrderedDict


class FailureMemory:
    """Names that failed a moment ago, each with a wait that doubles with every failure.

    Times are milliseconds of a wall clock, which may jump: a failure that lies in the future
    counts as over. At most ``size`` names are kept; the one that failed longest ago goes first.
    """

    def __init__(self, first_ms: int, longest_ms: int, size: int) -> None:
        self._first_ms = first_ms
        self._longest_ms = longest_ms
        self._size = size
        self._failures: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failures)

    def holds(self, name: str, now_ms: int) -> bool:
        """Whether ``name`` failed so recently that it has to wait."""
        failure = self._failures.get(name)
        return failure is not None and 0 <= now_ms - failure[0] < failure[1]

    def record(self, name: str, now_ms: int, at_most_ms: int | None = None) -> None:
        """Note a failure. ``at_most_ms`` is a shorter limit for this one's wait."""
        failure = self._failures.pop(name, None)
        wait = self._first_ms if failure is None else failure[1] * 2
        longest = self._longest_ms if at_most_ms is None else min(at_most_ms, self._longest_ms)
        self._failures[name] = now_ms, min(wait, longest)
        if len(self._failures) > self._size:
            self._failures.popitem(last=False)

    def clear(self, name: str) -> None:
        """Forget the failures of ``name``: it succeeded."""
        self._failures.pop(name, None)
