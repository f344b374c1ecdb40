"""How long one request may still wait."""

import asyncio


class Deadline:
    """A time in the running loop's clock; waits that share it come to ``seconds`` in all."""

    __slots__ = ("_end", "_loop")

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.time() + seconds

    def left(self) -> float:
        """Seconds left, at least 0."""
        return max(0.0, self._end - self._loop.time())
