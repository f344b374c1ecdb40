"""Without power: the policy server is set by hand, tried out, and then used in earnest."""

import json

import pytest

from policybot.demo import acts
from policybot.demo.cast import REFUSED, body_of
from policybot.demo.network import Network
from policybot.demo.user import MatrixRefusal
from policybot.protocol.policy_event import POLICY_EVENT

from .conftest import MakeBot, MakeCast
from .orders import obeyed
from .seal import seal_of


async def test_set_by_hand_tried_out_and_used_in_earnest(
    network: Network, make_cast: MakeCast, make_bot: MakeBot
) -> None:
    cast = await make_cast()
    room, spammer = cast.lounge, cast.spammer
    bot = await make_bot(cast, start=False, reports={"first_delay": "0s", "interval": "1s"})
    await acts.start_bot(bot, cast)
    await cast.moderator.set_power_level(room, cast.bot.user_id, 0)

    # The moderator pastes what the bot shows, and the bot notices.
    reply = await cast.command(f"!policy enable {cast.lounge_alias} --dry-run")
    assert reply.startswith(REFUSED)
    content = json.loads(reply[reply.index("{") : reply.rindex("}") + 1])
    await cast.moderator.send_state(room, POLICY_EVENT, content)
    await cast.moderator.wait_for_event(
        cast.moderation_room,
        lambda event: body_of(event).startswith("✅ “Lounge” is now protected: "),
    )
    await cast.visitor.wait_for_event(room, lambda event: event["type"] == POLICY_EVENT)
    seal = await seal_of(room, cast.visitor)

    # Who is banned still talks, and the moderators read what would have happened.
    await obeyed(cast, f"!policy ban {spammer.user_id} advertising")
    spam = await spammer.send_text(room, "cheap watches")
    await cast.moderator.wait_for_event_id(room, spam)
    assert await seal.is_on(spam, network.hs2)
    await cast.moderator.wait_for_event(
        cast.moderation_room,
        lambda event: (
            body_of(event).startswith("🚫 Dry run, would have been refused: ")
            and spammer.user_id in body_of(event)
        ),
    )

    # In earnest he is refused, unless he is exempt.
    assert "in earnest now" in await obeyed(cast, f"!policy enable {cast.lounge_alias}")
    with pytest.raises(MatrixRefusal) as refusal:
        await spammer.send_text(room, "more watches")
    assert (refusal.value.status, refusal.value.errcode) == (400, "M_FORBIDDEN")
    await obeyed(cast, f"!policy allow {spammer.user_id} he means well")
    await cast.moderator.wait_for_event_id(room, await spammer.send_text(room, "last watches"))
