"""Taking the policy server out of a room. It needs neither endpoint nor key.

The wish is stored first. From then on everything in the room is signed, whatever becomes of the
state event: servers that still see our name go on asking, and nobody may be locked out.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from policybot.policy.records import RoomRecord
from policybot.policy.room import RoomMode, may_send_state
from policybot.protocol.policy_event import POLICY_EVENT

from .client import HomeserverAway, Refused
from .enable_plan import forms_naming
from .errors import CommandError
from .moderation_rooms import ModerationRooms
from .policy_change import state_of
from .policy_state import PolicyState
from .protected_rooms import ProtectedRooms


@dataclass(frozen=True, slots=True)
class Disabled:
    """What `disable` did. ``fault`` says why the state event still names us, if it does."""

    record: RoomRecord
    settled: bool
    fault: str | None
    forms: tuple[str, ...]


class RoomRelease:
    """The use case behind `disable`. ``clock`` gives milliseconds since 1970."""

    def __init__(
        self,
        state: PolicyState,
        protected_rooms: ProtectedRooms,
        moderation_rooms: ModerationRooms,
        *,
        clock: Callable[[], int],
    ) -> None:
        self._state = state
        self._rooms = protected_rooms
        self._moderation_rooms = moderation_rooms
        self._clock = clock

    async def disable(self, room_id: str, moderation_room: str, asked_by: str) -> Disabled:
        """Take the policy server out of a room.

        Raises:
            CommandError: the room is not ours, or not this moderation room's.
        """
        async with self._rooms.lock(room_id):
            before = self._rooms.record(room_id)
            if before is None:
                raise CommandError("I do not protect that room.")
            if before.moderation_room not in ("", moderation_room):
                raise CommandError("I do not protect that room.")
            if self._moderation_rooms.several():
                await self._check_asker(before, asked_by)
            record = replace(
                before,
                moderation_room=moderation_room,
                mode=RoomMode.DISABLED,
                disabled_ts=before.disabled_ts or self._clock(),
                settled=False,
            )
            # The wish first: if we end here, it is carried out after the restart. Where it cannot
            # be stored it is carried out all the same: this is the way out.
            await self._rooms.keep(record)
            return await self._carry_out(record)

    async def _check_asker(self, record: RoomRecord, asked_by: str) -> None:
        try:
            state = await self._rooms.read(record.room_id)
        except (Refused, HomeserverAway):
            state = state_of(record)
        asker = may_send_state(state, asked_by, POLICY_EVENT)
        if not asker.allowed:
            raise CommandError(
                "You may not set the policy server of that room yourself (your power level there "
                f"is {asker.has}, needed is {asker.needed}), so I do not do it for you."
            )

    async def _carry_out(self, record: RoomRecord) -> Disabled:
        """Empty every form of the state event that names us and read the room back."""
        room_id, names = record.room_id, self._rooms.names
        forms: tuple[str, ...] = (POLICY_EVENT,)
        fault = None
        try:
            forms = forms_naming(names, await self._rooms.read(room_id))
            for form in forms:
                fault = await self._state.empty(room_id, form) or fault
        except (Refused, HomeserverAway) as error:
            fault = error.message
        state = await self._state.read_until_known(room_id)
        if state is None:
            return Disabled(record, False, fault or "the room could not be read", forms)
        standing = forms_naming(names, state)
        settled = not standing
        kept = replace(
            record,
            state=tuple(state.values()),
            settled=settled,
            disabled_ts=self._clock() if settled else record.disabled_ts,
        )
        await self._rooms.keep(kept)
        return Disabled(kept, settled, None if settled else fault or "it still stands", standing)
