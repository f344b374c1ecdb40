"""The command `status`: how rooms, lists and the endpoint are doing."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from policybot.policy.records import RoomRecord
from policybot.policy.room import RoomMode

from .blind_spot import blind_spot
from .client import MatrixClient
from .command import Command
from .errors import CommandError
from .exemptions import Exemptions, exemption_lines
from .former_names import former_name, former_names_line
from .list_lines import list_lines
from .moderation_rooms import ModerationRooms
from .policy_change import state_of
from .policy_lists import PolicyLists
from .policy_user_lines import policy_user_fault, policy_user_line, policy_user_lines
from .protected_rooms import GRACE_MS, ProtectedRooms
from .reply import Reply
from .report_text import count
from .room_reference import resolve_room

DAY_MS = 24 * 3600 * 1000


class RefusalCounts(Protocol):
    """How many events of a room were refused since a time (milliseconds since 1970), and how many
    would have been but for dry run; None if that cannot be read now."""

    async def counts_since(self, room_id: str, since_ts: int) -> tuple[int, int] | None: ...


@dataclass(frozen=True, slots=True)
class Condition:
    """How the endpoint and the keys are doing, as sentences; empty if all is well. ``served``
    tells where the endpoint listens, if that is worth a line."""

    since_ts: int
    answered: int
    faults: Sequence[str]
    served: str = ""


class StatusCommand:
    """Carries out `status`. ``clock`` gives milliseconds since 1970."""

    def __init__(
        self,
        client: MatrixClient,
        protected_rooms: ProtectedRooms,
        moderation_rooms: ModerationRooms,
        lists: PolicyLists,
        exemptions: Exemptions,
        counts: RefusalCounts,
        condition: Callable[[], Awaitable[Condition]],
        *,
        clock: Callable[[], int],
    ) -> None:
        self._client = client
        self._rooms = protected_rooms
        self._policy_user = protected_rooms.policy_user
        self._moderation_rooms = moderation_rooms
        self._lists = lists
        self._exemptions = exemptions
        self._counts = counts
        self._condition = condition
        self._clock = clock

    async def status(self, moderation_room: str, sender: str, command: Command) -> Reply:
        """How rooms, lists and the endpoint are doing."""
        if command.words:
            return await self._room_status(moderation_room, command.words[0])
        condition = await self._condition()
        records = self._rooms.owned_by(moderation_room)
        if condition.faults:
            reply = Reply.problem("Something needs attention:")
            for fault in condition.faults:
                reply.item().text(fault)
        elif any(map(self._fault, records)) or self._rooms.unclaimed():
            reply = Reply.problem("A room needs attention, see below.")
        else:
            reply = Reply.done("All is well.")
        hours = max(0, self._clock() - condition.since_ts) / 3_600_000
        reply.line().text(
            f"Running for {_hours(hours)}; {count(condition.answered, 'answer')} given."
        )
        reply.line().text("Policy server: ").code(self._rooms.ours.via).text(", key ")
        reply.code(self._rooms.ours.public_key)
        if self._policy_user.user_id is not None:
            reply.line().add(policy_user_line(self._rooms, records))
        if condition.served:
            reply.line().text(condition.served)
        reply.line().strong("Rooms" if records else "No room is protected. ")
        if not records:
            reply.text("Protect one: ").command("enable #room:example.org")
        for record in records:
            reply.item().add(await self._room_line(record))
        for record in self._rooms.unclaimed():
            reply.item().name(self._rooms.name(record.room_id))
            reply.text(" names me, but is not enabled: everything is signed")
        former = former_names_line(self._rooms, moderation_room)
        if former is not None:
            reply.line().add(former)
        reply.line().add(list_lines(self._lists, self._moderation_rooms, moderation_room))
        return reply.add(exemption_lines(self._exemptions, moderation_room))

    async def _room_line(self, record: RoomRecord) -> Reply:
        reply = Reply().name(self._rooms.name(record.room_id)).text(": ")
        found = await self._counts.counts_since(record.room_id, self._clock() - DAY_MS)
        fault = self._fault(record)
        if fault:
            reply.text("⚠️ ").text(fault).text(", ")
        elif record.mode is RoomMode.DISABLED:
            reply.text(f"disabled, still signed for {self._days_left(record)}, ")
        elif record.mode is not RoomMode.DRY_RUN:
            reply.text("protected, ")
        if record.mode is RoomMode.DRY_RUN:
            reply.text("dry run, " if fault else "dry run, everything is signed, ")
        if found is None:
            return reply.text("refusals cannot be counted now")
        refused, reported = found
        counts = (
            [] if record.mode is RoomMode.DRY_RUN and not refused else [f"{refused:,} refused"]
        )
        if record.mode is RoomMode.DRY_RUN or reported:
            counts.append(f"{reported:,} would have been refused")
        return reply.text(" and ".join(counts) + " in 24 hours")

    def _fault(self, record: RoomRecord) -> str:
        """What is wrong with a room, in our own words; empty if nothing is."""
        room = self._rooms.room(record.room_id)
        if self._rooms.left(record.room_id):
            return "I am not in the room any more and answer from what I last knew"
        if record.mode is RoomMode.DISABLED:
            return "" if record.settled else "disabled, but the state event still names me"
        if not record.settled and (room is None or room.policy is None):
            if not self._policy_user.is_joined(state_of(record)):
                return policy_user_fault(self._policy_user, record)
            return "the policy server is not set there yet, nothing is checked"
        if room is None or room.policy is None:
            return "no policy server is set there, nothing is checked"
        if self._rooms.has_other_key(room):
            return "it carries another key than mine, so nobody can talk there; enable it again"
        if not self._rooms.is_ours(room.policy):
            return "another policy server is set there"
        if former_name(self._rooms, record) is not None:
            return ""
        return policy_user_fault(self._policy_user, record)

    def _days_left(self, record: RoomRecord) -> str:
        left = (record.disabled_ts or 0) + GRACE_MS - self._clock()
        return count(max(0, -(-left // DAY_MS)), "more day")

    async def _room_status(self, moderation_room: str, text: str) -> Reply:
        room_id = await resolve_room(self._client, text)
        record = self._rooms.record(room_id)
        if record is None or record.moderation_room not in ("", moderation_room):
            raise CommandError("I do not protect that room.")
        room = self._rooms.room(room_id)
        fault = self._fault(record)
        reply = Reply.problem() if fault else Reply.done()
        reply.add(await self._room_line(record))
        reply.item().text("ID: ").code(room_id)
        if room is not None:
            reply.item().text(f"room version {room.version.name}, join rule ").code(room.join_rule)
            policy = room.policy
            if policy is not None:
                reply.item().text("names ").code(policy.via)
                if former_name(self._rooms, record) is not None:
                    reply.text(", a former name of mine")
                reply.text(", key right" if self._rooms.is_ours(policy) else ", another key")
            if room.unstable_policy is not None:
                reply.item().text("a leftover ").code("org.matrix.msc4284.policy")
                reply.text(" names ").code(room.unstable_policy.via)
            exempt = room.creators | room.powerful
            reply.item().text(
                f"never refused: {count(len(exempt), 'user')} with power there, the members of "
                f"this room, and {count(len(self._exemptions.of(moderation_room)), 'exempt user')}"
            )
        spot = blind_spot(self._rooms)
        if spot is not None:
            reply.item().add(spot)
        if former_name(self._rooms, record) is not None:
            return reply  # the policy user of that name is joined there
        return reply.add(policy_user_lines(self._policy_user, record))


def _hours(hours: float) -> str:
    if hours < 1:
        return count(round(hours * 60), "minute")
    return count(round(hours), "hour") if hours < 48 else count(round(hours / 24), "day")
