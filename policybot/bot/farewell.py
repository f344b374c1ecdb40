"""The last words, where the bot is ended for good while rooms still name it."""

import asyncio
import logging
import uuid

from policybot.policy.room import RoomMode

from .client import HomeserverAway, MatrixClient, Refused
from .moderation_rooms import ModerationRooms
from .protected_rooms import ProtectedRooms
from .reply import Reply

TIME_LIMIT_S = 5.0

log = logging.getLogger("policybot.rooms")


async def say_farewell(
    client: MatrixClient,
    moderation_rooms: ModerationRooms,
    protected_rooms: ProtectedRooms,
    prefix: str,
) -> None:
    """Tell each moderation room which of its rooms name us; at most `TIME_LIMIT_S` seconds."""

    async def say(moderation_room: str) -> None:
        rooms = [
            record.room_id
            for record in protected_rooms.owned_by(moderation_room)
            if record.mode is not RoomMode.DISABLED
        ]
        if not rooms:
            return
        notice = Reply.problem(
            "I am being switched off. These rooms name me as their policy server, and nobody can "
            "talk there until I run again:"
        )
        for room_id in rooms:
            notice.item().name(protected_rooms.name(room_id))
        notice.line().text("To do without me, switch me on once more and send ")
        rendered = notice.command("disable all").text(" first.").render(prefix)
        try:
            await client.send_notice(
                moderation_room,
                rendered.plain,
                rendered.html,
                transaction_id=f"policybot-farewell-{uuid.uuid4().hex}",
                time_limit=TIME_LIMIT_S,
            )
        except (Refused, HomeserverAway) as error:
            log.warning("The moderation room %s could not be told: %s", moderation_room, error)
            log.warning("Rooms that name me, and where nobody can talk: %s", ", ".join(rooms))

    await asyncio.gather(*(say(room_id) for room_id in moderation_rooms.ids()))
