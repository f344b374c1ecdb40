"""Putting a room under the policy server.

The order of effects is what matters. A room is protected in memory and database before its state
event is sent, since other servers ask at once, and before the policy user joins, whose invitation
is answered for such rooms only. A state send that got no answer may have worked, so only what is
read back counts.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from policybot.policy.records import RoomRecord
from policybot.policy.room import RoomMode
from policybot.protocol.policy_event import POLICY_EVENT, UNSTABLE_POLICY_EVENT

from .client import HomeserverAway, Refused
from .enable_checks import Checks, EnableChecks
from .enable_plan import EnablePlan, EnableWish, forms_naming, is_of_another, plan_enable
from .errors import CommandError, PowerMissing
from .joins import Joins
from .moderation_rooms import ModerationRooms
from .policy_change import Standing, state_of
from .policy_state import PolicyState
from .policy_user import MembershipFault
from .protected_rooms import ProtectedRooms
from .reply import quoted

BY_HAND = (
    "Either give me that power level and repeat the command, or set the state event yourself. In "
    "Element on a computer: open the room, type /devtools, choose “Explore room state”, “Send "
    "custom state event”, event type m.room.policy, an empty state key, and this content. I "
    "answer for the room from now on and tell you here when the event stands."
)

log = logging.getLogger("policybot.rooms")


@dataclass(frozen=True, slots=True)
class Enabled:
    """What `enable` did. ``settled`` is False while the homeserver did not tell whether the state
    event was taken, or while the policy user could not join: then ``waiting`` tells why.
    ``mode_before`` is the mode of a room that was protected before, None if it was not or if
    something had to be done again."""

    record: RoomRecord
    settled: bool
    mode_before: RoomMode | None
    checked: bool
    replaced: str | None
    waiting: str = ""


class RoomProtection:
    """The use case behind `enable`."""

    def __init__(
        self,
        state: PolicyState,
        protected_rooms: ProtectedRooms,
        moderation_rooms: ModerationRooms,
        checks: EnableChecks,
        joins: Joins,
        *,
        bot_user_id: str,
        clock: Callable[[], int],
    ) -> None:
        self._state = state
        self._rooms = protected_rooms
        self._policy_user = protected_rooms.policy_user
        self._joins = joins
        self._moderation_rooms = moderation_rooms
        self._checks = checks
        self._bot_user_id = bot_user_id
        self._clock = clock

    async def enable(
        self,
        room_id: str,
        moderation_room: str,
        asked_by: str,
        *,
        mode: RoomMode,
        replace_other: bool,
        checks: Checks,
    ) -> Enabled:
        """Protect a room that the bot has joined, or change its mode (enabled or dry run).

        Raises:
            CommandError: it is not protected, or protected but its state event has to be set by
                hand; the text says which.
            HomeserverAway: the room could not be read; nothing was changed.
            NotStored: the database does not take it; nothing was changed.
        """
        async with self._rooms.lock(room_id):
            before = self._rooms.record(room_id)
            self._check_owner(before, moderation_room)
            try:
                state = await self._rooms.read(room_id)
            except Refused as error:
                raise CommandError(
                    f"I cannot read that room ({quoted(error.message)}). Invite "
                    f"{self._bot_user_id} to it "
                    "and try again."
                ) from None
            wish = EnableWish(
                room_id=room_id,
                moderation_room=moderation_room,
                asked_by=asked_by,
                ours=self._rooms.ours,
                former=self._rooms.former,
                bot_user_id=self._bot_user_id,
                asker_needs_power=self._moderation_rooms.several(),
                replace=replace_other,
                now_ms=self._clock(),
                mode=mode,
            )
            plan = plan_enable(wish, state)
            checked = checks is not Checks.WITHOUT_ENDPOINT
            obstacle = self._policy_user.obstacle(state)
            if obstacle is not None:
                raise CommandError(f"{obstacle} Then repeat the command.")
            servers = await self._checks.run(room_id, checks)
            again = before is not None and before.mode.is_protected
            record = RoomRecord(
                room_id=room_id,
                moderation_room=moderation_room,
                mode=mode,
                enabled_ts=before.enabled_ts if before is not None and again else wish.now_ms,
                disabled_ts=None,
                settled=False,
                state=tuple(state.values()),
            )
            # Here and not later: as soon as the state event is out, every server asks.
            await self._rooms.keep_saved(record)
            fault = await self._policy_user.ensure_joined(room_id, state, servers)
            # What another name or server does for the room meanwhile is not taken away later.
            keeps = self._rooms.standing(state) is Standing.FORMER or is_of_another(
                state, self._rooms.names
            )
            if fault is not None and (fault.final or keeps):
                await self._undo_join(record, before, fault)
            if fault is not None:
                self._joins.begin(room_id, failed=True)
                return Enabled(record, False, None, checked, None, waiting=fault.text)
            joined = self._policy_user.is_joined(state)
            if plan.power_missing is not None and not plan.already_set:
                raise PowerMissing(plan.power_missing, BY_HAND, plan.content)
            settled = await self._set(record, before, plan, as_read=joined)
            record = self._rooms.record(room_id) or record
            stood = plan.room.policy or plan.room.unstable_policy
            replaced = stood.via if stood is not None else None
            return Enabled(
                record=record,
                settled=settled,
                mode_before=before.mode
                if before is not None
                and again
                and ((plan.already_set and joined) or before.mode is not mode)
                else None,
                checked=checked,
                replaced=replaced if replaced != self._rooms.ours.via else None,
            )

    async def check(self, room_id: str, checks: Checks) -> None:
        """Check what a room relies on once it names us.

        Raises:
            CommandError: one of that is not so.
        """
        await self._checks.run(room_id, checks)

    def _check_owner(self, record: RoomRecord | None, moderation_room: str) -> None:
        if record is None or record.moderation_room in ("", moderation_room):
            return
        if record.mode is RoomMode.DISABLED and record.settled:
            return
        raise CommandError("That room belongs to another moderation room of this bot.")

    async def _set(
        self, record: RoomRecord, before: RoomRecord | None, plan: EnablePlan, *, as_read: bool
    ) -> bool:
        """Send the state event and read it back. Whether it is known to stand. ``as_read`` tells
        that the state is still what was read before."""
        if plan.already_set and not plan.empty_unstable and as_read:
            await self._rooms.keep(replace(record, settled=True))  # it was read just now
            return True
        if not plan.already_set:
            try:
                await self._state.set(record.room_id)
            except Refused as error:
                await self._undo(record, before, error)
            except HomeserverAway as error:
                log.warning("Setting %s in %s: %s", POLICY_EVENT, record.room_id, error)
        if plan.empty_unstable:
            await self._state.empty(record.room_id, UNSTABLE_POLICY_EVENT)
        state = await self._state.read_until_known(record.room_id)
        if state is None:
            return False
        stands, joined = self._rooms.is_as_wished(state), self._policy_user.is_joined(state)
        settled = stands or not joined  # who removes the policy user has his way
        await self._rooms.keep(replace(record, state=tuple(state.values()), settled=settled))
        if not joined:
            raise CommandError(
                f"My user {self._policy_user.user_id} joined, but was removed again at once"
                f"{self._policy_user.removed_by(state)}, so nothing is checked there. If another "
                "bot did that, let it leave this user alone. Then repeat the command."
            )
        return stands

    async def _undo_join(
        self, record: RoomRecord, before: RoomRecord | None, fault: MembershipFault
    ) -> None:
        """The policy user is not let in. All is as before.

        Raises:
            CommandError: always.
        """
        if before is not None:
            await self._rooms.keep(before)
        elif forms_naming(self._rooms.names, state_of(record)):
            await self._rooms.keep(_unclaimed(record))
        else:
            await self._rooms.drop(record.room_id)
        raise CommandError(f"{fault.text} Then repeat the command. Nothing was changed.")

    async def _undo(self, record: RoomRecord, before: RoomRecord | None, error: Refused) -> None:
        """The homeserver refused. If our name does not stand there, all is as before.

        Raises:
            CommandError: always, unless the state event stands all the same.
        """
        state = await self._state.read_until_known(record.room_id)
        if state is None:
            raise CommandError(
                "The homeserver refused to set the policy server "
                f"({quoted(error.message)}) and does not tell what stands in the room. I answer "
                "for it until I know, and try again every hour."
            )
        if forms_naming(frozenset((self._rooms.ours.via,)), state):
            return
        if before is not None:
            await self._rooms.keep(before)
        elif forms_naming(self._rooms.former, state):
            # Answered all the same: other servers ask us under that name.
            await self._rooms.keep(_unclaimed(record))
        elif await self._policy_user.leave(record.room_id) is None:
            await self._rooms.drop(record.room_id)
        else:
            # So that leaving is tried again before the room is forgotten.
            ended = replace(record, mode=RoomMode.DISABLED, disabled_ts=self._clock())
            await self._rooms.keep(replace(ended, settled=True))
        raise CommandError(
            f"The homeserver refused to set the policy server: {quoted(error.message)}. Nothing "
            "was changed."
        )


def _unclaimed(record: RoomRecord) -> RoomRecord:
    """The same room, answered for without that anybody enabled it."""
    return replace(record, moderation_room="", mode=RoomMode.UNCLAIMED, settled=True)
