"""What was wished for rooms and not seen done, as after the end of the process in between."""

import logging
from dataclasses import replace

from policybot.policy.records import RoomRecord
from policybot.policy.room import RoomMode, may_send_state
from policybot.protocol.policy_event import POLICY_EVENT

from .client import HomeserverAway, Refused
from .enable_checks import EnableChecks
from .enable_plan import RoomState, forms_naming, is_of_another
from .errors import CommandError
from .joins import Joins
from .notices import Notices
from .policy_change import Standing, add_cure, state_of
from .policy_state import PolicyState
from .policy_user import JoinTimes, MembershipFault
from .protected_rooms import ProtectedRooms
from .reply import Reply

_ENDPOINT, _MEMBERSHIP = "the endpoint", "the membership"

log = logging.getLogger("policybot.rooms")


class UnfinishedWishes:
    """Carries on with enabling and disabling that was begun.

    ``joins`` holds the rooms where the policy user comes first.
    """

    def __init__(
        self,
        state: PolicyState,
        protected_rooms: ProtectedRooms,
        checks: EnableChecks,
        notices: Notices,
        *,
        bot_user_id: str,
        times: JoinTimes,
    ) -> None:
        self._state = state
        self._rooms = protected_rooms
        self._checks = checks
        self._policy_user = protected_rooms.policy_user
        self._notices = notices
        self._bot_user_id = bot_user_id
        # By room and what it is about: of which enabling.
        self._told: dict[tuple[str, str], int] = {}
        self.joins = Joins(self._carry_on, times)

    async def settle(self) -> None:
        """Send the state event again where we may, read the room, and tell the moderators. Joining
        takes long, so it goes on behind."""
        for record in self._rooms.records():
            if self._waits_for_policy_user(record):
                self.joins.begin(record.room_id)
            elif not record.settled:
                await self._carry_on(record.room_id)

    def _waits_for_policy_user(self, record: RoomRecord) -> bool:
        if not record.mode.is_protected:
            return False
        state = state_of(record)
        if self._policy_user.is_joined(state):
            return False
        if self._policy_user.membership(state) == "invite":
            return True
        return not record.settled and self._rooms.standing(state) is not Standing.FORMER

    async def _carry_on(self, room_id: str) -> bool:
        """Do once what is left to do in a room. Whether trying again soon is of no use."""
        done = False
        try:
            async with self._rooms.lock(room_id):
                record = self._rooms.record(room_id)
                if record is None:
                    return True
                fault = await self._do(record)
            done = fault is None or fault.final
        except (Refused, HomeserverAway) as error:
            log.warning("Could not carry on with %s: %s", room_id, error)
        try:
            await self._rooms.refresh(room_id)
        except (Refused, HomeserverAway) as error:
            log.warning("Could not read %s again: %s", room_id, error)
            return False
        return done

    async def _do(self, record: RoomRecord) -> MembershipFault | None:
        state = await self._rooms.read(record.room_id)
        if record.mode is RoomMode.DISABLED:
            if not record.settled:
                for form in forms_naming(self._rooms.names, state):
                    await self._state.empty(record.room_id, form)
            return None
        if record.mode is RoomMode.UNCLAIMED or is_of_another(state, self._rooms.names):
            return None
        joined = self._policy_user.is_joined(state)
        if not joined and self._is_given_up(record, state):
            return None
        stands = self._rooms.standing(state) in (Standing.OURS, Standing.FORMER)
        to_set = not record.settled and not stands
        may_set = to_set and may_send_state(state, self._bot_user_id, POLICY_EVENT).allowed
        if not joined or may_set:
            fault = await self._unserved(record)
            if fault is None and not joined:
                fault = await self._join(record, state)
            if fault is not None:
                return fault
            for about in (_ENDPOINT, _MEMBERSHIP):
                self._told.pop((record.room_id, about), None)
        if not to_set:
            return None
        if may_set:
            await self._state.set(record.room_id)
        elif not joined:
            notice = Reply.done("My user ").code(self._policy_user.user_id or "")
            notice.text(" is in ").name(self._rooms.name(record.room_id))
            notice.text(" now. What is missing there: ")
            add_cure(notice, record, self._rooms.wanted(record.room_id))
            self._notices.tell(record.moderation_room, notice)
        return None

    async def _unserved(self, record: RoomRecord) -> MembershipFault | None:
        """Why the room must not rely on us now. The wish may be days old, and what it was checked
        for then may be gone."""
        if self._policy_user.user_id is None:
            return None
        try:
            await self._checks.check_endpoint()
        except CommandError as error:
            self._tell(record, _ENDPOINT, error.text)
            return MembershipFault(error.text, final=False)
        return None

    def _is_given_up(self, record: RoomRecord, state: RoomState) -> bool:
        """Whether the policy user is not to join by itself: others took it out of the room."""
        if self._policy_user.membership(state) == "invite":
            return False
        return (
            record.settled
            or self._rooms.standing(state) is Standing.FORMER
            or self._policy_user.was_removed(state_of(record), state)
        )

    async def _join(self, record: RoomRecord, state: RoomState) -> MembershipFault | None:
        room_id = record.room_id
        fault = await self._policy_user.ensure_joined(room_id, state)
        if fault is None:
            if not record.settled:
                # So that it is known as a change if somebody removes it at once.
                now = await self._rooms.read(room_id)
                await self._rooms.keep(replace(record, state=tuple(now.values())))
        elif fault.final:
            self._tell(record, _MEMBERSHIP, fault.text)
        elif record.settled:
            await self._rooms.keep(replace(record, settled=False))  # until it worked
        return fault

    def _tell(self, record: RoomRecord, about: str, fault: str) -> None:
        """Tell once that somebody has to do something, whatever words it comes in: some of them
        are of other servers."""
        if self._told.get((record.room_id, about)) == record.enabled_ts:
            return
        self._told[record.room_id, about] = record.enabled_ts
        notice = Reply.problem().name(self._rooms.name(record.room_id))
        notice.text(" is not checked yet. ").text(fault)
        notice.text(" I go on trying, at least every hour. To stop: ")
        notice.command(f"disable {record.room_id}")
        self._notices.tell(record.moderation_room, notice)
