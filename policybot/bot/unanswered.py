"""Commands that were taken and not answered yet, kept over the end of the process.

The sync position is stored before a command is carried out, so nothing else would tell after an
end in between that there was one. Each command changes nothing where all is as it wishes, so one
that the process ended in is carried out once more, if it is younger than five minutes; else, or
if the process ended in it twice, the moderators are told.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from policybot.policy.records import CommandRecord

from .notices import Notices
from .reply import Reply

MAX_AGE_MS = 5 * 60 * 1000
MAX_SHOWN = 10

log = logging.getLogger("policybot.commands")


class CommandTable(Protocol):
    """What is needed of the store."""

    async def load(self) -> list[CommandRecord]: ...

    async def save(self, records: Sequence[CommandRecord]) -> None: ...


class Unanswered:
    """The commands by event ID. What cannot be stored is logged: a bot that does not obey while
    the disk is full helps nobody. ``clock`` gives milliseconds since 1970."""

    def __init__(self, table: CommandTable, notices: Notices, *, clock: Callable[[], int]) -> None:
        self._table = table
        self._notices = notices
        self._clock = clock
        self._records: dict[str, CommandRecord] = {}
        self._left_over: list[CommandRecord] = []
        self._saving = asyncio.Lock()

    async def load(self) -> None:
        """Read what the last run of the process did not answer."""
        self._left_over = await self._table.load()
        self._records = {record.event_id: record for record in self._left_over}

    async def left_over(self, rooms: Collection[str]) -> list[CommandRecord]:
        """What the last run did not answer in these rooms and is to be carried out once more, in
        the order in which it came; empty the next time. The rest is told and forgotten."""
        now = self._clock()
        left_over, self._left_over = self._left_over, []
        again: list[CommandRecord] = []
        told: dict[str, list[str]] = {room_id: [] for room_id in rooms}
        for record in left_over:
            if record.room_id in told and not record.again and now - record.taken_ts <= MAX_AGE_MS:
                again.append(replace(record, again=True))
            elif record.room_id in told:
                told[record.room_id].append(record.text)
        if left_over:
            self._records = {record.event_id: record for record in again}
            await self._save()
        for room_id, texts in told.items():
            if texts:
                notice = Reply.problem(
                    "I ended while I carried these commands out, and do not carry on with them. "
                    "They may have been done in part: look with "
                ).command("status")
                _tell(self._notices, room_id, notice.text(", and repeat"), texts)
        return again

    async def add(self, records: Iterable[CommandRecord]) -> None:
        """Note commands that are about to be carried out."""
        if added := {record.event_id: record for record in records}:
            self._records |= added
            await self._save()

    async def remove(self, event_ids: Iterable[str]) -> None:
        """Forget commands that were answered or are not to be carried out."""
        known = [event_id for event_id in event_ids if event_id in self._records]
        for event_id in known:
            del self._records[event_id]
        if known:
            await self._save()

    async def _save(self) -> None:
        async with self._saving:
            try:
                await self._table.save(tuple(self._records.values()))
            except Exception as error:
                log.warning("What is being carried out cannot be stored: %s", error)


def tell_missed(notices: Notices, room_id: str, texts: Sequence[str]) -> None:
    """Tell which commands came while the bot was away and are too old now."""
    notice = Reply.problem(
        "I was away. These commands are older than five minutes, so I did not carry them out; "
        "repeat"
    )
    _tell(notices, room_id, notice, texts)


def _tell(notices: Notices, room_id: str, notice: Reply, texts: Sequence[str]) -> None:
    notice.text(" what you still want:")
    for text in texts[:MAX_SHOWN]:
        notice.item().code(text)
    if len(texts) > MAX_SHOWN:
        notice.item().text(f"and {len(texts) - MAX_SHOWN} more")
    notices.tell(room_id, notice)
