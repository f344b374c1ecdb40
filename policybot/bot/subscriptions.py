"""Which moderation room follows which policy lists, in which order and under which shortcodes."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from policybot.policy.records import Subscription

from .errors import CommandError

SHORTCODE_EVENT = "org.matrix.mjolnir.shortcode"
MAX_LISTS = 50
_SHORTCODE = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}")


class SubscriptionTable(Protocol):
    """What is needed of the store for subscriptions."""

    async def save(self, subscription: Subscription) -> None: ...

    async def remove(self, moderation_room: str, list_id: str) -> None: ...

    async def load(self) -> list[Subscription]: ...


class Subscriptions:
    """All subscriptions. ``on_change`` is told a moderation room and its lists in their order."""

    def __init__(
        self, table: SubscriptionTable, on_change: Callable[[str, tuple[str, ...]], None]
    ) -> None:
        self._table = table
        self._on_change = on_change
        self._by_room: dict[str, list[Subscription]] = {}
        self._given_up: set[str] = set()

    async def load(self) -> None:
        """Read the saved ones."""
        for subscription in await self._table.load():
            if subscription.position < 0:
                self._given_up.add(subscription.list_id)
            else:
                self._by_room.setdefault(subscription.moderation_room, []).append(subscription)

    def publish(self) -> None:
        """Tell all of them, once their rules are there."""
        for moderation_room in self._by_room:
            self._publish(moderation_room)

    # -- asking ----------------------------------------------------------------------------------

    def list_ids(self) -> frozenset[str]:
        """All lists that anybody follows."""
        return frozenset(s.list_id for room in self._by_room.values() for s in room)

    def of(self, moderation_room: str) -> tuple[Subscription, ...]:
        """The lists of a moderation room in the order in which they are asked."""
        return tuple(self._by_room.get(moderation_room, ()))

    def find(self, moderation_room: str, text: str) -> Subscription | None:
        """A subscription by shortcode or room ID."""
        for subscription in self.of(moderation_room):
            if text.lower() == subscription.shortcode or text == subscription.list_id:
                return subscription
        return None

    def owner(self, list_id: str) -> str | None:
        """The moderation room that the bot made a list for; None for lists of others."""
        for subscriptions in self._by_room.values():
            for subscription in subscriptions:
                if subscription.list_id == list_id and subscription.own:
                    return subscription.moderation_room
        return None

    def was_given_up(self, list_id: str) -> bool:
        """Whether this is a list that the bot made and that is no longer to be followed."""
        return list_id in self._given_up

    def followers(self, list_id: str) -> list[str]:
        """The moderation rooms that watch a list."""
        return [
            moderation_room
            for moderation_room, subscriptions in self._by_room.items()
            if any(subscription.list_id == list_id for subscription in subscriptions)
        ]

    # -- changing --------------------------------------------------------------------------------

    def check(self, moderation_room: str, list_id: str, shortcode: str | None) -> None:
        """Raises:
        CommandError: it is followed already, the shortcode is taken or no good, or too many are.
        """
        if self.find(moderation_room, list_id) is not None:
            raise CommandError("This list is followed here already.")
        if len(self.of(moderation_room)) >= MAX_LISTS:
            raise CommandError(f"More than {MAX_LISTS} lists cannot be followed.")
        if shortcode is not None:
            self._check_shortcode(moderation_room, shortcode.lower())

    async def add(
        self,
        moderation_room: str,
        list_id: str,
        shortcode: str | None,
        proposed: str,
        *,
        own: bool,
    ) -> Subscription:
        """Follow a list after those that are followed. ``proposed`` is the shortcode that the list
        wishes for, which may be anything; "" is none."""
        subscription = Subscription(
            moderation_room=moderation_room,
            list_id=list_id,
            position=1 + max((s.position for s in self.of(moderation_room)), default=-1),
            shortcode=(shortcode or self._shortcode(moderation_room, proposed)).lower(),
            own=own,
        )
        await self._table.save(subscription)
        self._given_up.discard(list_id)
        self._by_room.setdefault(moderation_room, []).append(subscription)
        self._publish(moderation_room)
        return subscription

    async def remove(self, subscription: Subscription) -> None:
        """Stop following a list."""
        if subscription.own:
            # Else it would be taken for a list that was made just before a crash.
            await self._table.save(replace(subscription, position=-1))
            self._given_up.add(subscription.list_id)
        else:
            await self._table.remove(subscription.moderation_room, subscription.list_id)
        self._by_room[subscription.moderation_room].remove(subscription)
        self._publish(subscription.moderation_room)

    def _publish(self, moderation_room: str) -> None:
        subscriptions = self._by_room.get(moderation_room, [])
        subscriptions.sort(key=lambda subscription: subscription.position)
        self._on_change(moderation_room, tuple(s.list_id for s in subscriptions))

    def _check_shortcode(self, moderation_room: str, wanted: str) -> None:
        if not _SHORTCODE.fullmatch(wanted):
            raise CommandError(
                "A shortcode is made of letters a to z, digits, hyphens and underscores."
            )
        if self.find(moderation_room, wanted) is not None:
            raise CommandError(f"The shortcode {wanted} is taken. Choose another one.")

    def _shortcode(self, moderation_room: str, proposed: str) -> str:
        """A shortcode that is free: the one that the list proposes, or a made one."""
        taken = {subscription.shortcode for subscription in self.of(moderation_room)}
        code = proposed.lower()
        if _SHORTCODE.fullmatch(code) and code not in taken:
            return code
        number = 1
        while f"list{number}" in taken:
            number += 1
        return f"list{number}"
