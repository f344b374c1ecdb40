"""Reports of refused events: an outbox read from the database.

The stored refusal is the report. Each reports room has a cursor over the numbers that the store
gives refusals in the order of their commits. The range of a notice is stored before it is sent and
its transaction ID is made from the range, so that after a crash the same request is made again and
the homeserver drops the double.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from policybot.policy.records import ReportCursor

from .client import HomeserverAway, MatrixClient, Refused, TokenRejected
from .moderation_rooms import ModerationRooms
from .report_text import Refusal, Titles, report

MAX_IN_ONE = 5_000
RETRY_S = 10.0

log = logging.getLogger("policybot.reports")


class RefusalLog(Protocol):
    """What is needed of the store: refusals in the order of their numbers."""

    async def refusals_after(
        self, number: int, moderation_rooms: Sequence[str], limit: int
    ) -> Sequence[Refusal]: ...

    async def latest_number(self) -> int: ...


class CursorTable(Protocol):
    """What is needed of the store for cursors."""

    async def get(self, room_id: str) -> ReportCursor | None: ...

    async def save(self, cursor: ReportCursor) -> None: ...


@dataclass(frozen=True, slots=True)
class ReportTimes:
    """Seconds: how long to gather before the first notice of a burst, and how much lies at least
    between two notices."""

    first_delay: float
    interval: float


class Reports:
    """Writes the notices; `/sign` only wakes it."""

    def __init__(
        self,
        client: MatrixClient,
        refusals: RefusalLog,
        cursors: CursorTable,
        moderation_rooms: ModerationRooms,
        titles: Titles,
        times: ReportTimes,
        *,
        clock: Callable[[], int],
        prefix: str,
    ) -> None:
        self._client = client
        self._refusals = refusals
        self._cursors = cursors
        self._moderation_rooms = moderation_rooms
        self._titles = titles
        self._times = times
        self._clock = clock
        self._prefix = prefix
        self._wake = asyncio.Event()
        self._start_number = 0
        self._last_sent = float("-inf")

    async def load(self) -> None:
        """Note where the refusals stand, before the endpoint opens: a reports room that is new
        hears what comes from now on."""
        self._start_number = await self._refusals.latest_number()

    def wake(self) -> None:
        """A refusal was stored, or a reports room was found."""
        self._wake.set()

    async def run(self) -> None:
        """Report what is stored, for ever."""
        loop = asyncio.get_running_loop()
        self._wake.set()  # what was stored before, also before an error ended the last run
        while True:
            await self._wake.wait()
            due = max(
                loop.time() + self._times.first_delay, self._last_sent + self._times.interval
            )
            await asyncio.sleep(max(0.0, due - loop.time()))
            self._wake.clear()
            for reports_room, moderation_rooms in self._rooms().items():
                try:
                    if await self._report(reports_room, moderation_rooms):
                        self._last_sent = loop.time()
                        self._wake.set()  # there may be more than fits in one
                except TokenRejected:
                    raise
                except (HomeserverAway, Refused) as error:
                    log.warning("Reports to %s wait: %s", reports_room, error)
                    self._last_sent = loop.time() + RETRY_S - self._times.interval
                    self._wake.set()

    def _rooms(self) -> dict[str, list[str]]:
        rooms: dict[str, list[str]] = {}
        for moderation_room in self._moderation_rooms.ids():
            reports_room = self._moderation_rooms.reports_room(moderation_room)
            rooms.setdefault(reports_room, []).append(moderation_room)
        return rooms

    async def _report(self, reports_room: str, moderation_rooms: Sequence[str]) -> bool:
        """Send one notice about what the room has not been told; False if there is nothing."""
        cursor = await self._cursors.get(reports_room)
        if cursor is None:
            cursor = ReportCursor(reports_room, self._start_number)
        refusals = await self._refusals.refusals_after(cursor.number, moderation_rooms, MAX_IN_ONE)
        if cursor.pending_to is not None:
            refusals = [r for r in refusals if r.number <= (cursor.pending_to or 0)]
        if not refusals:
            if cursor.pending_to is not None:
                await self._cursors.save(ReportCursor(reports_room, cursor.pending_to))
                return True
            return False
        last = refusals[-1].number
        if cursor.pending_to is None:
            cursor = ReportCursor(reports_room, cursor.number, last, self._clock())
            await self._cursors.save(cursor)
        rendered = report(refusals, self._titles).render(self._prefix)
        await self._client.send_notice(
            reports_room,
            rendered.plain,
            rendered.html,
            transaction_id=f"policybot-report-{cursor.number + 1}-{cursor.pending_to}",
        )
        await self._cursors.save(ReportCursor(reports_room, cursor.pending_to or last))
        return True
