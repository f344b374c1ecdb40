"""How fast the chat side does what it does; tests have no time."""

from dataclasses import dataclass

from .commands import SLOW_S
from .hints import INTERVAL_S
from .policy_state import ReadBack
from .policy_user import JoinTimes
from .room_care import CareTimes


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds until a command is shown to be seen, and until a part that failed begins again; how
    a state event is read back, how often rooms are looked after, how joins are repeated, and
    the least time between two readings of a room because of hints."""

    slow: float = SLOW_S
    restart: float = 10.0
    read_back: ReadBack = ReadBack()
    care: CareTimes = CareTimes()
    joins: JoinTimes = JoinTimes()
    hints: float = INTERVAL_S
