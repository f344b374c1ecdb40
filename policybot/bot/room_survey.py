"""The rooms that the bot is in, compared with what is kept: at start and when one is entered."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from policybot.policy.records import RoomRecord
from policybot.policy.room import ProtectedRoom, RoomMode
from policybot.protocol.room_version import UnknownRoomVersion

from .client import HomeserverAway, Refused
from .notices import Notices
from .policy_change import add_cure, enable_command
from .protected_rooms import ProtectedRooms
from .reply import Reply

CONCURRENT_READS = 5
MAX_SHOWN = 10

OLD_KEY = (
    "If the old key is known, the operator puts it into the configuration as "
    "policy_server.signing_key and starts me again."
)

log = logging.getLogger("policybot.rooms")


class RoomSurvey:
    """Finds rooms that name us but are nobody's, and rooms whose policy server is not ours."""

    def __init__(
        self, protected_rooms: ProtectedRooms, notices: Notices, clock: Callable[[], int]
    ) -> None:
        self._rooms = protected_rooms
        self._notices = notices
        self._clock = clock
        self._compared = asyncio.Event()
        self._told: set[str] = set()

    async def compare(self, joined: Iterable[str], is_other: Callable[[str], bool]) -> None:
        """Compare joined rooms with what is kept: known rooms are read again, and rooms that name
        us though nobody enabled them are answered from now on and reported. ``is_other`` tells
        which of the unknown rooms are to be looked at.

        Raises:
            HomeserverAway: some could not be read.
        """
        limit = asyncio.Semaphore(CONCURRENT_READS)
        joined = set(joined)
        unclaimed: list[ProtectedRoom] = []
        away: list[HomeserverAway] = []

        async def one(room_id: str) -> None:
            async with limit:
                try:
                    if self._rooms.record(room_id) is not None:
                        if await self._rooms.refresh(room_id):
                            self._told.add(room_id)
                    elif is_other(room_id) and (room := await self._adopt(room_id)) is not None:
                        unclaimed.append(room)
                except HomeserverAway as error:
                    away.append(error)

        async with asyncio.TaskGroup() as group:
            for room_id in joined:
                group.create_task(one(room_id))
        self._compared.set()
        self._tell_unclaimed(unclaimed)
        for room_id in {record.room_id for record in self._rooms.records()} - joined:
            await self._rooms.on_left(room_id, "")
        if away:
            raise away[0]

    async def compare_one(self, room_id: str) -> None:
        """The same as `compare` for a room that was entered, or whose state changed. It waits for
        the first `compare`, which tells of all rooms in one notice.

        Raises:
            HomeserverAway: it could not be read.
        """
        await self._compared.wait()
        if self._rooms.record(room_id) is not None:
            await self._rooms.refresh(room_id)
        elif (room := await self._adopt(room_id)) is not None:
            self._tell_unclaimed([room])

    async def _adopt(self, room_id: str) -> ProtectedRoom | None:
        """Answer for a room that names us, if it does; None if it does not or is known."""
        async with self._rooms.lock(room_id):
            if self._rooms.record(room_id) is not None:
                return None
            try:
                if not await self._rooms.names_us(room_id):
                    return None
                state = await self._rooms.read(room_id)
                return await self._rooms.keep(
                    RoomRecord(
                        room_id=room_id,
                        moderation_room="",
                        mode=RoomMode.UNCLAIMED,
                        enabled_ts=self._clock(),
                        disabled_ts=None,
                        settled=True,
                        state=tuple(state.values()),
                    )
                )
            except (Refused, UnknownRoomVersion) as error:
                log.warning("Could not read whether %s names us: %s", room_id, error)
                return None

    async def release(self, moderation_rooms: Sequence[str]) -> None:
        """Let go of rooms whose moderation room is not configured any more: everything is signed
        there until another one enables them."""
        released = []
        for record in self._rooms.records():
            if record.moderation_room in ("", *moderation_rooms):
                continue
            disabled = record.mode is RoomMode.DISABLED
            async with self._rooms.lock(record.room_id):
                room = await self._rooms.keep(
                    replace(
                        record,
                        moderation_room="",
                        mode=record.mode if disabled else RoomMode.UNCLAIMED,
                        settled=record.settled if disabled else True,
                    )
                )
            if not disabled:
                released.append(room)
        self._tell_unclaimed(released)

    def _tell_unclaimed(self, rooms: Sequence[ProtectedRoom]) -> None:
        """One notice to all moderation rooms about rooms that are nobody's."""
        if not rooms:
            return
        notice = Reply.problem("These rooms name this policy server, but no moderation room ")
        notice.text("enabled them. I sign everything there:")
        for room in rooms[:MAX_SHOWN]:
            notice.item().name(room.name or room.room_id)
            if self._rooms.has_other_key(room):
                notice.text(" – it carries another key than mine, so nobody can talk there.")
            notice.text(" To protect it: ")
            record = self._rooms.record(room.room_id)
            if record is not None:
                notice.command(enable_command(record, self._rooms.wanted(room.room_id)))
        if len(rooms) > MAX_SHOWN:
            notice.item().text(f"and {len(rooms) - MAX_SHOWN} more: ").command("status")
        if any(map(self._rooms.has_other_key, rooms)):
            notice.line().text(OLD_KEY)
        notice.line().text("To take the policy server out of all of them: ")
        self._notices.tell_all(notice.command("disable all"))

    def tell_faults(self) -> None:
        """Tell each moderation room which of its rooms carry another key of our name (there every
        event is refused by its own server), or wait for us while another policy server stands.
        What was told just now as a change is not told again."""
        for record in self._rooms.records():
            room = self._rooms.room(record.room_id)
            if room is None or not record.moderation_room or record.mode is RoomMode.DISABLED:
                continue
            if record.room_id in self._told:
                continue
            notice = Reply.problem("The room ").name(self._rooms.name(record.room_id))
            if self._rooms.has_other_key(room):
                notice.text(f" carries another key than mine, so nobody can talk there. {OLD_KEY}")
                notice.text(" Or set the new key: ")
            elif (
                not record.settled
                and room.policy is not None
                and not self._rooms.is_ours(room.policy)
            ):
                notice.text(" is to be protected, but another policy server stands there: ")
                notice.code(room.policy.via if room.policy else "").text(". To replace it: ")
            else:
                continue
            add_cure(notice, record, self._rooms.wanted(record.room_id))
            self._notices.tell(record.moderation_room, notice)
