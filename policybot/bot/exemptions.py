"""Local exemptions: users whom no list decides about in the rooms of one moderation room."""

from datetime import UTC, datetime
from typing import Protocol

from policybot.policy.records import Exemption

from .errors import CommandError
from .moderation_rooms import ModerationRooms
from .reply import Reply
from .report_text import count

MOST = 1_000
"""Exemptions of one moderation room."""

MAX_SHOWN = 10


class ExemptionTable(Protocol):
    """What is needed of the store."""

    async def load(self) -> list[Exemption]: ...

    async def save(self, exemption: Exemption) -> None: ...

    async def remove(self, moderation_room: str, user_id: str) -> None: ...


class Exemptions:
    """The exemptions of all moderation rooms. Each change is stored before it takes effect."""

    def __init__(self, table: ExemptionTable, moderation_rooms: ModerationRooms) -> None:
        self._table = table
        self._moderation_rooms = moderation_rooms
        self._by_room: dict[str, dict[str, Exemption]] = {}

    async def load(self) -> None:
        """Read the saved exemptions, before the endpoint opens."""
        for exemption in await self._table.load():
            of_room = self._by_room.setdefault(exemption.moderation_room, {})
            of_room[exemption.user_id] = exemption
        for moderation_room in self._by_room:
            self._take_effect(moderation_room)

    def of(self, moderation_room: str) -> list[Exemption]:
        """The exemptions of a moderation room, the latest first."""
        return list(self._by_room.get(moderation_room, {}).values())[::-1]

    def find(self, moderation_room: str, user_id: str) -> Exemption | None:
        """The exemption of a user, given in lower case."""
        return self._by_room.get(moderation_room, {}).get(user_id)

    async def allow(self, exemption: Exemption) -> None:
        """Exempt a user; an exemption that he has is replaced.

        Raises:
            CommandError: the moderation room has as many as it may.
        """
        of_room = self._by_room.setdefault(exemption.moderation_room, {})
        if len(of_room) >= MOST and exemption.user_id not in of_room:
            raise CommandError(
                f"There are {MOST:,} exemptions here, and I keep no more. End those that are no "
                "longer needed with `disallow`, or ask for a change of the list that bans so many."
            )
        await self._table.save(exemption)
        of_room.pop(exemption.user_id, None)  # the latest comes last
        of_room[exemption.user_id] = exemption
        self._take_effect(exemption.moderation_room)

    async def disallow(self, moderation_room: str, user_id: str) -> None:
        """End the exemption of a user, given in lower case."""
        await self._table.remove(moderation_room, user_id)
        self._by_room.get(moderation_room, {}).pop(user_id, None)
        self._take_effect(moderation_room)

    def _take_effect(self, moderation_room: str) -> None:
        users = frozenset(self._by_room.get(moderation_room, {}))
        self._moderation_rooms.set_allowed(moderation_room, users)


def add_exemption(reply: Reply, exemption: Exemption) -> Reply:
    """Tell by whom, when and why somebody was exempted."""
    day = datetime.fromtimestamp(exemption.allowed_ts / 1000, UTC)
    reply.text("exempted by ").code(exemption.allowed_by).text(f" on {day:%Y-%m-%d}")
    return reply.text(", reason ").name(exemption.reason) if exemption.reason else reply


def exemption_lines(exemptions: Exemptions, moderation_room: str) -> Reply:
    """The latest exemptions of a moderation room; nothing if there are none."""
    reply = Reply()
    shown = exemptions.of(moderation_room)
    if not shown:
        return reply
    reply.line().strong("Exempt").text(f" from all lists: {count(len(shown), 'user')}")
    for exemption in shown[:MAX_SHOWN]:
        add_exemption(reply.item().code(exemption.user_id).text(" "), exemption)
    if len(shown) > MAX_SHOWN:
        reply.item().text(f"and {len(shown) - MAX_SHOWN:,} more; ask about one: ")
        reply.command("match @user:example.org")
    return reply
