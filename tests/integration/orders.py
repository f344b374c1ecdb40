"""What the moderator orders and that it was done, and what he is told unasked."""

from policybot.demo.cast import ACCEPTED, Cast, body_of

WAIT_S = 30.0


async def obeyed(cast: Cast, command: str) -> str:
    """Send a command that the bot must carry out, and return its reply."""
    reply = await cast.command(command)
    assert reply.startswith(ACCEPTED), f"{command}: {reply}"
    return reply


async def agreed(cast: Cast, command: str) -> tuple[str, str]:
    """Send a command that the bot must ask about, tap on the reaction that it offers, and return
    the question and the reply."""
    room, bot, moderator = cast.moderation_room, cast.bot.user_id, cast.moderator
    event_id = await moderator.send_text(room, command)
    question = await moderator.wait_for_event(
        room,
        lambda event: event["sender"] == bot and body_of(event).startswith("❓"),
        after=event_id,
        deadline=WAIT_S,
    )
    offer = await moderator.wait_for_event(
        room,
        lambda event: event["sender"] == bot and event["type"] == "m.reaction",
        after=question["event_id"],
    )
    assert offer["content"]["m.relates_to"]["event_id"] == question["event_id"]
    tap = await moderator.send_event(room, "m.reaction", offer["content"])
    reply = await moderator.wait_for_event(
        room,
        lambda event: event["sender"] == bot and body_of(event).startswith(ACCEPTED),
        after=tap,
        deadline=WAIT_S,
    )
    return body_of(question), body_of(reply)


async def told(cast: Cast, *words: str, after: str | None = None) -> str:
    """What the bot tells the moderation room, with all these words, ``after`` an event."""
    event = await cast.moderator.wait_for_event(
        cast.moderation_room,
        lambda event: (
            event["sender"] == cast.bot.user_id and all(word in body_of(event) for word in words)
        ),
        after=after,
    )
    return body_of(event)
