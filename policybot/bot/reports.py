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
from .notices import Notices
from .reply import Reply
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
        notices: Notices,
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
        self._notices = notices
        self._titles = titles
        self._times = times
        self._clock = clock
        self._prefix = prefix
        self._wake = asyncio.Event()
        self._start_number = 0
        self._not_before: dict[str, float] = {}
        self._waiting: set[str] = set()
        self._stuck: set[str] = set()

    async def load(self) -> None:
        """Note where the refusals stand, before the endpoint opens: a reports room that is new
        hears what comes from now on."""
        self._start_number = await self._refusals.latest_number()

    def wake(self) -> None:
        """A refusal was stored, or a reports room was found."""
        self._wake.set()

    async def run(self) -> None:
        """Report what is stored, for ever."""
        self._wake.set()  # what was stored before, also before an error ended the last run
        while True:
            try:
                async with asyncio.timeout_at(self._next_due()):
                    await self._wake.wait()
            except TimeoutError:
                pass
            else:
                await asyncio.sleep(self._times.first_delay)
            self._wake.clear()
            await self._report_all()

    def _next_due(self) -> float | None:
        """When the first of the rooms that have to wait may be told more."""
        return min((self._not_before[room] for room in self._waiting), default=None)

    async def _report_all(self) -> None:
        now = asyncio.get_running_loop().time()
        rooms = self._rooms()
        self._waiting &= rooms.keys()
        for reports_room, moderation_rooms in rooms.items():
            if self._not_before.get(reports_room, 0.0) > now:
                self._waiting.add(reports_room)
                continue
            self._waiting.discard(reports_room)
            try:
                if not await self._report(reports_room, moderation_rooms):
                    continue
                pause = self._times.interval
                self._stuck.discard(reports_room)
            except TokenRejected:
                raise
            except (HomeserverAway, Refused) as error:
                pause = RETRY_S
                self._tell_stuck(reports_room, moderation_rooms, error)
            self._not_before[reports_room] = asyncio.get_running_loop().time() + pause
            self._waiting.add(reports_room)  # there may be more than fits in one

    def _tell_stuck(
        self, reports_room: str, moderation_rooms: Sequence[str], error: HomeserverAway | Refused
    ) -> None:
        """Tell once that reports cannot be sent, if there is another room to say it in."""
        if reports_room in self._stuck:
            return
        log.warning("Reports to %s wait: %s", reports_room, error)
        if not isinstance(error, Refused) or error.status == 429:
            return
        self._stuck.add(reports_room)
        for moderation_room in moderation_rooms:
            if moderation_room != reports_room:
                notice = Reply.problem("I cannot write into the reports room ").code(reports_room)
                notice.text(": ").name(error.message, 200)
                notice.text(". Invite me to it; what was refused meanwhile is told then.")
                self._notices.tell(moderation_room, notice)

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
            await self._cursors.save(cursor)  # a later start must not skip what comes now
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
            transaction_id=f"policybot-report-{cursor.pending_since}-{cursor.pending_to}",
        )
        await self._cursors.save(ReportCursor(reports_room, cursor.pending_to or last))
        return True
