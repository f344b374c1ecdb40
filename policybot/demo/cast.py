"""The people and rooms of the story.

On hs1 the moderator and the bot's account, in an invite-only moderation room; on hs2 a visitor and
a spammer, who talk in the moderator's public room.
"""

import asyncio
from dataclasses import dataclass

from ..protocol.canonical_json import JsonObject
from .network import Network
from .user import User

ACCEPTED = "✅"
"""How the bot's reply to a command begins if it did what was asked."""

REFUSED = "❌"
"""How the bot's reply to a command begins if it did not."""

_REPLY_WAIT = 30.0  # seconds; looking up the keys of servers may take ten of them


@dataclass(frozen=True, slots=True)
class Cast:
    """Who takes part, and where."""

    moderator: User
    bot: User
    visitor: User
    spammer: User
    moderation_room: str
    lounge: str
    lounge_alias: str

    @property
    def people(self) -> tuple[User, ...]:
        """Those whose accounts are played by hand."""
        return (self.moderator, self.visitor, self.spammer)

    async def command(self, text: str, *, deadline: float = _REPLY_WAIT) -> str:
        """Let the moderator send a command to the bot and return the reply's text.

        Raises:
            NotSeen: the bot did not reply in time.
        """
        event_id = await self.moderator.send_text(self.moderation_room, text)
        reply = await self.moderator.wait_for_event(
            self.moderation_room,
            lambda event: (
                event["sender"] == self.bot.user_id
                and body_of(event).startswith((ACCEPTED, REFUSED))
            ),
            after=event_id,
            deadline=deadline,
        )
        return body_of(reply)


def body_of(event: JsonObject) -> str:
    """The text of a message, empty for any other event."""
    body = event.get("content", {}).get("body")
    return body if isinstance(body, str) else ""


async def gather_cast(
    network: Network, *, suffix: str = "", room_version: str | None = None
) -> Cast:
    """Make the accounts and rooms. The bot is invited but has joined nothing yet.

    ``suffix`` tells accounts and the alias from those of another cast. ``room_version`` is the
    public room's; None = the homeserver's default.
    """
    moderator, bot, visitor, spammer = await asyncio.gather(
        network.hs1.register(f"moderator{suffix}"),
        network.hs1.register(f"policybot{suffix}"),
        network.hs2.register(f"visitor{suffix}"),
        network.hs2.register(f"spammer{suffix}"),
    )
    moderation_room = await moderator.create_room(name="Moderation", invite=[bot.user_id])
    localpart = f"lounge{suffix}"
    lounge = await moderator.create_room(
        name="Lounge",
        preset="public_chat",
        alias=localpart,
        room_version=room_version,
        invite=[bot.user_id],
    )
    # The bot is to set one state event there; the moderator keeps his own level.
    await moderator.set_power_level(lounge, bot.user_id, 100)
    alias = f"#{localpart}:{network.hs1.name}"
    for guest in (visitor, spammer):
        await guest.join(alias, via=[network.hs1.name])
    return Cast(moderator, bot, visitor, spammer, moderation_room, lounge, alias)
