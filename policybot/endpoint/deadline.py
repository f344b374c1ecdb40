"""How long one request may still wait, and to whom its waiting is charged."""

from collections.abc import Callable
from time import monotonic


class Deadline:
    """A time in the monotonic clock; waits that share it come to ``seconds`` in all.

    ``address`` finds out the calling address, to which look-ups of keys are charged.
    """

    __slots__ = ("_end", "address")

    def __init__(self, seconds: float, address: Callable[[], str] = str) -> None:
        self.address = address
        self._end = monotonic() + seconds

    def left(self) -> float:
        """Seconds left, at least 0."""
        return max(0.0, self._end - monotonic())
