"""Reports of refused events: an outbox read from the database.

The stored refusal is the report. Each reports room has a cursor over the numbers that the store
gives refusals in the order of their commits. While a raid goes on, one notice is edited as its
counts grow; what it tells of is a range of numbers, and the next notice begins where that ends, so
each refusal is counted in one of them.

The range is stored before it is sent and the transaction ID is made from it, so that after a crash
the same request is made again and the homeserver drops the double.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from policybot.policy.records import RefusalGroup, ReportCursor, ReportNotice

from .client import HomeserverAway, MatrixClient, Precedence, Refused, TokenRejected
from .moderation_rooms import ModerationRooms
from .notices import Notices
from .reply import Reply
from .report_tally import SINGLY, Tally
from .report_text import MAX_BYTES, Refusal, Titles, numbers_shown, report

NUMBERS_AT_ONCE = 100
PAUSE_S = 0.002
"""So many rows are counted by one question, and so long lies between two: verdicts wait for the
same connection, and whoever asks again at once is served before those who wait."""

MAX_BEHIND = 5_000
"""So far a cursor may stay behind when there is nothing to tell: it is saved more rarely."""

CANNOT_BE_EDITED = (400, 404, 413)
"""What a homeserver answers that does not know, or not take, an edit. (403 is about the room.)"""

RETRY_S = 10.0

log = logging.getLogger("policybot.reports")


class RefusalLog(Protocol):
    """What is needed of the store: refusals by their numbers."""

    async def latest_number(self) -> int: ...

    async def groups(
        self, after: int, upto: int, moderation_rooms: Sequence[str]
    ) -> Sequence[RefusalGroup]: ...

    async def refusals_between(
        self, after: int, upto: int, moderation_rooms: Sequence[str]
    ) -> Sequence[Refusal]: ...

    async def numbered(self, numbers: Sequence[int]) -> Sequence[Refusal]: ...


class CursorTable(Protocol):
    """What is needed of the store for cursors."""

    async def get(self, room_id: str) -> ReportCursor | None: ...

    async def save(self, cursor: ReportCursor) -> None: ...


@dataclass(frozen=True, slots=True)
class ReportTimes:
    """Seconds: how long to gather before the first report of a burst, and how much lies at least
    between two reports. A report that comes later than ``quiet`` (or four intervals) after the
    last one is a notice of its own, and a notice is edited for ``lasting`` at most."""

    first_delay: float
    interval: float
    quiet: float = 120.0
    lasting: float = 600.0

    def go_on(self, notice: ReportNotice, now_ts: int) -> bool:
        """Whether a report at that time (milliseconds since 1970) is an edit of the notice."""
        quiet = max(self.quiet, 4 * self.interval)
        silence, age = now_ts - notice.told_ts, now_ts - notice.begun_ts
        return 0 <= silence <= 1000 * quiet and age <= 1000 * self.lasting


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
        self._told_stuck: set[str] = set()
        self._tallies: dict[str, Tally] = {}
        self._begun_last = 0

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
                self._told_stuck.discard(reports_room)
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
        """Log once that reports wait, and tell it if there is another room to say it in."""
        if reports_room not in self._stuck:
            self._stuck.add(reports_room)
            log.warning("Reports to %s wait: %s", reports_room, error)
        if not isinstance(error, Refused) or error.status == 429:
            return
        if reports_room in self._told_stuck:
            return
        self._told_stuck.add(reports_room)
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
        """Tell the room what it has not been told; False if there is nothing."""
        cursor = await self._cursors.get(reports_room)
        if cursor is None:
            cursor = ReportCursor(reports_room, self._start_number)
            await self._cursors.save(cursor)  # a later start must not skip what comes now
        if cursor.pending_to is None:
            begun = await self._begin(cursor, moderation_rooms)
            if begun is None:
                return False
            cursor = begun
        try:
            await self._tell(cursor, moderation_rooms)
        except Refused as error:
            if cursor.notice is None or error.status not in CANNOT_BE_EDITED:
                raise
            log.warning("A report in %s cannot be edited: %s", reports_room, error)
            cursor = replace(cursor, notice=None, pending_since=self._begun())
            await self._cursors.save(cursor)
            await self._tell(cursor, moderation_rooms)
        return True

    async def _begin(
        self, cursor: ReportCursor, moderation_rooms: Sequence[str]
    ) -> ReportCursor | None:
        """Store what is told next: all there is until now. None if there is nothing."""
        now, latest = self._clock(), await self._refusals.latest_number()
        if latest == cursor.number:
            return None
        notice = cursor.notice
        if notice is not None and not self._times.go_on(notice, now):
            notice = None
        tally = await self._counted(cursor.room_id, moderation_rooms, notice, cursor.number)
        told = tally.events
        await self._count(tally, moderation_rooms, latest)
        if tally.events == told:
            self._tallies[cursor.room_id] = tally
            if latest - cursor.number >= MAX_BEHIND:
                await self._cursors.save(replace(cursor, number=latest))
            return None
        cursor = replace(cursor, pending_to=latest, pending_since=self._begun(), notice=notice)
        await self._cursors.save(cursor)
        self._tallies[cursor.room_id] = tally
        return cursor

    def _begun(self) -> int:
        """The time (milliseconds since 1970), never the same twice: transaction IDs are made from
        it, and some homeservers do not tell those of one room from those of another."""
        self._begun_last = max(self._clock(), self._begun_last + 1)
        return self._begun_last

    async def _counted(
        self,
        reports_room: str,
        moderation_rooms: Sequence[str],
        notice: ReportNotice | None,
        number: int,
    ) -> Tally:
        """The counts for the notice (None: one that begins after ``number``), at least up to that
        number. They are taken out of memory, so that an error leaves nothing half counted there.
        """
        after = number if notice is None else notice.after
        tally = self._tallies.pop(reports_room, None)
        if tally is None or tally.after != after:
            tally = Tally.empty(after)
        await self._count(tally, moderation_rooms, number)
        return tally

    async def _count(self, tally: Tally, moderation_rooms: Sequence[str], upto: int) -> None:
        for start in range(tally.upto, upto, NUMBERS_AT_ONCE):
            await asyncio.sleep(PAUSE_S)
            end = min(start + NUMBERS_AT_ONCE, upto)
            tally.add(end, await self._refusals.groups(start, end, moderation_rooms))

    async def _tell(self, cursor: ReportCursor, moderation_rooms: Sequence[str]) -> None:
        """Send what is pending, and note that it was sent."""
        notice, upto = cursor.notice, cursor.pending_to or cursor.number
        tally = await self._counted(cursor.room_id, moderation_rooms, notice, cursor.number)
        await self._count(tally, moderation_rooms, upto)
        self._tallies[cursor.room_id] = tally
        if tally.events:  # else retention was faster
            shown = await self._shown(tally, moderation_rooms)
            rendered = report(tally, shown, self._titles).render(self._prefix, MAX_BYTES)
            kind = "report" if notice is None else "report-edit"
            event_id = await self._client.send_notice(
                cursor.room_id,
                rendered.plain,
                rendered.html,
                transaction_id=f"policybot-{kind}-{cursor.pending_since}-{upto}",
                replaces=None if notice is None else notice.event_id,
                precedence=Precedence.UNASKED,
            )
            now = self._clock()
            if notice is None:
                notice = ReportNotice(event_id, tally.after, now, now)
            else:
                notice = replace(notice, told_ts=now)
        await self._cursors.save(ReportCursor(cursor.room_id, upto, notice=notice))

    async def _shown(self, tally: Tally, moderation_rooms: Sequence[str]) -> Sequence[Refusal]:
        """The refusals that are shown themselves, in order."""
        found: list[Refusal] = []
        if numbers := numbers_shown(tally):
            found += await self._refusals.numbered(numbers)
        if any(0 < counts.named <= SINGLY for counts in (tally.refused, tally.tried)):
            for after, upto in tally.spans:
                found += await self._refusals.refusals_between(after, upto, moderation_rooms)
        fresh = [r for r in found if not r.details.old and not r.details.unverified]
        return list({refusal.number: refusal for refusal in fresh}.values())
