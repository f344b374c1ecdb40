"""The watched policy lists: which moderation room watches which, and their rules kept current.

At start the saved rules serve before the homeserver is asked; then the full state of each list
replaces them by a diff. Later events are applied one by one, in the order of the list's lock.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from policybot.policy.records import Subscription
from policybot.policy.replacement import Replacement
from policybot.policy.rule import RULE_EVENT_TYPES, Rule, RuleKey
from policybot.policy.rule_store import Change, RuleStore
from policybot.protocol.canonical_json import JsonObject

from .client import MatrixClient, Refused, TokenRejected
from .moderation_rooms import ModerationRooms
from .notices import Notices
from .reply import Reply
from .subscriptions import SHORTCODE_EVENT, Subscriptions, SubscriptionTable
from .unsaved import PatientRules

PAUSE_S = 0.001
"""Between two steps of taking over a list that was read."""


@dataclass(slots=True)
class ListInfo:
    """What is shown about a list: its name as its room says, and whether it can be read.

    ``reading_waits`` tells that the list will be read anew as soon as its lock is free.
    ``awaited`` holds the rules that we wrote and applied, by event type and state key, until sync
    brings them.
    """

    name: str = ""
    stale: bool = False
    reading_waits: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    awaited: dict[tuple[str, str], str] = field(default_factory=dict)

    def is_behind(self, event: JsonObject) -> bool:
        """Whether an event that came by sync is older than what we wrote in its place, or that
        itself. Applied again, the echo of a ban would undo the unban that followed it."""
        place = (str(event.get("type")), str(event.get("state_key")))
        awaited = self.awaited.get(place)
        if awaited is not None and event.get("event_id") == awaited:
            del self.awaited[place]
        return awaited is not None


class _Reading:
    """What is wanted of a list's state; the events themselves are not kept."""

    def __init__(self, rules: Replacement) -> None:
        self.rules = rules
        self.name = ""
        self.shortcode = ""

    def take(self, event: JsonObject) -> None:
        self.rules.take(event)
        if event.get("state_key") == "":
            if event["type"] == "m.room.name":
                self.name = _text(event["content"].get("name"))
            elif event["type"] == SHORTCODE_EVENT:
                self.shortcode = _text(event["content"].get("shortcode"))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


class PolicyLists:
    """All lists that any moderation room watches; the rules of a list are kept once."""

    def __init__(
        self,
        client: MatrixClient,
        rules: RuleStore,
        rule_table: PatientRules,
        subscription_table: SubscriptionTable,
        moderation_rooms: ModerationRooms,
        notices: Notices,
        on_changes: Callable[[str, Sequence[Change]], None],
    ) -> None:
        self._client = client
        self.rules = rules
        self._on_changes = on_changes
        self._rule_table = rule_table
        self.subscriptions = Subscriptions(subscription_table, moderation_rooms.set_lists)
        self._moderation_rooms = moderation_rooms
        self._notices = notices
        self._lists: dict[str, ListInfo] = {}

    async def load(self) -> None:
        """Read the saved rules and subscriptions."""
        await self.subscriptions.load()
        for list_id in self.subscriptions.list_ids():
            self._info(list_id)
        async for rules in self._rule_table.load():
            # Rules of lists that nobody follows are left from a process that ended in between.
            self.rules.load(rule for rule in rules if rule.list_id in self._lists)
        self.subscriptions.publish()

    # -- asking ----------------------------------------------------------------------------------

    def watched(self, list_id: str) -> bool:
        """Whether any moderation room follows the list."""
        return list_id in self._lists

    def list_ids(self) -> tuple[str, ...]:
        """All lists that are followed."""
        return tuple(self._lists)

    def title(self, list_id: str) -> str:
        """What to call a list: its name, or else its ID. The text comes from outside."""
        info = self._lists.get(list_id)
        return info.name if info is not None and info.name else list_id

    def stale(self, list_id: str) -> bool:
        """Whether the list cannot be read at the moment; its last known rules go on deciding."""
        info = self._lists.get(list_id)
        return info is not None and info.stale

    def lock(self, list_id: str) -> asyncio.Lock:
        """The lock that orders everything done to one list."""
        return self._info(list_id).lock

    def _info(self, list_id: str) -> ListInfo:
        return self._lists.setdefault(list_id, ListInfo())

    # -- watching --------------------------------------------------------------------------------

    async def watch(
        self,
        moderation_room: str,
        list_id: str,
        shortcode: str | None = None,
        *,
        own: bool = False,
    ) -> Subscription:
        """Follow a list that the bot has joined, and read it.

        Raises:
            CommandError: it is watched already, or the shortcode is taken or no good.
            Refused, HomeserverAway: the list could not be read; nothing changed.
        """
        self.subscriptions.check(moderation_room, list_id, shortcode)
        try:
            proposed = await self.read(list_id)
        except BaseException:
            if not self.subscriptions.followers(list_id):
                self._lists.pop(list_id, None)
            raise
        return await self.subscriptions.add(moderation_room, list_id, shortcode, proposed, own=own)

    async def unwatch(self, subscription: Subscription) -> None:
        """Stop following a list; its rules are forgotten when nobody else follows it."""
        await self.subscriptions.remove(subscription)
        list_id = subscription.list_id
        if self.subscriptions.followers(list_id):
            return
        async with self.lock(list_id):
            self.rules.remove_list(list_id)
            await self._rule_table.remove_list(list_id)
            self._lists.pop(list_id, None)

    # -- following -------------------------------------------------------------------------------

    async def read(self, list_id: str) -> str:
        """Read the full state of a list and let it replace the known rules by a diff.

        Returns the shortcode that the list proposes, or "".

        Raises:
            Refused, HomeserverAway: it could not be read; the known rules stay.
        """
        info = self._info(list_id)
        async with info.lock:
            info.reading_waits = False
            reading = _Reading(self.rules.replacement(list_id))
            await self._client.read_state(list_id, reading.take)
            info.awaited.clear()
            info.name = reading.name
            # Otherwise all of it is new, and no news.
            followed = bool(self.subscriptions.followers(list_id))
            for changes in self.rules.replace_in_steps(reading.rules):
                if changes:
                    # At once: until then a rule against everybody would be in force.
                    self._moderation_rooms.rules_changed(list_id)
                await self._save(list_id, changes)
                if followed:
                    self._on_changes(list_id, changes)
                # A list of 100,000 rules must not keep `/sign` waiting, which takes several
                # turns of the event loop.
                await asyncio.sleep(PAUSE_S)
            info.stale = False
        return reading.shortcode

    async def read_again(self, list_id: str) -> None:
        """Read a watched list; if it may not be read its moderation rooms are told, once.

        Asked again before the reading has begun, this does nothing: somebody who fills a list
        makes gap after gap.

        Raises:
            HomeserverAway: it could not be read; the known rules stay.
        """
        info = self._lists.get(list_id)
        if info is None or info.reading_waits:
            return
        info.reading_waits = True
        try:
            await self.read(list_id)
        except TokenRejected:
            raise
        except Refused as error:
            if not info.stale:
                info.stale = True
                notice = Reply.problem("I cannot read the list ").name(self.title(list_id))
                notice.text(" any more (").name(error.message).text(")")
                self._tell_stale(list_id, notice)

    async def on_events(self, list_id: str, events: Iterable[JsonObject]) -> None:
        """Apply state events of a list that came by sync."""
        rules = [event for event in events if event.get("type") in RULE_EVENT_TYPES]
        info = self._lists.get(list_id)
        if info is None or not rules:
            return
        async with info.lock:
            changes = [
                self.rules.apply(list_id, event) for event in rules if not info.is_behind(event)
            ]
            self._moderation_rooms.rules_changed(list_id)
            await self._save(list_id, changes)
        self._on_changes(list_id, changes)

    async def apply_own(self, list_id: str, event: JsonObject) -> Change:
        """Apply a rule that the homeserver has just taken from us, and tell what it changed.

        The caller holds the lock; the echo by sync then changes nothing.
        """
        change = self.rules.apply(list_id, event)
        self._info(list_id).awaited[event["type"], event["state_key"]] = event["event_id"]
        self._moderation_rooms.rules_changed(list_id)
        await self._save(list_id, [change])
        return change

    async def _save(self, list_id: str, changes: Sequence[Change]) -> None:
        upserts: dict[RuleKey, Rule] = {}
        removals: set[RuleKey] = set()
        for change in changes:
            if change.saved is not None:
                upserts[change.saved.key] = change.saved
                removals.discard(change.saved.key)
            if change.removed is not None:
                upserts.pop(change.removed, None)
                removals.add(change.removed)
        if upserts or removals:
            await self._rule_table.save(list_id, list(upserts.values()), sorted(removals))

    async def save_missing(self) -> None:
        """Save the rules that the database did not take before."""
        for list_id in self._rule_table.unsaved():
            async with self.lock(list_id):
                await self._rule_table.save_again(list_id)

    async def on_left(self, list_id: str) -> None:
        """The bot was removed from a list: the last known rules go on deciding."""
        info = self._lists.get(list_id)
        if info is None or info.stale:
            return
        info.stale = True
        notice = Reply.problem("I was removed from the list ").name(self.title(list_id))
        self._tell_stale(list_id, notice)

    def _tell_stale(self, list_id: str, notice: Reply) -> None:
        notice.text(". Its last known rules go on deciding. Invite me to it again, or: ")
        notice.command(f"unwatch {list_id}")
        for moderation_room in self.subscriptions.followers(list_id):
            self._notices.tell(moderation_room, notice)
