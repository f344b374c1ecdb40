"""Rooms that the policy user has still to join, each tried again until nothing is left to do."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from .policy_user import JoinTimes

CONCURRENT = 5

log = logging.getLogger("policybot.rooms")


class Joins:
    """Begins and repeats tries, one at a time for a room. ``attempt`` tries once, and returns
    whether it needs not be tried again."""

    def __init__(self, attempt: Callable[[str], Awaitable[bool]], times: JoinTimes) -> None:
        self._attempt = attempt
        self._times = times
        self._now: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._limit = asyncio.Semaphore(CONCURRENT)

    def begin(self, room_id: str, *, failed: bool = False) -> None:
        """See to a room, if that is not under way; when it ``failed`` just now, after a pause."""
        if room_id in self._now:
            return
        self._now[room_id] = asyncio.Event()
        task = asyncio.create_task(self._run(room_id, failed), name=f"join {room_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def now(self, room_id: str) -> None:
        """See to a room at once: something changed there."""
        self.begin(room_id)
        self._now[room_id].set()

    async def stop(self) -> None:
        """End what is under way."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, room_id: str, failed: bool) -> None:
        now, pause = self._now[room_id], self._times.first_pause
        try:
            while True:
                if failed:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await now.wait()
                    pause = min(2 * pause, self._times.longest_pause)
                now.clear()
                failed = not await self._try(room_id)
                if not failed and not now.is_set():
                    return
        finally:
            del self._now[room_id]

    async def _try(self, room_id: str) -> bool:
        async with self._limit:
            try:
                return await self._attempt(room_id)
            except Exception:
                log.exception("Could not carry on with %s.", room_id)
                return False
