"""Rules that the bot writes: the moderation room's own list, and ban and unban in lists."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from policybot.policy.entity import Entity
from policybot.policy.glob import Glob
from policybot.policy.records import Subscription
from policybot.policy.room import may_send_state
from policybot.policy.rule import (
    Recommendation,
    Rule,
    RuleKind,
    event_types,
    rule_state_key,
)
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.identifier import InvalidIdentifier, server_of
from policybot.protocol.server_name import without_port

from .client import HomeserverAway, MatrixClient, Refused
from .errors import CommandError
from .moderation_rooms import ModerationRooms
from .policy_lists import PolicyLists

MODERATION_ROOM_FIELD = "policybot.moderation_room"
"""In the create event of a list that the bot made: the moderation room it was made for."""

MAX_MEMBERS_HIT = 5
OWN_SHORTCODE = "bans"

log = logging.getLogger("policybot.lists")


@dataclass(frozen=True, slots=True)
class Written:
    """A rule that stands now. ``new_list`` tells that the list was made for it."""

    subscription: Subscription
    new_list: bool
    changed: bool


class ListEditor:
    """Writes rules into lists. One lock per list orders it with what comes by sync."""

    def __init__(
        self,
        client: MatrixClient,
        lists: PolicyLists,
        moderation_rooms: ModerationRooms,
        *,
        bot_user_id: str,
        clock: Callable[[], int],
    ) -> None:
        self._client = client
        self._lists = lists
        self._moderation_rooms = moderation_rooms
        self._bot_user_id = bot_user_id
        self._clock = clock

    # -- guards ----------------------------------------------------------------------------------

    def check_guarded(self, moderation_room: str, entity: Entity) -> None:
        """Raises:
        CommandError: the rule would hit the bot, its server or a member of the moderation room.
        """
        value = self._moderation_rooms.get(moderation_room)
        members = value.members if value is not None else frozenset()
        for user_id in (self._bot_user_id, *sorted(members)):
            if not _hits(entity, user_id):
                continue
            if user_id == self._bot_user_id:
                raise CommandError(
                    "That would ban me or my own server. I do not write such a rule."
                )
            raise CommandError(
                f"That would ban {user_id}, a member of this room. I do not write such a rule."
            )

    @staticmethod
    def hits(entity: Entity, user_id: str) -> bool:
        """Whether a rule for this entity would hit a user, by his ID or by his server."""
        return _hits(entity, user_id)

    @staticmethod
    def check_members(entity: Entity, members: frozenset[str]) -> None:
        """Raises:
        CommandError: the rule would hit more than a handful of members of protected rooms.
        """
        hit = sum(_hits(entity, user_id) for user_id in members)
        if hit > MAX_MEMBERS_HIT:
            raise CommandError(
                f"That would hit {hit} members of your protected rooms, more than "
                f"{MAX_MEMBERS_HIT}. Write a narrower rule."
            )

    # -- the own list ----------------------------------------------------------------------------

    async def own_list(self, moderation_room: str) -> tuple[Subscription, bool]:
        """The list that the bot made for a moderation room; made now if there is none.

        The flag tells whether it was made now.
        """
        for subscription in self._lists.of(moderation_room):
            if subscription.own:
                return subscription, False
        value = self._moderation_rooms.get(moderation_room)
        members = sorted(value.members - {self._bot_user_id}) if value is not None else []
        name_event = await self._client.state_event(moderation_room, "m.room.name")
        name = name_event["content"].get("name") if name_event is not None else None
        title = f"{name.strip()[:100]} bans" if isinstance(name, str) and name.strip() else "Bans"
        list_id = await self._client.create_room(
            name=title,
            topic="Ban rules, written by policybot",
            preset="private_chat",
            creation_content={"type": "m.policy", MODERATION_ROOM_FIELD: moderation_room},
        )
        for user_id in members:
            try:
                await self._client.invite(list_id, user_id)
            except (Refused, HomeserverAway) as error:
                log.warning("Could not invite %s to the list %s: %s", user_id, list_id, error)
        return await self._adopt(moderation_room, list_id), True

    async def _adopt(self, moderation_room: str, list_id: str) -> Subscription:
        shortcode = OWN_SHORTCODE
        if self._lists.find(moderation_room, shortcode) is not None:
            shortcode = "own-bans"
        return await self._lists.watch(moderation_room, list_id, shortcode, own=True)

    async def find_own(self, room_id: str) -> None:
        """At start: a joined room that is our own list but not known, as after a crash between
        making and noting it, is taken up again."""
        if self._lists.watched(room_id):
            return
        create = await self._client.state_event(room_id, "m.room.create")
        if create is None or create["sender"] != self._bot_user_id:
            return
        moderation_room = create["content"].get(MODERATION_ROOM_FIELD)
        if moderation_room not in self._moderation_rooms.ids():
            return
        if not any(s.own for s in self._lists.of(moderation_room)):
            await self._adopt(moderation_room, room_id)

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
            await self._write(list_id, event_type, state_key, content)
        return True

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
    ) -> None:
        try:
            event_id = await self._client.put_state(list_id, event_type, state_key, content)
        except Refused as error:
            raise CommandError(
                f"The homeserver does not let me write into that list: {error.message}"
            ) from None
        event: JsonObject = {
            "type": event_type,
            "state_key": state_key,
            "content": content,
            "sender": self._bot_user_id,
            "event_id": event_id,
            "origin_server_ts": self._clock(),
        }
        await self._lists.apply_own(list_id, event)

    async def may_write(self, list_id: str, kind: RuleKind) -> bool:
        """Whether the bot may write rules into a list."""
        state: dict[tuple[str, str], JsonObject] = {}
        try:
            for key in (("m.room.create", ""), ("m.room.power_levels", "")):
                event = await self._client.state_event(list_id, *key)
                if event is not None:
                    state[key] = event
            return may_send_state(state, self._bot_user_id, event_types(kind)[0]).allowed
        except (Refused, ValueError):
            return False


def _hits(entity: Entity, user_id: str) -> bool:
    if entity.kind is RuleKind.USER:
        return Glob(entity.text.lower()).matches(user_id.lower())
    if entity.kind is RuleKind.SERVER:
        try:
            server = without_port(server_of(user_id))
        except (InvalidIdentifier, ValueError):
            return False
        return Glob(entity.text.lower()).matches(server.lower())
    return False
