"""Hints of other servers that the state of a protected room changed.

They are no more than that: whoever sends them, the room is read through the bot's homeserver.
"""

import asyncio
from collections.abc import Callable

from .protected_rooms import ProtectedRooms

INTERVAL_S = 60.0


class Hints:
    """Lets a room be ``read`` at once, and again at most once in ``interval_s`` seconds, however
    many hints come. None is lost: the last one is followed when that time is over."""

    def __init__(
        self,
        protected_rooms: ProtectedRooms,
        read: Callable[[str], None],
        interval_s: float,
    ) -> None:
        self._rooms = protected_rooms
        self._read = read
        self._interval_s = interval_s
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._again: set[str] = set()

    def hint(self, room_id: str) -> None:
        """Somebody says that the state of a room changed."""
        if self._rooms.record(room_id) is None:
            return
        if room_id in self._timers:
            self._again.add(room_id)
        else:
            self._follow(room_id)

    def _follow(self, room_id: str) -> None:
        self._read(room_id)
        loop = asyncio.get_running_loop()
        self._timers[room_id] = loop.call_later(self._interval_s, self._over, room_id)

    def _over(self, room_id: str) -> None:
        del self._timers[room_id]
        if room_id in self._again:
            self._again.discard(room_id)
            self._follow(room_id)

    def stop(self) -> None:
        """Follow none any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
