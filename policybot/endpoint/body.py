"""The body of a request as it comes, within bounds.

Most bodies are of one event. Larger ones are taken only where the endpoint says so, and all that
are under way in the process share one bound, so that nobody fills the memory with them.
"""

from collections.abc import Callable

from .errors import TooLarge, TooManyLargeBodies
from .exchange import MAX_BODY_BYTES

MAX_LARGE_BYTES = 32 * 1024 * 1024


class LargeBodies:
    """The memory for large bodies, ``most`` bytes in all."""

    def __init__(self, most: int = MAX_LARGE_BYTES) -> None:
        self.left = most

    def check(self, size: int) -> None:
        """Whether so many bytes more have room; TooManyLargeBodies otherwise."""
        if size > self.left:
            raise TooManyLargeBodies("Too much is being received; send it again later.")

    def take(self, size: int) -> None:
        """Count so many bytes more, or raise TooManyLargeBodies."""
        self.check(size)
        self.left -= size

    def give_back(self, size: int) -> None:
        """So many bytes are free again."""
        self.left += size


IN_PROCESS = LargeBodies()
"""Shared by all web servers of the process."""


class Body:
    """The body of one request. ``limit`` finds out the most bytes that it may have.

    It is counted as it comes, not as it is announced: who only says that much will come keeps
    nobody else away. Whoever made it calls `release` once the request is answered or given up.
    """

    __slots__ = ("_held", "_large", "_limit", "_parts", "_size")

    def __init__(self, limit: Callable[[], int], large: LargeBodies) -> None:
        self._limit = limit
        self._large = large
        self._parts: list[bytes] = []
        self._size = 0
        self._held = 0

    def announce(self, size: int) -> None:
        """So many bytes are going to come.

        Raises:
            TooLarge: that is more than the limit.
            TooManyLargeBodies: it has no room now.
        """
        if size > MAX_BODY_BYTES:
            self._check(size)
            self._large.check(size)

    def add(self, part: bytes) -> None:
        """A part has come; raises as `announce`."""
        self._size += len(part)
        if self._size > MAX_BODY_BYTES:
            self._check(self._size)
            self._large.take(self._size - self._held)
            self._held = self._size
        self._parts.append(part)

    def complete(self) -> bytes:
        """All of it, which is handed over."""
        parts, self._parts = self._parts, []
        return b"".join(parts)

    def release(self) -> None:
        """Forget the body; more than once is no harm."""
        if self._held:
            self._large.give_back(self._held)
            self._held = 0
            self._parts.clear()

    def _check(self, size: int) -> None:
        limit = self._limit()
        if size > limit:
            raise TooLarge(f"The request body is larger than {limit} bytes.")
