"""The protected rooms: what is wished for each, what its state says, and the endpoint's view.

The endpoint reads ``rooms``; this module is the only one that writes it. State events that arrive
by sync are hints: whatever they say, the room's single state events are read again.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from policybot.policy.records import RoomRecord
from policybot.policy.room import ROOM_STATE, ProtectedRoom, RoomMode, protected_room
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.policy_event import (
    POLICY_EVENT,
    UNSTABLE_POLICY_EVENT,
    PolicyServer,
)
from policybot.protocol.room_version import UnknownRoomVersion

from .client import HomeserverAway, MatrixClient, Refused
from .enable_plan import RoomState, forms_naming
from .notices import Notices
from .policy_change import Standing, Wanted, standing, state_of
from .policy_user import MEMBER, PolicyUser
from .policy_user_change import room_change
from .reply import Reply
from .unsaved import PatientRooms

GRACE_MS = 7 * 24 * 3600 * 1000
"""How long a disabled room is still answered: servers that missed the event go on asking."""


log = logging.getLogger("policybot.rooms")


class ProtectedRooms:
    """All rooms that this policy server answers for.

    ``rooms`` is shared with the endpoint. ``ours`` is the name and key that rooms should carry,
    ``policy_user`` has to be joined there; ``former`` are names that they may still carry.
    ``clock`` gives milliseconds since 1970.
    """

    def __init__(
        self,
        client: MatrixClient,
        table: PatientRooms,
        notices: Notices,
        *,
        rooms: dict[str, ProtectedRoom],
        ours: PolicyServer,
        former: frozenset[str],
        policy_user: PolicyUser,
        bot_user_id: str,
        clock: Callable[[], int],
    ) -> None:
        self._client = client
        self._table = table
        self._notices = notices
        self._rooms = rooms
        self.ours = ours
        self.former = former
        self.names = former | {ours.via}
        self.policy_user = policy_user
        self._bot_user_id = bot_user_id
        self._clock = clock
        self._records: dict[str, RoomRecord] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._away: set[str] = set()

    async def load(self) -> None:
        """Read the saved rooms, so that `/sign` answers before the homeserver is asked."""
        for record in await self._table.load():
            self._records[record.room_id] = record
            self._rooms[record.room_id] = _room_of(record)

    # -- asking ----------------------------------------------------------------------------------

    def record(self, room_id: str) -> RoomRecord | None:
        """What is stored about a room, or None if it is not ours."""
        return self._records.get(room_id)

    def room(self, room_id: str) -> ProtectedRoom | None:
        """The room as the endpoint sees it, or None if it is not ours."""
        return self._rooms.get(room_id)

    def name(self, room_id: str) -> str:
        """What to call the room: its name, or else its ID. The text comes from outside."""
        room = self._rooms.get(room_id)
        return room.name if room is not None and room.name else room_id

    def records(self) -> list[RoomRecord]:
        """All rooms that are ours."""
        return list(self._records.values())

    def owned_by(self, moderation_room: str) -> list[RoomRecord]:
        """The rooms of one moderation room, those with the oldest enabling first."""
        mine = [r for r in self._records.values() if r.moderation_room == moderation_room]
        return sorted(mine, key=lambda record: record.enabled_ts)

    def unclaimed(self) -> list[RoomRecord]:
        """The rooms that name us though no moderation room enabled them."""
        return [r for r in self._records.values() if not r.moderation_room]

    def is_as_wished(self, state: RoomState) -> bool:
        """Whether by its state a room names us and our key, and the policy user is joined."""
        return self.standing(state) is Standing.OURS and self.policy_user.is_joined(state)

    def is_in_force(self, room_id: str) -> bool:
        """Whether our policy server is in force in a room, by what was read last."""
        record = self._records.get(room_id)
        if record is None:
            return False
        state = state_of(record)
        # Of a former name another user is joined.
        return self.is_as_wished(state) or self.standing(state) is Standing.FORMER

    def left(self, room_id: str) -> bool:
        """Whether the bot was removed from the room."""
        return room_id in self._away

    def lock(self, room_id: str) -> asyncio.Lock:
        """The lock that orders everything done to one room."""
        return self._locks.setdefault(room_id, asyncio.Lock())

    # -- changing; the caller holds the room's lock ----------------------------------------------

    async def keep(self, record: RoomRecord) -> ProtectedRoom:
        """Save a record, at once or as soon as the database takes it, and let the endpoint see
        it."""
        await self._table.save(record)
        return self._show(record)

    async def keep_saved(self, record: RoomRecord) -> ProtectedRoom:
        """Save a record, then let the endpoint see it.

        Raises:
            NotStored: the database does not take it; the endpoint does not see it.
        """
        await self._table.save_now(record)
        return self._show(record)

    def _show(self, record: RoomRecord) -> ProtectedRoom:
        self._records[record.room_id] = record
        room = self._rooms[record.room_id] = _room_of(record)
        return room

    async def drop(self, room_id: str) -> None:
        """Forget a room: from now on `/sign` answers 404 for it."""
        await self._table.remove(room_id)
        self._records.pop(room_id, None)
        self._rooms.pop(room_id, None)

    async def read(self, room_id: str) -> RoomState:
        """Read the single state events that matter, never the full state of a room.

        Raises:
            Refused: the homeserver says no, usually because the bot is not in the room.
            HomeserverAway: it did not answer.
        """
        state: dict[tuple[str, str], JsonObject] = {}
        user_id = self.policy_user.user_id
        member = () if user_id is None else ((MEMBER, user_id),)
        for event_type, state_key in (*ROOM_STATE, *member):
            event = await self._client.state_event(room_id, event_type, state_key)
            if event is not None:
                state[event_type, state_key] = event
        return state

    async def names_us(self, room_id: str) -> bool:
        """Read whether a policy event in the room names our server.

        Raises:
            Refused, HomeserverAway: as for `read`.
        """
        for event_type in (POLICY_EVENT, UNSTABLE_POLICY_EVENT):
            event = await self._client.state_event(room_id, event_type, "")
            if event is not None and forms_naming(self.names, {(event_type, ""): event}):
                return True
        return False

    async def save_missing(self) -> None:
        """Save what the database did not take before. The caller holds no lock."""
        for room_id in self._table.unsaved():
            async with self.lock(room_id):
                await self._table.save_again(room_id)

    # -- following the rooms ---------------------------------------------------------------------

    async def refresh(self, room_id: str) -> bool:
        """Read a protected room again and tell its moderators if the policy server changed;
        whether there was something to tell.

        Raises:
            HomeserverAway: it could not be read; what was known stays.
        """
        async with self.lock(room_id):
            record = self._records.get(room_id)
            if record is None:
                return False
            try:
                state = await self.read(room_id)
                events = tuple(state.values())
                _room_of(replace(record, state=events))
            except (Refused, UnknownRoomVersion) as error:
                log.warning("Could not read %s again: %s", room_id, error)
                return False
            self._away.discard(room_id)
            stands = bool(forms_naming(self.names, state))
            # What was set once and then taken away by others is told, but not wished anew. Under a
            # former name the room is protected: `migrate`, which checks first, sets the new one.
            settled = record.settled or self.is_as_wished(state)
            settled = settled or self.standing(state) is Standing.FORMER
            settled = settled or self.policy_user.was_removed(state_of(record), state)
            mode, disabled_ts = record.mode, record.disabled_ts
            if mode is RoomMode.DISABLED:
                settled = not stands
                if settled and not record.settled:
                    disabled_ts = self._clock()  # servers may miss the change from now on
            elif mode is RoomMode.UNCLAIMED and not stands:
                mode, disabled_ts, settled = RoomMode.DISABLED, self._clock(), True
            now = replace(
                record, mode=mode, disabled_ts=disabled_ts, settled=settled, state=events
            )
            if now != record:
                await self.keep(now)
        notice = room_change(record, now, self.wanted(room_id), self.policy_user)
        if notice is not None:
            self._notices.tell(record.moderation_room, notice)
        return notice is not None

    def wanted(self, room_id: str) -> Wanted:
        """What a room is called and what should stand there."""
        return Wanted(self.name(room_id), self.ours, self.former, self._bot_user_id)

    def standing(self, state: RoomState) -> Standing:
        """What stands in a room."""
        return standing(state, self.ours, self.former)

    def is_ours(self, server: PolicyServer | None) -> bool:
        """Whether this is our key, under our name or one that we had."""
        return (
            server is not None
            and server.via in self.names
            and server.public_key == self.ours.public_key
        )

    def has_other_key(self, room: ProtectedRoom) -> bool:
        """Whether a room names us with another key than ours: then every server refuses every
        event there."""
        stands = room.policy
        return stands is not None and stands.via in self.names and not self.is_ours(stands)

    async def on_left(self, room_id: str, by: str) -> None:
        """The bot was kicked, banned or left: the room is answered from what was last known."""
        record = self._records.get(room_id)
        if record is None or room_id in self._away:
            return
        self._away.add(room_id)
        if record.moderation_room and not (record.mode is RoomMode.DISABLED and record.settled):
            notice = Reply.problem("I was removed from ").name(self.name(room_id))
            if by:
                notice.text(" by ").code(by)
            notice.text(
                ". I still answer for it from what I last knew. Invite me again, or take the "
                "policy server out: "
            ).command(f"disable {room_id}")
            self._notices.tell(record.moderation_room, notice)

    async def drop_ended(self) -> None:
        """Drop the rooms whose grace time is over and whose state was read not to name us, once
        the policy user has left."""
        for record in list(self._records.values()):
            if record.mode is not RoomMode.DISABLED or record.disabled_ts is None:
                continue
            if self._clock() - record.disabled_ts < GRACE_MS:
                continue
            async with self.lock(record.room_id):
                try:
                    stands = await self.names_us(record.room_id)
                except (Refused, HomeserverAway):
                    continue  # unknown, so it stays signed
                if stands or self._records.get(record.room_id) is not record:
                    continue
                fault = await self.policy_user.leave(record.room_id)
                if fault is not None:
                    log.warning("Cannot leave %s yet: %s", record.room_id, fault.text)
                    continue
                await self.drop(record.room_id)
                log.info("Dropped %s: disabled seven days ago.", record.room_id)


def _room_of(record: RoomRecord) -> ProtectedRoom:
    """Raises:
    UnknownRoomVersion: the room's version is not known.
    """
    return protected_room(
        record.room_id,
        record.moderation_room or None,
        record.mode,
        record.enabled_ts,
        state_of(record),
    )
