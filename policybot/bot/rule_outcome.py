"""What rules and exemptions come to in the rooms of one moderation room, and the words for it."""

from policybot.policy.entity import Entity
from policybot.policy.room import RoomMode
from policybot.policy.rule import Rule, RuleKind

from .exemptions import Exemptions
from .list_editor import hit_by
from .moderation_rooms import ModerationRooms
from .policy_lists import PolicyLists
from .protected_rooms import ProtectedRooms
from .reply import Reply
from .report_text import count

MAX_SHOWN = 10


class RuleOutcome:
    """Answers what would be decided."""

    def __init__(
        self,
        lists: PolicyLists,
        protected_rooms: ProtectedRooms,
        moderation_rooms: ModerationRooms,
        exemptions: Exemptions,
    ) -> None:
        self._lists = lists
        self._rooms = protected_rooms
        self._moderation_rooms = moderation_rooms
        self._exemptions = exemptions

    def winning(self, moderation_room: str, entity: Entity) -> Rule | None:
        """The rule that would decide about a user or about somebody of a server."""
        value = self._moderation_rooms.get(moderation_room)
        if value is None or entity.kind is RuleKind.ROOM or entity.is_glob:
            return None
        if entity.kind is RuleKind.USER:
            return self._lists.rules.decide(entity.text, value.lists, value.unused)
        rules = self._lists.rules.matches(RuleKind.SERVER, entity.text, value.lists)
        return next((rule for rule in rules if rule.key not in value.unused), None)

    def exempted(self, moderation_room: str, entity: Entity) -> list[str]:
        """The users whom a rule for this entity would hit but for a local exemption."""
        if entity.kind is RuleKind.ROOM:
            return []
        users = (exemption.user_id for exemption in self._exemptions.of(moderation_room))
        return list(filter(hit_by(entity), users))

    def powerful(self, moderation_room: str, user_id: str) -> bool:
        """Whether somebody is a moderator, or has power in a protected room."""
        value = self._moderation_rooms.get(moderation_room)
        if value is not None and value.invite_only and user_id in value.members:
            return True
        rooms = self.enabled_rooms(moderation_room)
        return any(self._has_power(room_id, user_id) for room_id in rooms)

    def _has_power(self, room_id: str, user_id: str) -> bool:
        """Whether somebody is never refused in a room, since he may moderate there."""
        room = self._rooms.room(room_id)
        return room is not None and user_id in room.creators | room.powerful

    def enabled_rooms(self, moderation_room: str) -> list[str]:
        """The rooms that are enabled, also in dry run."""
        return [
            record.room_id
            for record in self._rooms.owned_by(moderation_room)
            if record.mode.is_protected
        ]

    # -- in words --------------------------------------------------------------------------------

    def of_ban(self, moderation_room: str, entity: Entity) -> Reply:
        """Where messages are refused because of a ban, and who is not refused all the same."""
        exempt = self.exempted(moderation_room, entity)
        if exempt and entity.kind is RuleKind.USER and not entity.is_glob:
            reply = Reply().text("But they are exempt here, so nothing is refused. To end that: ")
            return reply.command(f"disallow {exempt[0]}")
        whom = "its users'" if entity.kind is RuleKind.SERVER else "their"
        rooms = list(filter(self._rooms.is_in_force, self.enabled_rooms(moderation_room)))
        powerful = [room_id for room_id in rooms if self._has_power(room_id, entity.text)]
        free = [room_id for room_id in rooms if room_id not in powerful]
        reply = self._refused_in(free, whom) if free or not rooms else Reply()
        if powerful:
            reply.text(" They may moderate in " if free else "They may moderate in ")
            reply.several(powerful, MAX_SHOWN, self._named)
            reply.text(", so nothing of theirs is refused there.")
        if exempt:
            reply.text(" Exempt here, so not refused: ")
            reply.several(exempt, MAX_SHOWN, lambda user_id: Reply().code(user_id))
            reply.text(".")
        return reply

    def _refused_in(self, rooms: list[str], whom: str) -> Reply:
        dry = sum(map(self._in_dry_run, rooms))
        if not rooms:
            return Reply().text("No room is protected yet, so nothing is refused.")
        refused = f"refused in {count(len(rooms) - dry, 'protected room')}"
        reported = f"reported in {count(dry, 'room')} in dry run"
        if dry == len(rooms):
            return Reply().text(f"From now on {whom} messages are {reported}; none is refused.")
        rest = f", and only {reported}" if dry else ""
        return Reply().text(f"From now on {whom} messages are {refused}{rest}.")

    def add_dry_rooms(self, reply: Reply, moderation_room: str) -> None:
        """Say where nothing is refused, whatever the rules say."""
        rooms = self.enabled_rooms(moderation_room)
        dry = list(filter(self._in_dry_run, rooms))
        if dry and len(dry) == len(rooms):
            reply.text(". All rooms are in dry run, so that is only reported")
        elif dry:
            reply.text(". Only reported, since in dry run, in: ")
            reply.several(dry, MAX_SHOWN, self._named)

    def _in_dry_run(self, room_id: str) -> bool:
        record = self._rooms.record(room_id)
        return record is not None and record.mode is RoomMode.DRY_RUN

    def _named(self, room_id: str) -> Reply:
        return Reply().name(self._rooms.name(room_id))
