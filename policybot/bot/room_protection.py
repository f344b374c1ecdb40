"""Putting a room under the policy server, and taking it out again.

The order of effects is what matters. A room is protected in memory and database before its state
event is sent, since other servers ask at once. A state send that got no answer may have worked, so
only what is read back counts.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from policybot.policy.records import RoomRecord
from policybot.policy.room import RoomMode, may_send_state
from policybot.protocol.identifier import InvalidIdentifier, server_of
from policybot.protocol.policy_event import (
    POLICY_EVENT,
    UNSTABLE_POLICY_EVENT,
    policy_content,
)

from .client import HomeserverAway, MatrixClient, Refused
from .enable_plan import (
    EnablePlan,
    EnableWish,
    RoomState,
    forms_naming,
    plan_enable,
    standing_server,
)
from .errors import CommandError
from .moderation_rooms import ModerationRooms
from .protected_rooms import ProtectedRooms
from .reply import clean, quoted

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


@dataclass(frozen=True, slots=True)
class ReadBack:
    """How often and after how many seconds a state event is read back while the homeserver does
    not answer."""

    pauses_s: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class Enabled:
    """What `enable` did. ``settled`` is False while the homeserver did not tell whether the state
    event was taken; ``again`` marks a room that was protected before."""

    record: RoomRecord
    settled: bool
    again: bool
    checked: bool
    replaced: str | None


@dataclass(frozen=True, slots=True)
class Disabled:
    """What `disable` did. ``fault`` says why the state event still names us, if it does."""

    record: RoomRecord
    settled: bool
    fault: str | None
    forms: tuple[str, ...]


class RoomProtection:
    """The use cases behind `enable` and `disable`."""

    def __init__(
        self,
        client: MatrixClient,
        protected_rooms: ProtectedRooms,
        moderation_rooms: ModerationRooms,
        endpoint: PublicEndpoint,
        keys: MemberKeys,
        *,
        bot_user_id: str,
        clock: Callable[[], int],
        read_back: ReadBack | None = None,
    ) -> None:
        self._client = client
        self._rooms = protected_rooms
        self._moderation_rooms = moderation_rooms
        self._endpoint = endpoint
        self._keys = keys
        self._bot_user_id = bot_user_id
        self._clock = clock
        self._read_back = read_back or ReadBack()

    # -- enable ----------------------------------------------------------------------------------

    async def enable(
        self,
        room_id: str,
        moderation_room: str,
        asked_by: str,
        *,
        replace_other: bool,
        checked: bool,
    ) -> Enabled:
        """Protect a room that the bot has joined.

        Raises:
            CommandError: it is not protected, or protected but its state event has to be set by
                hand; the text says which.
            HomeserverAway: the room could not be read; nothing was changed.
        """
        if self._moderation_rooms.is_ours(room_id):
            raise CommandError(
                "This is a moderation or reports room. A refusal there could shut you out, so I "
                "do not protect it."
            )
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
                bot_user_id=self._bot_user_id,
                asker_needs_power=self._moderation_rooms.several(),
                replace=replace_other,
                now_ms=self._clock(),
            )
            plan = plan_enable(wish, state)
            if checked:
                await self._check_endpoint()
            await self._check_keys(room_id)
            again = before is not None and before.mode is RoomMode.ENABLED
            record = RoomRecord(
                room_id=room_id,
                moderation_room=moderation_room,
                mode=RoomMode.ENABLED,
                enabled_ts=before.enabled_ts if before is not None and again else wish.now_ms,
                disabled_ts=None,
                settled=False,
                state=tuple(state.values()),
            )
            # Here and not later: as soon as the state event is out, every server asks.
            await self._rooms.keep(record)
            if plan.power_missing is not None and not plan.already_set:
                raise self._paste(plan)
            settled = await self._set(record, before, plan)
            record = self._rooms.record(room_id) or record
            stood = plan.room.policy or plan.room.unstable_policy
            replaced = stood.via if stood is not None else None
            return Enabled(
                record=record,
                settled=settled,
                again=again and plan.already_set,
                checked=checked,
                replaced=replaced if replaced != self._rooms.ours.via else None,
            )

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

    def _paste(self, plan: EnablePlan) -> CommandError:
        return CommandError(
            f"{plan.power_missing} Either give me that power level and repeat the command, or set "
            "the state event yourself. In Element on a computer: open the room, type /devtools, "
            "choose “Explore room state”, “Send custom state event”, event type m.room.policy, "
            "an empty state key, and this content. I answer for the room from now on and tell you "
            "here when the event stands.",
            paste=plan.content,
        )

    async def _set(self, record: RoomRecord, before: RoomRecord | None, plan: EnablePlan) -> bool:
        """Send the state event and read it back. Whether it is known to stand."""
        if not plan.already_set:
            try:
                await self._client.put_state(record.room_id, POLICY_EVENT, "", plan.content)
            except Refused as error:
                await self._undo(record, before, error)
            except HomeserverAway as error:
                log.warning("Setting %s in %s: %s", POLICY_EVENT, record.room_id, error)
        if plan.empty_unstable:
            await self._empty(record.room_id, UNSTABLE_POLICY_EVENT)
        state = await self._read_until_known(record.room_id)
        if state is None:
            return False
        stands = POLICY_EVENT in forms_naming(self._rooms.ours.via, state)
        await self._rooms.keep(replace(record, state=tuple(state.values()), settled=stands))
        return stands

    async def _undo(self, record: RoomRecord, before: RoomRecord | None, error: Refused) -> None:
        """The homeserver refused. If our name does not stand there, all is as before.

        Raises:
            CommandError: always, unless the state event stands all the same.
        """
        state = await self._read_until_known(record.room_id)
        if state is None:
            raise CommandError(
                "The homeserver refused to set the policy server "
                f"({quoted(error.message)}) and does not tell what stands in the room. I answer "
                "for it until I know, and try again every hour."
            )
        if forms_naming(self._rooms.ours.via, state):
            return
        if before is None:
            await self._rooms.drop(record.room_id)
        else:
            await self._rooms.keep(before)
        raise CommandError(
            f"The homeserver refused to set the policy server: {quoted(error.message)}. Nothing "
            "was changed."
        )

    async def _read_until_known(self, room_id: str) -> RoomState | None:
        for pause in (*self._read_back.pauses_s, None):
            try:
                return await self._rooms.read(room_id)
            except Refused:
                return None
            except HomeserverAway:
                if pause is None:
                    return None
                await asyncio.sleep(pause)
        return None

    async def _empty(self, room_id: str, event_type: str) -> str | None:
        """Empty one form of the state event; the fault if that failed."""
        try:
            await self._client.put_state(room_id, event_type, "", {})
        except (Refused, HomeserverAway) as error:
            log.warning("Emptying %s in %s: %s", event_type, room_id, error)
            return error.message if isinstance(error, Refused) else str(error)
        return None

    # -- disable ---------------------------------------------------------------------------------

    async def disable(self, room_id: str, moderation_room: str, asked_by: str) -> Disabled:
        """Take the policy server out of a room. It needs neither endpoint nor key.

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
                await self._check_asker(room_id, asked_by)
            record = replace(
                before,
                moderation_room=moderation_room,
                mode=RoomMode.DISABLED,
                disabled_ts=before.disabled_ts or self._clock(),
                settled=False,
            )
            # The wish first: if we end here, it is carried out after the restart.
            await self._rooms.keep(record)
            return await self._carry_out(record)

    async def _check_asker(self, room_id: str, asked_by: str) -> None:
        try:
            state = await self._rooms.read(room_id)
        except (Refused, HomeserverAway):
            record = self._rooms.record(room_id)
            events = record.state if record is not None else ()
            state = {(str(e.get("type")), str(e.get("state_key"))): e for e in events}
        asker = may_send_state(state, asked_by, POLICY_EVENT)
        if not asker.allowed:
            raise CommandError(
                "You may not set the policy server of that room yourself (your power level there "
                f"is {asker.has}, needed is {asker.needed}), so I do not do it for you."
            )

    async def _carry_out(self, record: RoomRecord) -> Disabled:
        """Empty every form of the state event that names us and read the room back."""
        room_id, ours = record.room_id, self._rooms.ours.via
        forms: tuple[str, ...] = (POLICY_EVENT,)
        fault = None
        try:
            forms = forms_naming(ours, await self._rooms.read(room_id))
            for form in forms:
                fault = await self._empty(room_id, form) or fault
        except Refused as error:
            fault = error.message
        except HomeserverAway as error:
            fault = str(error)
        state = await self._read_until_known(room_id)
        if state is None:
            return Disabled(record, False, fault or "the room could not be read", forms)
        standing = forms_naming(ours, state)
        settled = not standing
        kept = replace(record, state=tuple(state.values()), settled=settled)
        await self._rooms.keep(kept)
        return Disabled(kept, settled, None if settled else fault or "it still stands", standing)

    # -- after a restart -------------------------------------------------------------------------

    async def settle(self) -> None:
        """Carry on with what was wished but not seen done, as after the end of the process in
        between: send the state event again where we may, read, and tell the moderators."""
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
        forms = forms_naming(self._rooms.ours.via, state)
        if record.mode is RoomMode.DISABLED:
            for form in forms:
                await self._empty(record.room_id, form)
        elif (
            not forms
            and standing_server(state) is None  # what another set meanwhile is not replaced
            and may_send_state(state, self._bot_user_id, POLICY_EVENT).allowed
        ):
            ours = self._rooms.ours
            content = policy_content(ours.via, ours.public_key)
            await self._client.put_state(record.room_id, POLICY_EVENT, "", content)


def _servers(members: Iterable[str]) -> tuple[str, ...]:
    """The members' servers, those with most members first."""
    counts: Counter[str] = Counter()
    for user_id in members:
        with contextlib.suppress(InvalidIdentifier):
            counts[server_of(user_id)] += 1
    return tuple(server for server, _ in counts.most_common())
