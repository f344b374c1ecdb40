"""Invitations of the policy user, which reach the policy server's endpoint and not the bot."""

from .joins import Joins
from .moderation_rooms import ModerationRooms
from .protected_rooms import ProtectedRooms


class Invitations:
    """Tells which are taken, and joins then."""

    def __init__(
        self,
        protected_rooms: ProtectedRooms,
        moderation_rooms: ModerationRooms,
        joins: Joins,
        *,
        bot_user_id: str,
    ) -> None:
        self._rooms = protected_rooms
        self._moderation_rooms = moderation_rooms
        self._joins = joins
        self._bot_user_id = bot_user_id

    def wanted(self, room_id: str, sender: str) -> bool:
        """Whether an invitation into a room by this person is to be taken: only into rooms that
        are enabled here, and by somebody who may moderate there or here."""
        record, room = self._rooms.record(room_id), self._rooms.room(room_id)
        if record is None or room is None:
            return False
        if not record.mode.is_protected:
            return False
        moderators = self._moderation_rooms.get(record.moderation_room)
        return (
            sender == self._bot_user_id
            or sender in room.creators | room.powerful
            or (moderators is not None and moderators.invite_only and sender in moderators.members)
        )

    def accepted(self, room_id: str) -> None:
        """The invitation was answered: now the policy user can join."""
        self._joins.now(room_id)
