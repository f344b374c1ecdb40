"""What was wished for rooms and not seen done, as after the end of the process in between."""

import logging

from policybot.policy.records import RoomRecord
from policybot.policy.room import RoomMode, may_send_state
from policybot.protocol.policy_event import POLICY_EVENT

from .client import HomeserverAway, Refused
from .enable_plan import RoomState, forms_naming, standing_server
from .policy_change import Standing
from .policy_state import PolicyState
from .protected_rooms import ProtectedRooms

log = logging.getLogger("policybot.rooms")


class UnfinishedWishes:
    """Carries on with enabling and disabling that was begun."""

    def __init__(
        self, state: PolicyState, protected_rooms: ProtectedRooms, *, bot_user_id: str
    ) -> None:
        self._state = state
        self._rooms = protected_rooms
        self._bot_user_id = bot_user_id

    async def settle(self) -> None:
        """Send the state event again where we may, read the room, and tell the moderators."""
        for record in self._rooms.unsettled():
            async with self._rooms.lock(record.room_id):
                if self._rooms.record(record.room_id) is not record:
                    continue
                try:
                    await self._send_again(record)
                except (Refused, HomeserverAway) as error:
                    log.warning("Could not carry on with %s: %s", record.room_id, error)
            try:
                await self._rooms.refresh(record.room_id)
            except (Refused, HomeserverAway) as error:
                log.warning("Could not read %s again: %s", record.room_id, error)

    async def _send_again(self, record: RoomRecord) -> None:
        state = await self._rooms.read(record.room_id)
        if record.mode is RoomMode.DISABLED:
            for form in forms_naming(self._rooms.names, state):
                await self._state.empty(record.room_id, form)
        elif (
            self._rooms.standing(state) not in (Standing.OURS, Standing.FORMER)
            and not _is_of_another(state, self._rooms.names)
            and may_send_state(state, self._bot_user_id, POLICY_EVENT).allowed
        ):
            await self._state.set(record.room_id)


def _is_of_another(state: RoomState, names: frozenset[str]) -> bool:
    """Whether somebody set another policy server meanwhile, which is not replaced unasked."""
    server = standing_server(state)
    return server is not None and server.via not in names
