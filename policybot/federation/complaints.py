"""Log lines that a stranger can cause: at most one a minute of each kind."""

import logging
import time
from collections.abc import Callable

EVERY_S = 60.0


class Complaints:
    """Writes warnings, each kind at most once a minute, with the number of those left out.

    Kinds are constants in our code, so that their number is bounded.
    """

    def __init__(
        self, logger: logging.Logger, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._clock_s = clock_s
        self._last: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def say(self, kind: str, text: str, *, exc_info: bool = False) -> None:
        """Log ``text`` unless something of the same kind was logged a moment ago."""
        now = self._clock_s()
        last = self._last.get(kind)
        if last is not None and 0 <= now - last < EVERY_S:
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return
        self._last[kind] = now
        left_out = self._left_out.pop(kind, 0)
        more = f" ({left_out} more like this since the last line)" if left_out else ""
        self._logger.warning("%s%s", text, more, exc_info=exc_info)
