"""How a default Synapse limits what an ordinary account sends, by a clock that the test moves."""

import math
from dataclasses import dataclass


@dataclass(slots=True)
class SendLimit:
    """So many events at once (``burst``), then so many in a second (``per_second``).

    The clock, in seconds, stands still until the test moves it by `pass_time`. An answer asks for
    a thousandth of the wait (in milliseconds as many as seconds), so that whoever honours it comes
    back soon after the clock was moved. ``refused`` counts the events that were not taken.
    """

    per_second: float = 0.2
    burst: int = 10
    refused: int = 0
    _level: float = 0.0

    def pass_time(self, seconds: float) -> None:
        """Move the clock."""
        self._level = max(0.0, self._level - seconds * self.per_second)

    def take(self) -> int | None:
        """Count an event and return None, or the milliseconds to wait if it is one too many."""
        if self._level + 1 > self.burst + 1e-9:
            self.refused += 1
            return math.ceil((self._level + 1 - self.burst) / self.per_second)
        self._level += 1
        return None
