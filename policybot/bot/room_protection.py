"""Putting a room under the policy server.

The order of effects is what matters. A room is protected in memory and database before its state
event is sent, since other servers ask at once. A state send that got no answer may have worked, so
only what is read back counts.
"""

import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Protocol

from policybot.policy.records import RoomRecord
from policybot.policy.room import RoomMode
from policybot.protocol.identifier import InvalidIdentifier, server_of
from policybot.protocol.policy_event import POLICY_EVENT, UNSTABLE_POLICY_EVENT

from .client import HomeserverAway, MatrixClient, Refused
from .enable_plan import EnablePlan, EnableWish, forms_naming, plan_enable
from .errors import CommandError, PowerMissing
from .moderation_rooms import ModerationRooms
from .policy_change import Standing
from .policy_state import PolicyState
from .protected_rooms import ProtectedRooms
from .reply import clean, quoted

BY_HAND = (
    "Either give me that power level and repeat the command, or set the state event yourself. In "
    "Element on a computer: open the room, type /devtools, choose “Explore room state”, “Send "
    "custom state event”, event type m.room.policy, an empty state key, and this content. I "
    "answer for the room from now on and tell you here when the event stands."
)

log = logging.getLogger("policybot.rooms")


@dataclass(frozen=True, slots=True)
class EndpointFault:
    """Why our endpoint does not answer under its public name. ``unreachable`` means that it could
    not be asked from here, so it may be fine all the same."""

    text: str
    unreachable: bool


class PublicEndpoint(Protocol):
    """Asks whether our endpoint answers under its public name."""

    async def probe(self) -> EndpointFault | None: ...


class MemberKeys(Protocol):
    """The keys of the servers that will ask us."""

    async def check_delivery(self, servers: tuple[str, ...]) -> str | None: ...

    def prefetch(self, servers: tuple[str, ...]) -> Awaitable[None]: ...


class Checks(Enum):
    """What is checked before a room names us."""

    ALL = auto()
    WITHOUT_ENDPOINT = auto()
    MADE = auto()  # once for several rooms


@dataclass(frozen=True, slots=True)
class Enabled:
    """What `enable` did. ``settled`` is False while the homeserver did not tell whether the state
    event was taken; ``mode_before`` is the mode of a room that was protected before, None if it
    was not or if the state event had to be set again."""

    record: RoomRecord
    settled: bool
    mode_before: RoomMode | None
    checked: bool
    replaced: str | None


class RoomProtection:
    """The use case behind `enable`."""

    def __init__(
        self,
        client: MatrixClient,
        state: PolicyState,
        protected_rooms: ProtectedRooms,
        moderation_rooms: ModerationRooms,
        endpoint: PublicEndpoint,
        keys: MemberKeys,
        *,
        bot_user_id: str,
        clock: Callable[[], int],
    ) -> None:
        self._client = client
        self._state = state
        self._rooms = protected_rooms
        self._moderation_rooms = moderation_rooms
        self._endpoint = endpoint
        self._keys = keys
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
            await self.check(room_id, checks)
            again = before is not None and before.mode in (RoomMode.ENABLED, RoomMode.DRY_RUN)
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
            if plan.power_missing is not None and not plan.already_set:
                raise PowerMissing(plan.power_missing, BY_HAND, plan.content)
            settled = await self._set(record, before, plan)
            record = self._rooms.record(room_id) or record
            stood = plan.room.policy or plan.room.unstable_policy
            replaced = stood.via if stood is not None else None
            return Enabled(
                record=record,
                settled=settled,
                mode_before=before.mode
                if before is not None and again and (plan.already_set or before.mode is not mode)
                else None,
                checked=checks is not Checks.WITHOUT_ENDPOINT,
                replaced=replaced if replaced != self._rooms.ours.via else None,
            )

    async def check(self, room_id: str, checks: Checks) -> None:
        """Check what a room relies on once it names us: that we answer under our public name, and
        that the keys of the servers in it come.

        Raises:
            CommandError: one of that is not so.
        """
        if checks is Checks.MADE:
            return
        if checks is Checks.ALL:
            await self._check_endpoint()
        await self._check_keys(room_id)

    def _check_owner(self, record: RoomRecord | None, moderation_room: str) -> None:
        if record is None or record.moderation_room in ("", moderation_room):
            return
        if record.mode is RoomMode.DISABLED and record.settled:
            return
        raise CommandError("That room belongs to another moderation room of this bot.")

    async def _check_endpoint(self) -> None:
        fault = await self._endpoint.probe()
        if fault is None:
            return
        if fault.unreachable:
            raise CommandError(
                "I could not reach this policy server under its public name, so other servers may "
                f"not either, and nobody could talk in the room. {clean(fault.text, 500)} If you "
                "know that it can be reached from outside, repeat the command with --unchecked."
            )
        raise CommandError(
            "Under its public name something else answers instead of this policy server, so "
            f"nobody could talk in the room. {clean(fault.text, 500)}"
        )

    async def _check_keys(self, room_id: str) -> None:
        servers: tuple[str, ...] = ()
        try:
            servers = _servers(await self._client.joined_members(room_id))
        except (Refused, HomeserverAway) as error:
            log.warning("Could not read the members of %s: %s", room_id, error)
        fault = await self._keys.check_delivery(servers)
        if fault is not None:
            raise CommandError(
                "Your homeserver does not deliver the keys of other servers, so I would have to "
                f"turn every server away, and nobody could talk in the room. {clean(fault, 500)}"
            )
        await self._keys.prefetch(servers)

    async def _set(self, record: RoomRecord, before: RoomRecord | None, plan: EnablePlan) -> bool:
        """Send the state event and read it back. Whether it is known to stand."""
        if plan.already_set and not plan.empty_unstable:
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
        stands = self._rooms.standing(state) is Standing.OURS
        await self._rooms.keep(replace(record, state=tuple(state.values()), settled=stands))
        return stands

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
            unclaimed = replace(record, moderation_room="", mode=RoomMode.UNCLAIMED, settled=True)
            await self._rooms.keep(unclaimed)
        else:
            await self._rooms.drop(record.room_id)
        raise CommandError(
            f"The homeserver refused to set the policy server: {quoted(error.message)}. Nothing "
            "was changed."
        )


def _servers(members: Iterable[str]) -> tuple[str, ...]:
    """The members' servers, those with most members first."""
    counts: Counter[str] = Counter()
    for user_id in members:
        with contextlib.suppress(InvalidIdentifier):
            counts[server_of(user_id)] += 1
    return tuple(server for server, _ in counts.most_common())
