"""Whoever comes late asks about all that was said, also before there was a policy server."""

import asyncio
import re

import pytest

from policybot.demo import acts
from policybot.demo.cast import Cast, body_of
from policybot.demo.network import Network
from policybot.demo.user import User
from policybot.protocol.canonical_json import JsonObject

from .conftest import MakeBot, MakeCast
from .orders import obeyed
from .seal import seal_of

OLD = re.compile(r"(\d+) events? [^.]*before the room was protected")
BEFORE, AFTER, SPAM = 12, 12, 8


async def history(user: User, room_id: str, expected: set[str]) -> list[JsonObject]:
    """The room's latest events as the user's homeserver shows them, once it has what it must.

    A homeserver fetches old events in the background after it was first asked for them.
    """
    async with asyncio.timeout(30):
        while True:
            events = await user.messages(room_id)
            if expected <= {body_of(event) for event in events}:
                return events
            await asyncio.sleep(0.1)


def reports(cast: Cast) -> list[str]:
    """The notices about refusals that the moderators have got."""
    bodies = [
        body_of(event)
        for event in cast.moderator.seen.events(cast.moderation_room)
        if event["sender"] == cast.bot.user_id
    ]
    return [body for body in bodies if body.startswith("🚫")]


def told_old(cast: Cast) -> int:
    """How many old events the moderators have heard of in all."""
    counts = (OLD.search(report) for report in reports(cast))
    return sum(int(count.group(1)) for count in counts if count is not None)


@pytest.mark.parametrize("version", ["10", "12"])
async def test_a_late_joiner_sees_what_was_said_before_and_after_enabling(
    network: Network, make_cast: MakeCast, make_bot: MakeBot, version: str
) -> None:
    cast = await make_cast()
    talker = await network.hs1.register(f"talker-{version}")
    rogue = await network.hs1.register(f"rogue-{version}")
    late = await network.hs2.register(f"late-{version}")
    bot = await make_bot(cast, start=False, reports={"first_delay": "1s", "interval": "1s"})
    await acts.start_bot(bot, cast)
    # Nobody of hs2 is in this room.
    room = await cast.moderator.create_room(
        name="Attic", preset="public_chat", room_version=version, invite=[cast.bot.user_id]
    )
    await cast.moderator.set_power_level(room, cast.bot.user_id, 100)
    for user in (talker, rogue):
        await user.join(room)

    for number in range(SPAM):
        await rogue.send_text(room, f"cheap watches {number}")
    for number in range(BEFORE):
        await talker.send_text(room, f"before {number}")
    await obeyed(cast, f"!policy enable {room}")
    await obeyed(cast, f"!policy ban {rogue.user_id} advertising")
    # Not as the last: the event before the join comes with it, before hs2 knows that it must ask.
    fresh = await rogue.send_text(room, "cheap watches again")
    for number in range(AFTER):
        await talker.send_text(room, f"after {number}")

    await late.join(room, via=[network.hs1.name])
    expected = {f"before {n}" for n in range(BEFORE)} | {f"after {n}" for n in range(AFTER)}
    events = await history(late, room, expected)
    assert [body_of(e) for e in reversed(events) if e["sender"] == talker.user_id] == [
        "",
        *(f"before {number}" for number in range(BEFORE)),
        *(f"after {number}" for number in range(AFTER)),
    ]
    assert [body_of(e) for e in events if e["sender"] == rogue.user_id] == [""]
    assert {e["type"] for e in events} >= {"m.room.create", "m.room.name", "m.room.power_levels"}
    seal = await seal_of(room, late)
    for text in ("before 0", "after 0"):
        event_id = next(e["event_id"] for e in events if body_of(e) == text)
        assert await seal.is_on(event_id, network.hs2)
    reply = await late.send_text(room, "I have read everything")
    await talker.wait_for_event_id(room, reply)

    async with asyncio.timeout(30):
        while told_old(cast) < SPAM:
            await cast.moderator.sync()
    marker = await obeyed(cast, f"!policy why {fresh}")
    assert rogue.user_id in marker
    assert told_old(cast) == SPAM
    named = [report for report in reports(cast) if rogue.user_id in report]
    assert len(named) == 1
    assert len(acts.REFERENCE_CODE.findall(named[0])) == 1
