"""How long one request may still wait."""

from time import monotonic


class Deadline:
    """A time in the monotonic clock; waits that share it come to ``seconds`` in all."""

    __slots__ = ("_end",)

    def __init__(self, seconds: float) -> None:
        self._end = monotonic() + seconds

    def left(self) -> float:
        """Seconds left, at least 0."""
        return max(0.0, self._end - monotonic())
