"""Rooms that name us as we were called before: they are answered, and wait to be moved."""

from collections.abc import Iterable

from policybot.policy.records import RoomRecord
from policybot.policy.room import RoomMode

from .enable_plan import standing_server
from .notices import Notices
from .policy_change import state_of
from .protected_rooms import ProtectedRooms
from .reply import Reply
from .report_text import count

MAX_SHOWN = 10


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
    reply.several(found, MAX_SHOWN, lambda record: Reply().name(rooms.name(record.room_id)))
    reply.text(". I answer there as long as that name leads to me. To move to ")
    return reply.code(rooms.ours.via).text(": ").command("migrate")


def tell_former_names(
    rooms: ProtectedRooms, notices: Notices, moderation_rooms: Iterable[str]
) -> None:
    """Tell each moderation room which of its rooms are to be moved."""
    for moderation_room in moderation_rooms:
        line = former_names_line(rooms, moderation_room)
        if line is not None:
            notices.tell(moderation_room, Reply.problem().add(line))
