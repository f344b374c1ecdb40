"""Rooms that name us as we were called before: they are answered, and wait to be moved."""

from collections.abc import Awaitable, Callable
from functools import partial

from policybot.policy.records import RoomRecord
from policybot.policy.room import RoomMode

from .enable_checks import EndpointFault
from .enable_plan import standing_server
from .moderation_rooms import ModerationRooms
from .notices import Notices
from .policy_change import state_of
from .protected_rooms import ProtectedRooms
from .reply import Reply, clean
from .report_text import count

MAX_SHOWN = 10

AskFormerName = Callable[[str], Awaitable[EndpointFault | None]]


def former_name(rooms: ProtectedRooms, record: RoomRecord) -> str | None:
    """The former name of ours by which a room names its policy server, or None."""
    server = standing_server(state_of(record))
    return server.via if server is not None and server.via in rooms.former else None


def rooms_to_move(rooms: ProtectedRooms, moderation_room: str) -> list[RoomRecord]:
    """The protected rooms of a moderation room that name us by a former name."""
    return [
        record
        for record in rooms.owned_by(moderation_room)
        if record.mode is not RoomMode.DISABLED and former_name(rooms, record) is not None
    ]


def former_names_line(rooms: ProtectedRooms, moderation_room: str) -> Reply | None:
    """What to know and do about these rooms; None if there are none."""
    found = rooms_to_move(rooms, moderation_room)
    if not found:
        return None
    names = sorted({former_name(rooms, record) or "" for record in found})
    reply = Reply().text(f"Under my former name ({count(len(found), 'room')}, ")
    reply.several(names, MAX_SHOWN, lambda name: Reply().code(name)).text("): ")
    reply.several(found, MAX_SHOWN, partial(_called, rooms))
    reply.text(". I answer there as long as that name leads to me. To move to ")
    return reply.code(rooms.ours.via).text(": ").command("migrate")


class FormerNames:
    """Tells the moderation rooms which of their rooms are to be moved, and of a former name that
    no longer leads to us while rooms give it. ``ask`` tells what is wrong under a name, or None.
    """

    def __init__(
        self,
        protected_rooms: ProtectedRooms,
        moderation_rooms: ModerationRooms,
        notices: Notices,
        ask: AskFormerName,
    ) -> None:
        self._rooms = protected_rooms
        self._moderation_rooms = moderation_rooms
        self._notices = notices
        self._ask = ask
        self._failed: set[str] = set()
        self._told: set[str] = set()

    def tell(self) -> None:
        """Tell which rooms are to be moved."""
        for moderation_room in self._moderation_rooms.ids():
            line = former_names_line(self._rooms, moderation_room)
            if line is not None:
                self._notices.tell(moderation_room, Reply.problem().add(line))

    async def check(self) -> None:
        """Ask under the former names that rooms give; tell once where we do not answer. What could
        not be reached may be the fault of our own network, so it is told the second time."""
        records = (
            record
            for moderation_room in self._moderation_rooms.ids()
            for record in rooms_to_move(self._rooms, moderation_room)
        )
        for name in sorted({former_name(self._rooms, record) or "" for record in records}):
            fault = await self._ask(name)
            if fault is None:
                self._failed.discard(name)
                self._told.discard(name)
                continue
            if name not in self._told and (not fault.unreachable or name in self._failed):
                self._told.add(name)
                self._tell_fault(name, fault)
            self._failed.add(name)

    def _tell_fault(self, name: str, fault: EndpointFault) -> None:
        for moderation_room in self._moderation_rooms.ids():
            rooms = [
                record
                for record in rooms_to_move(self._rooms, moderation_room)
                if former_name(self._rooms, record) == name
            ]
            if not rooms:
                continue
            notice = Reply.problem("My former name ").code(name)
            if fault.unreachable:
                notice.text(" cannot be reached from here. If other servers cannot either")
            else:
                notice.text(" does not lead to me any more. While that is so")
            notice.text(", nobody can talk in ")
            notice.several(rooms, MAX_SHOWN, partial(_called, self._rooms))
            notice.text(f". {clean(fault.text, 500)} To move them to ").code(self._rooms.ours.via)
            self._notices.tell(moderation_room, notice.text(": ").command("migrate"))


def _called(rooms: ProtectedRooms, record: RoomRecord) -> Reply:
    return Reply().name(rooms.name(record.room_id))
