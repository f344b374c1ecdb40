"""Rules that the bot writes: the moderation room's own list, and ban and unban in lists."""

import asyncio
import logging
from collections.abc import Callable

from policybot.policy.entity import Entity
from policybot.policy.records import Subscription
from policybot.policy.rule import (
    Recommendation,
    Rule,
    RuleKind,
    event_types,
    rule_state_key,
)
from policybot.policy.rule_store import Change
from policybot.policy.subject import Subject, matcher, server_subject
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.identifier import InvalidIdentifier, server_of

from .client import HomeserverAway, MatrixClient, Refused
from .errors import CommandError
from .moderation_rooms import ModerationRooms
from .policy_lists import PolicyLists
from .reply import clean, quoted

MODERATION_ROOM_FIELD = "policybot.moderation_room"
"""In the create event of a list that the bot made: the moderation room it was made for."""

MAX_NAMED = 5
OWN_SHORTCODE = "bans"

log = logging.getLogger("policybot.lists")


class ListEditor:
    """Writes rules into lists. One lock per list orders it with what comes by sync."""

    def __init__(
        self,
        client: MatrixClient,
        lists: PolicyLists,
        moderation_rooms: ModerationRooms,
        *,
        bot_user_id: str,
        policy_user: str | None,
        clock: Callable[[], int],
    ) -> None:
        self._client = client
        self._lists = lists
        self._moderation_rooms = moderation_rooms
        self._bot_user_id = bot_user_id
        self._policy_user = policy_user
        self._clock = clock
        self._own_locks: dict[str, asyncio.Lock] = {}

    # -- guards ----------------------------------------------------------------------------------

    def check_guarded(self, moderation_room: str, entity: Entity) -> None:
        """Raises:
        CommandError: the rule would hit the bot, the policy user, the server of one of them or
            members of the moderation room.
        """
        value = self._moderation_rooms.get(moderation_room)
        hits = hit_by(entity)
        if hits(self._bot_user_id):
            raise CommandError(
                "That would ban me or my own server. I do not write such a rule; write a narrower "
                "one."
            )
        if self._policy_user is not None and hits(self._policy_user):
            raise CommandError(
                f"That would ban my user {self._policy_user} or its server, the policy server. I "
                "do not write such a rule; write a narrower one."
            )
        hit = sorted(filter(hits, value.members)) if value is not None else []
        if not hit:
            return
        names = ", ".join(clean(user_id, 255) for user_id in hit[:MAX_NAMED])
        if len(hit) > MAX_NAMED:
            names += f" and {len(hit) - MAX_NAMED:,} more"
        who = "a member" if len(hit) == 1 else "members"
        raise CommandError(
            f"That would ban {names}, {who} of this room. I do not write such a rule. Write a "
            "narrower one, or remove them from this room first."
        )

    # -- the own list ----------------------------------------------------------------------------

    async def own_list(self, moderation_room: str) -> tuple[Subscription, bool]:
        """The list that the bot made for a moderation room; made now if there is none.

        The flag tells whether it was made now.
        """
        async with self._own_lock(moderation_room):
            return await self._own_list(moderation_room)

    def _own_lock(self, moderation_room: str) -> asyncio.Lock:
        """At start the list is also looked for; it must not be taken up or made twice."""
        return self._own_locks.setdefault(moderation_room, asyncio.Lock())

    async def _own_list(self, moderation_room: str) -> tuple[Subscription, bool]:
        for subscription in self._lists.subscriptions.of(moderation_room):
            if subscription.own:
                return subscription, False
        found = await self._find_own(moderation_room)
        if found is not None:
            return await self._adopt(moderation_room, found), False
        name_event = await self._client.state_event(moderation_room, "m.room.name")
        name = name_event["content"].get("name") if name_event is not None else None
        title = f"{name.strip()[:100]} bans" if isinstance(name, str) and name.strip() else "Bans"
        list_id = await self._client.create_room(
            name=title,
            topic="Ban rules, written by policybot",
            preset="private_chat",
            creation_content={"type": "m.policy", MODERATION_ROOM_FIELD: moderation_room},
        )
        return await self._adopt(moderation_room, list_id), True

    async def _adopt(self, moderation_room: str, list_id: str) -> Subscription:
        """Invite the moderators, then note the list: after a crash in between, it is found again
        and those who are missing are invited."""
        value = self._moderation_rooms.get(moderation_room)
        members = sorted(value.members - {self._bot_user_id}) if value is not None else []
        for user_id in members:
            try:
                if await self._client.state_event(list_id, "m.room.member", user_id) is None:
                    await self._client.invite(list_id, user_id)
            except (Refused, HomeserverAway) as error:
                log.warning("Could not invite %s to the list %s: %s", user_id, list_id, error)
        shortcode = OWN_SHORTCODE
        if self._lists.subscriptions.find(moderation_room, shortcode) is not None:
            shortcode = "own-bans"
        return await self._lists.watch(moderation_room, list_id, shortcode, own=True)

    async def _find_own(self, moderation_room: str) -> str | None:
        """A joined room that is this moderation room's own list but not followed: made just before
        a crash, or without an answer, or no longer followed."""
        for room_id in await self._client.joined_rooms():
            if self._lists.watched(room_id) or self._moderation_rooms.is_ours(room_id):
                continue
            if await self._made_for(room_id) == moderation_room:
                return room_id
        return None

    async def _made_for(self, room_id: str) -> object:
        """The moderation room that the bot made this list for; None if it is no such list."""
        create = await self._client.state_event(room_id, "m.room.create")
        if create is None or create["sender"] != self._bot_user_id:
            return None
        return create["content"].get(MODERATION_ROOM_FIELD)

    async def is_own(self, moderation_room: str, list_id: str) -> bool:
        """Whether the bot made this list for the moderation room, and it has no other such."""
        if any(subscription.own for subscription in self._lists.subscriptions.of(moderation_room)):
            return False
        return await self._made_for(list_id) == moderation_room

    async def find_own(self, room_id: str) -> None:
        """At start: a joined room that is our own list but not known, as after a crash between
        making and noting it, is taken up again."""
        if self._lists.watched(room_id) or self._lists.subscriptions.was_given_up(room_id):
            return
        moderation_room = await self._made_for(room_id)
        for known in self._moderation_rooms.ids():
            if known != moderation_room:
                continue
            async with self._own_lock(known):
                if not any(s.own for s in self._lists.subscriptions.of(known)):
                    await self._adopt(known, room_id)

    # -- writing ---------------------------------------------------------------------------------

    async def ban(self, subscription: Subscription, entity: Entity, reason: str) -> bool:
        """Write a ban rule and apply it at once. False if the very same rule stands already.

        Raises:
            CommandError: the homeserver refused, mostly because the bot may not write there.
            HomeserverAway: unknown whether the rule was written; the echo by sync tells.
        """
        list_id = subscription.list_id
        async with self._lists.lock(list_id):
            for rule in self._standing(list_id, entity):
                if rule.recommendation is Recommendation.BAN and rule.reason == reason:
                    return False
            event_type = event_types(entity.kind)[0]
            content: JsonObject = {
                "entity": entity.text,
                "recommendation": "m.ban",
                "reason": reason,
            }
            state_key = rule_state_key(entity.text, "m.ban")
            change = await self._write(list_id, event_type, state_key, content)
            if change.refused is not None:
                await self._write(list_id, event_type, state_key, {})
                raise CommandError(
                    f"I cannot use that rule: {change.refused.why}. So I took it out again. Write "
                    "a narrower rule, or remove some of the others."
                )
        return True

    def has(self, subscription: Subscription, entity: Entity) -> bool:
        """Whether a list has a ban rule with exactly this entity."""
        return bool(self._standing(subscription.list_id, entity))

    async def unban(self, subscription: Subscription, entity: Entity) -> int:
        """Remove every rule with exactly this entity from a list; how many there were.

        Raises:
            CommandError, HomeserverAway: as for `ban`.
        """
        list_id = subscription.list_id
        async with self._lists.lock(list_id):
            rules = self._standing(list_id, entity)
            for rule in rules:
                await self._write(list_id, rule.event_type, rule.state_key, {})
        return len(rules)

    def _standing(self, list_id: str, entity: Entity) -> list[Rule]:
        """The rules of a list, in force or superseded, that ban exactly this entity."""
        return [
            rule
            for rule in self._lists.rules.rules_of(list_id)
            if rule.kind is entity.kind
            and rule.entity.lower() == entity.text.lower()
            and rule.recommendation is not Recommendation.ALLOW
        ]

    async def _write(
        self, list_id: str, event_type: str, state_key: str, content: JsonObject
    ) -> Change:
        """Send a rule, or with no content its removal, and apply it."""
        try:
            event_id = await self._client.put_state(list_id, event_type, state_key, content)
        except Refused as error:
            raise CommandError(
                f"I may not write into that list ({quoted(error.message)}). Give me the power to "
                f"send {event_type} there, or name another list with --list."
            ) from None
        event: JsonObject = {
            "type": event_type,
            "state_key": state_key,
            "content": content,
            "sender": self._bot_user_id,
            "event_id": event_id,
            "origin_server_ts": self._clock(),
        }
        return await self._lists.apply_own(list_id, event)


def hit_by(entity: Entity) -> Callable[[str], bool]:
    """A test whether a ban rule for this entity would hit a user, by his ID or by his server."""
    rule = Rule(
        list_id="",
        kind=entity.kind,
        event_type=event_types(entity.kind)[0],
        state_key="",
        entity=entity.text,
        entity_hash="",
        recommendation=Recommendation.BAN,
        reason="",
        event_id="",
        sender="",
        origin_server_ts=0,
    )
    matches = matcher(rule)

    def hits(user_id: str) -> bool:
        if entity.kind is RuleKind.USER:
            return matches(Subject(RuleKind.USER, user_id))
        try:
            return matches(server_subject(server_of(user_id)))
        except InvalidIdentifier:
            return False

    return hits
