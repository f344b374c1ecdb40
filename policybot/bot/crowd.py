"""Whom a rule would hit in the protected rooms, counted before it is written."""

from collections.abc import Iterable
from dataclasses import dataclass

from policybot.policy.entity import Entity
from policybot.policy.rule import RuleKind

from .client import MatrixClient, Refused
from .list_editor import hit_by
from .protected_rooms import ProtectedRooms
from .reply import Reply
from .report_text import count

MAX_EXAMPLES = 3
MAX_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Crowd:
    """The members that a rule would hit, by protected room, and the rooms that could not be
    read."""

    members: dict[str, frozenset[str]]
    unread: tuple[str, ...]

    @property
    def hit(self) -> frozenset[str]:
        """All of them, each once."""
        return frozenset().union(*self.members.values())

    def described(self, rooms: ProtectedRooms) -> Reply:
        """How many, where, and a few of them by name."""
        reply = Reply()
        hit = sorted(self.hit)
        if hit:
            where = count(sum(map(bool, self.members.values())), "protected room")
            reply.text(f" That is {count(len(hit), 'member')} of {where}: ")
            reply.several(hit, MAX_EXAMPLES, lambda user_id: Reply().code(user_id))
            reply.text(". Their messages would be refused.")
        return reply.add(self.not_counted(rooms))

    def not_counted(self, rooms: ProtectedRooms) -> Reply:
        """Which rooms could not be read; empty if all could."""
        if not self.unread:
            return Reply()
        reply = Reply().text(" I could not read who is in ")
        reply.several(self.unread, MAX_SHOWN, lambda room: Reply().name(rooms.name(room)))
        return reply.text(".")


async def crowd_of(client: MatrixClient, entity: Entity, room_ids: Iterable[str]) -> Crowd:
    """Whom a rule for this entity would hit in these rooms. Rules about rooms hit nobody.

    Raises:
        HomeserverAway: the homeserver does not answer.
    """
    members: dict[str, frozenset[str]] = {}
    unread: list[str] = []
    for room_id in room_ids if entity.kind is not RuleKind.ROOM else ():
        try:
            members[room_id] = await _members(client, entity, room_id)
        except Refused:
            unread.append(room_id)
    return Crowd(members, tuple(unread))


async def _members(client: MatrixClient, entity: Entity, room_id: str) -> frozenset[str]:
    if entity.kind is RuleKind.USER and not entity.is_glob and entity.text.islower():
        event = await client.state_event(room_id, "m.room.member", entity.text)
        joined = event is not None and event["content"].get("membership") == "join"
        return frozenset({entity.text}) if joined else frozenset()
    return frozenset(filter(hit_by(entity), await client.joined_members(room_id)))
