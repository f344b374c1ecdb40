"""A raid on a homeserver that takes little from the bot's account."""

import pytest

from policybot.demo import acts
from policybot.demo.cast import Cast, body_of
from policybot.demo.network import Network
from policybot.demo.user import MatrixRefusal
from policybot.protocol.canonical_json import JsonObject

from .conftest import MakeBot, MakeCast
from .orders import obeyed

EVENTS = 20


async def limit(network: Network, cast: Cast) -> None:
    """Let the bot send two events at once, then one in a second: the limiter is Synapse's own,
    this is five times the rate that it allows ordinary accounts by default."""
    admin = await network.hs1.register(
        f"limiter-{cast.bot.user_id[1:].partition(':')[0]}", admin=True
    )
    await admin.request(
        "POST",
        "users",
        cast.bot.user_id,
        "override_ratelimit",
        root="/_synapse/admin/v1",
        body={"messages_per_second": 1, "burst_count": 2},
    )


def reports(cast: Cast) -> list[JsonObject]:
    """The reports that the moderator was shown, edits included."""
    return [
        event
        for event in cast.moderator.seen.events(cast.moderation_room)
        if event["sender"] == cast.bot.user_id and "🚫 " in body_of(event)
    ]


async def test_a_raid_is_one_notice_and_commands_are_answered(
    network: Network, make_cast: MakeCast, make_bot: MakeBot
) -> None:
    cast = await make_cast()
    bot = await make_bot(cast, start=False, reports={"first_delay": "0s", "interval": "0s"})
    await acts.start_bot(bot, cast)
    await acts.enable(cast)
    await obeyed(cast, f"!policy ban {cast.spammer.user_id} advertising")
    await limit(network, cast)
    for number in range(EVENTS):
        with pytest.raises(MatrixRefusal):
            await cast.spammer.send_text(cast.lounge, f"cheap watches {number}")
        if number % 10 == 9:
            await obeyed(cast, "!policy help")
    last = await cast.moderator.wait_for_event(
        cast.moderation_room,
        lambda event: f"Refused: {EVENTS} events by 1 sender in 1 room" in body_of(event),
    )
    assert any("The homeserver asks to wait" in line for line in bot.log_tail(1_000))
    first, *edits = reports(cast)
    assert last is edits[-1]
    for edit in edits:
        relation = edit["content"]["m.relates_to"]
        assert relation == {"rel_type": "m.replace", "event_id": first["event_id"]}
    shown = await cast.moderator.event(cast.moderation_room, first["event_id"])
    assert shown is not None
    replaced = shown["unsigned"]["m.relations"]["m.replace"]["content"]["m.new_content"]
    assert replaced["body"].startswith(f"🚫 Refused: {EVENTS} events")
