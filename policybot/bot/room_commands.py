"""The commands about rooms: enable, disable and status."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from policybot.policy.records import RoomRecord
from policybot.policy.room import RoomMode
from policybot.policy.rule import RuleKind
from policybot.protocol.identifier import server_of

from .client import HomeserverAway, MatrixClient, Refused
from .command import Command
from .errors import CommandError
from .links import InvalidLink, RoomReference, parse_room
from .moderation_rooms import ModerationRooms
from .policy_lists import PolicyLists
from .protected_rooms import GRACE_MS, ProtectedRooms
from .reply import Reply, quoted
from .report_text import count
from .room_protection import Disabled, Enabled, RoomProtection

DAY_MS = 24 * 3600 * 1000


class RefusalCounts(Protocol):
    """How many events of a room were refused since a time (milliseconds since 1970)."""

    async def refused_since(self, room_id: str, since_ts: int) -> int: ...


@dataclass(frozen=True, slots=True)
class Condition:
    """How the endpoint and the keys are doing, as sentences; empty if all is well."""

    since_ts: int
    answered: int
    faults: Sequence[str]


class RoomCommands:
    """Carries out the commands about rooms; each returns the reply."""

    def __init__(
        self,
        client: MatrixClient,
        protection: RoomProtection,
        protected_rooms: ProtectedRooms,
        moderation_rooms: ModerationRooms,
        lists: PolicyLists,
        counts: RefusalCounts,
        condition: Callable[[], Condition],
        *,
        bot_user_id: str,
        clock: Callable[[], int],
    ) -> None:
        self._client = client
        self._protection = protection
        self._rooms = protected_rooms
        self._moderation_rooms = moderation_rooms
        self._lists = lists
        self._counts = counts
        self._condition = condition
        self._bot_user_id = bot_user_id
        self._clock = clock

    # -- enable ----------------------------------------------------------------------------------

    async def enable(self, moderation_room: str, sender: str, command: Command) -> Reply:
        """Put a room under the policy server."""
        reference = room_reference(command.words[0])
        try:
            room_id = await self._client.join(reference.room_id_or_alias, reference.via)
        except Refused as error:
            raise CommandError(
                f"I could not enter that room: {quoted(error.message)}. Check the name, or invite "
                f"{self._bot_user_id} to it, and try again."
            ) from None
        outcome = await self._protection.enable(
            room_id,
            moderation_room,
            sender,
            replace_other="replace" in command.flags,
            checked="unchecked" not in command.flags,
        )
        return self._enabled(moderation_room, outcome)

    def _enabled(self, moderation_room: str, outcome: Enabled) -> Reply:
        room_id = outcome.record.room_id
        name = self._rooms.name(room_id)
        if not outcome.settled:
            reply = Reply.problem("I sent the policy server for ").name(name)
            reply.text(
                ", but your homeserver does not tell whether it took it. I answer for the room "
                "and tell you here when I know. To stop: "
            )
            return reply.command(f"disable {room_id}")
        reply = Reply.done().name(name)
        reply.text(" was protected already, and still is." if outcome.again else " is protected.")
        reply.line().text("Set: ").code("m.room.policy").text(" names ")
        reply.code(self._rooms.ours.via)
        if outcome.replaced is not None:
            reply.text(" in place of ").code(outcome.replaced)
        reply.text(". Checked: it stands there, the keys of other servers come")
        reply.text(
            ", and I answer under my public name."
            if outcome.checked
            else ". Not checked: whether I answer under my public name."
        )
        reply.line().add(self._blind_spot())
        if not self._lists.of(moderation_room):
            reply.line().text(
                "No list is followed yet, so nothing is refused. Write a first rule: "
            )
            reply.command("ban @user:example.org spam")
        return reply.line().text("To undo: ").command(f"disable {room_id}")

    def _blind_spot(self) -> Reply:
        """The shared name's one gap: a homeserver never asks a policy server of its own name."""
        name = self._rooms.ours.via
        return (
            Reply().text("Users of ").code(name).text(" are not checked on ").code(name)
            .text(" itself, only by all other servers.")
        )  # fmt: skip

    # -- disable ---------------------------------------------------------------------------------

    async def disable(self, moderation_room: str, sender: str, command: Command) -> Reply:
        """Take the policy server out of one room or of all."""
        if command.words[0].lower() == "all":
            return await self._disable_all(moderation_room, sender)
        room_id = await self.known_room(command.words[0])
        outcome = await self._protection.disable(room_id, moderation_room, sender)
        return self._disabled(outcome)

    async def _disable_all(self, moderation_room: str, sender: str) -> Reply:
        records = [
            record
            for record in (*self._rooms.owned_by(moderation_room), *self._rooms.unclaimed())
            if not (record.mode is RoomMode.DISABLED and record.settled)
        ]
        if not records:
            return Reply.done("No room is protected here.")
        replies = []
        for record in records:
            try:
                outcome = await self._protection.disable(record.room_id, moderation_room, sender)
                replies.append(self._disabled(outcome))
            except (CommandError, HomeserverAway) as error:
                reply = Reply.refused().name(self._rooms.name(record.room_id))
                replies.append(reply.text(": ").name(str(error), 300))
        reply = replies[0]
        for other in replies[1:]:
            reply.line().add(other)
        return reply

    def _disabled(self, outcome: Disabled) -> Reply:
        name = self._rooms.name(outcome.record.room_id)
        if outcome.settled:
            reply = Reply.done("The policy server is out of ").name(name)
            return reply.text(
                ". I go on signing everything there for 7 days, for servers that missed it."
            )
        reply = Reply.refused("I could not take the policy server out of ").name(name).text(": ")
        reply.name(outcome.fault or "unknown", 300)
        reply.text(
            ". I sign everything there, so nobody is locked out, and try again every hour. Or "
            "somebody who may change the room's settings empties it. In Element on a computer: "
            "open the room, type /devtools, choose “Explore room state”, "
        )
        for form in outcome.forms or ("m.room.policy",):
            reply.code(form).text(", ")
        return reply.text("edit it and save this content:").json({})

    # -- status ----------------------------------------------------------------------------------

    async def status(self, moderation_room: str, sender: str, command: Command) -> Reply:
        """How rooms, lists and the endpoint are doing."""
        if command.words:
            return await self._room_status(moderation_room, command.words[0])
        condition = self._condition()
        records = self._rooms.owned_by(moderation_room)
        if condition.faults:
            reply = Reply.problem("Something needs attention:")
            for fault in condition.faults:
                reply.item().text(fault)
        elif any(map(self._fault, records)) or self._rooms.unclaimed():
            reply = Reply.problem("A room needs attention, see below.")
        else:
            reply = Reply.done("All is well.")
        hours = (self._clock() - condition.since_ts) / 3_600_000
        reply.line().text(
            f"Running for {_hours(hours)}; {count(condition.answered, 'answer')} given."
        )
        reply.line().text("Policy server: ").code(self._rooms.ours.via).text(", key ")
        reply.code(self._rooms.ours.public_key)
        reply.line().strong("Rooms" if records else "No room is protected. ")
        if not records:
            reply.text("Protect one: ").command("enable #room:example.org")
        for record in records:
            reply.item().add(await self._room_line(record))
        for record in self._rooms.unclaimed():
            reply.item().name(self._rooms.name(record.room_id))
            reply.text(" names me, but is not enabled: everything is signed")
        return reply.line().add(list_lines(self._lists, self._moderation_rooms, moderation_room))

    async def _room_line(self, record: RoomRecord) -> Reply:
        reply = Reply().name(self._rooms.name(record.room_id)).text(": ")
        refused = await self._counts.refused_since(record.room_id, self._clock() - DAY_MS)
        fault = self._fault(record)
        if fault:
            reply.text("⚠️ ").text(fault).text(", ")
        elif record.mode is RoomMode.DISABLED:
            reply.text(f"disabled, still signed for {self._days_left(record)}, ")
        else:
            reply.text("protected, ")
        return reply.text(f"{refused:,} refused in 24 hours")

    def _fault(self, record: RoomRecord) -> str:
        """What is wrong with a room, in our own words; empty if nothing is."""
        room = self._rooms.room(record.room_id)
        ours = self._rooms.ours
        if self._rooms.left(record.room_id):
            return "I am not in the room any more and answer from what I last knew"
        if record.mode is RoomMode.DISABLED:
            return "" if record.settled else "disabled, but the state event still names me"
        if not record.settled and (room is None or room.policy is None):
            return "the policy server is not set there yet, nothing is checked"
        if room is None or room.policy is None:
            return "no policy server is set there, nothing is checked"
        if room.policy.via != ours.via:
            return "another policy server is set there"
        if room.policy.public_key != ours.public_key:
            return "it carries another key than mine, so nobody can talk there; enable it again"
        return ""

    def _days_left(self, record: RoomRecord) -> str:
        left = (record.disabled_ts or 0) + GRACE_MS - self._clock()
        return count(max(0, -(-left // DAY_MS)), "more day")

    async def _room_status(self, moderation_room: str, text: str) -> Reply:
        room_id = await self.known_room(text)
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
                reply.text(", key right" if policy == self._rooms.ours else ", another key")
            if room.unstable_policy is not None:
                reply.item().text("a leftover ").code("org.matrix.msc4284.policy")
                reply.text(" names ").code(room.unstable_policy.via)
            exempt = room.creators | room.powerful
            reply.item().text(
                f"never refused: {count(len(exempt), 'user')} with power there, and the members "
                "of this room"
            )
        reply.item().add(self._blind_spot())
        return reply

    async def known_room(self, text: str) -> str:
        """The room ID of a protected room, by ID, alias or link."""
        reference = room_reference(text)
        if not reference.is_alias:
            return reference.room_id_or_alias
        try:
            room_id, _ = await self._client.resolve_alias(reference.room_id_or_alias)
        except Refused as error:
            raise CommandError(f"I cannot find that room: {quoted(error.message)}") from None
        return room_id


def room_reference(text: str) -> RoomReference:
    """Raises:
    CommandError: it is no room.
    """
    try:
        return parse_room(text)
    except InvalidLink as error:
        raise CommandError(str(error)) from None


def list_lines(
    lists: PolicyLists, moderation_rooms: ModerationRooms, moderation_room: str
) -> Reply:
    """The lists of a moderation room, with their rules and what is left unused."""
    subscriptions = lists.of(moderation_room)
    if not subscriptions:
        reply = Reply().strong("No list is followed. ").text("Follow one: ")
        reply.command("watch #list:example.org").text(" or write a rule: ")
        return reply.command("ban @user:example.org spam")
    reply = Reply().strong("Lists")
    unused = moderation_rooms.unused_rules(moderation_room)
    for subscription in subscriptions:
        list_id = subscription.list_id
        counts = lists.rules.counts(list_id)
        reply.item().code(subscription.shortcode).text(" ").name(lists.title(list_id))
        kinds = (f"{counts.rules[kind]:,} {kind.value}" for kind in RuleKind)
        reply.text(": rules: " + ", ".join(kinds))
        if subscription.own:
            reply.text("; I write here")
        if lists.stale(list_id):
            reply.text("; ⚠️ cannot be read at the moment, its last known rules decide")
        if counts.refused:
            latest = counts.latest[-1].why if counts.latest else ""
            reply.text(f"; not usable: {count(counts.refused, 'event')}, the latest because ")
            reply.name(latest)
        mine = [rule for rule in unused if rule.list_id == list_id]
        if mine:
            reply.text("; unused, since they would hit a moderator or me: ")
            for index, rule in enumerate(mine[:5]):
                reply.text(", " if index else "").code(rule.entity or "(hashed)")
            if len(mine) > 5:
                reply.text(f" and {len(mine) - 5} more")
    return reply


def same_server(user_id: str, name: str) -> bool:
    """Whether a user is of the server ``name``."""
    try:
        return server_of(user_id) == name
    except ValueError:
        return False


def _hours(hours: float) -> str:
    if hours < 1:
        return count(round(hours * 60), "minute")
    return count(round(hours), "hour") if hours < 48 else count(round(hours / 24), "day")
