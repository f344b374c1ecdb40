"""The protected rooms: what is wished for each, what its state says, and the endpoint's view.

The endpoint reads ``rooms``; this module is the only one that writes it. State events that arrive
by sync are hints: whatever they say, the room's single state events are read again.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

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
from .reply import Reply

GRACE_MS = 7 * 24 * 3600 * 1000
"""How long a disabled room is still answered: servers that missed the event go on asking."""

CONCURRENT_READS = 5

log = logging.getLogger("policybot.rooms")


class RoomTable(Protocol):
    """What is needed of the store."""

    async def save(self, record: RoomRecord) -> None: ...

    async def remove(self, room_id: str) -> None: ...

    async def load(self) -> list[RoomRecord]: ...


class ProtectedRooms:
    """All rooms that this policy server answers for.

    ``rooms`` is shared with the endpoint. ``ours`` is the name and key that rooms should carry.
    ``clock`` gives milliseconds since 1970.
    """

    def __init__(
        self,
        client: MatrixClient,
        table: RoomTable,
        notices: Notices,
        *,
        rooms: dict[str, ProtectedRoom],
        ours: PolicyServer,
        clock: Callable[[], int],
    ) -> None:
        self._client = client
        self._table = table
        self._notices = notices
        self._rooms = rooms
        self.ours = ours
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
        return self._records.get(room_id)

    def room(self, room_id: str) -> ProtectedRoom | None:
        return self._rooms.get(room_id)

    def name(self, room_id: str) -> str:
        """What to call the room: its name, or else its ID. The text comes from outside."""
        room = self._rooms.get(room_id)
        return room.name if room is not None and room.name else room_id

    def owned_by(self, moderation_room: str) -> list[RoomRecord]:
        """The rooms of one moderation room, those with the oldest enabling first."""
        mine = [r for r in self._records.values() if r.moderation_room == moderation_room]
        return sorted(mine, key=lambda record: record.enabled_ts)

    def unclaimed(self) -> list[RoomRecord]:
        return [r for r in self._records.values() if not r.moderation_room]

    def unsettled(self) -> list[RoomRecord]:
        """The rooms whose state was not yet read to be as wished."""
        return [r for r in self._records.values() if not r.settled]

    def left(self, room_id: str) -> bool:
        """Whether the bot was removed from the room."""
        return room_id in self._away

    def lock(self, room_id: str) -> asyncio.Lock:
        """The lock that orders everything done to one room."""
        return self._locks.setdefault(room_id, asyncio.Lock())

    # -- changing; the caller holds the room's lock ----------------------------------------------

    async def keep(self, record: RoomRecord) -> ProtectedRoom:
        """Save a record, then let the endpoint see it."""
        await self._table.save(record)
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
        for event_type, state_key in ROOM_STATE:
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
            if event is not None and forms_naming(self.ours.via, {(event_type, ""): event}):
                return True
        return False

    # -- following the rooms ---------------------------------------------------------------------

    async def refresh(self, room_id: str) -> None:
        """Read a protected room again and tell its moderators if the policy server changed."""
        async with self.lock(room_id):
            record = self._records.get(room_id)
            if record is None:
                return
            try:
                state = await self.read(room_id)
            except (Refused, HomeserverAway) as error:
                log.warning("Could not read %s again: %s", room_id, error)
                return
            self._away.discard(room_id)
            before = _room_of(record)
            events = tuple(state.values())
            after_record = replace(record, state=events)
            try:
                after = _room_of(after_record)
            except UnknownRoomVersion:
                return
            stands = bool(forms_naming(self.ours.via, state))
            settled = stands if record.mode is not RoomMode.DISABLED else not stands
            if record.mode is RoomMode.UNCLAIMED and not stands:
                after_record = replace(
                    after_record, mode=RoomMode.DISABLED, disabled_ts=self._clock()
                )
            if events != record.state or settled != record.settled:
                await self.keep(replace(after_record, settled=settled))
        self._tell_change(record, before, after, settled, state)

    def _tell_change(
        self,
        record: RoomRecord,
        before: ProtectedRoom,
        after: ProtectedRoom,
        settled: bool,
        state: RoomState,
    ) -> None:
        name = self.name(record.room_id)
        if record.mode not in (RoomMode.ENABLED, RoomMode.DRY_RUN):
            if record.mode is RoomMode.DISABLED and not record.settled and settled:
                self._notices.tell(
                    record.moderation_room,
                    Reply.done("The policy server is out of ").name(name).text(" now."),
                )
            return
        if not record.settled and settled and after.policy == self.ours:
            self._notices.tell(
                record.moderation_room,
                Reply.done("The policy server stands in ")
                .name(name)
                .text(" now; its events are checked."),
            )
        elif before.policy == self.ours and after.policy != self.ours:
            event = state.get((POLICY_EVENT, ""))
            notice = Reply.problem("The policy server of ").name(name)
            if after.policy is None:
                notice.text(" was removed")
            elif after.policy.via == self.ours.via:
                notice.text(" carries another key now, so nobody can talk there")
            else:
                notice.text(" was replaced by ").code(after.policy.via)
            if event is not None:
                notice.text(", by ").code(str(event["sender"]))
            notice.text(". If that is not wanted: ").command(f"enable {record.room_id}")
            self._notices.tell(record.moderation_room, notice)

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

    async def compare(self, joined: Iterable[str]) -> None:
        """Compare joined rooms with what is kept: known rooms are read again, and rooms that name
        us though nobody enabled them are answered from now on and reported."""
        limit = asyncio.Semaphore(CONCURRENT_READS)

        async def one(room_id: str) -> None:
            async with limit:
                await self.compare_one(room_id)

        joined = set(joined)
        async with asyncio.TaskGroup() as group:
            for room_id in joined:
                group.create_task(one(room_id))
        for room_id in self._records.keys() - joined:
            await self.on_left(room_id, "")

    async def compare_one(self, room_id: str) -> None:
        """The same as `compare` for a room that was entered, or whose state changed."""
        if room_id in self._records:
            await self.refresh(room_id)
        else:
            await self._adopt(room_id)

    async def _adopt(self, room_id: str) -> None:
        async with self.lock(room_id):
            if room_id in self._records:
                return
            try:
                if not await self.names_us(room_id):
                    return
                state = await self.read(room_id)
                record = RoomRecord(
                    room_id=room_id,
                    moderation_room="",
                    mode=RoomMode.UNCLAIMED,
                    enabled_ts=self._clock(),
                    disabled_ts=None,
                    settled=True,
                    state=tuple(state.values()),
                )
                room = await self.keep(record)
            except (Refused, HomeserverAway, UnknownRoomVersion) as error:
                log.warning("Could not read whether %s names us: %s", room_id, error)
                return
        notice = Reply.problem("The room ").name(self.name(room_id))
        notice.text(" names this policy server, but no moderation room enabled it. ")
        if room.policy is not None and room.policy != self.ours:
            notice.text("It carries another key than mine, so nobody can talk there. ")
        notice.text("I sign everything there. To protect it: ").command(f"enable {room_id}")
        notice.text(" To take the policy server out: ").command(f"disable {room_id}")
        self._notices.tell_all(notice)

    def tell_foreign_keys(self) -> None:
        """Tell each moderation room which of its rooms carry another key of our name: there every
        event is refused by its own server until the room is enabled again."""
        for record in list(self._records.values()):
            room = self._rooms[record.room_id]
            stands = room.policy
            if stands is None or stands.via != self.ours.via or stands == self.ours:
                continue
            self._notices.tell(
                record.moderation_room,
                Reply.problem("The room ")
                .name(self.name(record.room_id))
                .text(
                    " carries another key than mine: nobody can talk there. Put the old key into "
                    "the configuration as policy_server.signing_key, or set the new one: "
                )
                .command(f"enable {record.room_id}"),
            )

    async def drop_ended(self) -> None:
        """Drop the rooms whose grace time is over and whose state was read not to name us."""
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
                current = self._records.get(record.room_id)
                if not stands and current is record:
                    await self.drop(record.room_id)
                    log.info("Dropped %s: disabled seven days ago.", record.room_id)


def _room_of(record: RoomRecord) -> ProtectedRoom:
    """Raises:
    UnknownRoomVersion: the room's version is not known.
    """
    state = {
        (str(event.get("type")), str(event.get("state_key"))): event for event in record.state
    }
    return protected_room(
        record.room_id,
        record.moderation_room or None,
        record.mode,
        record.enabled_ts,
        state,
    )
