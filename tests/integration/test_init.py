"""What `policybot init` makes, on a real homeserver."""

import pytest
import yaml

from policybot.config import parse_config
from policybot.demo.network import Network
from policybot.demo.user import MatrixRefusal
from policybot.init import Answers, prepare

from .conftest import MakeCast


async def test_the_moderator_owns_the_new_room_and_strangers_cannot_enter(
    network: Network, make_cast: MakeCast
) -> None:
    cast = await make_cast()
    bot, moderator = cast.bot, cast.moderator
    hs1, password = network.hs1, bot.account.password
    given = Answers(hs1.url, bot.user_id, password, hs1.name, None, moderator.user_id)
    config = parse_config(yaml.safe_load(await prepare(given)))
    room_id = config.moderation_rooms[0].room

    await moderator.join(room_id)
    assert await moderator.state_event(room_id, "m.room.join_rules") == {"join_rule": "invite"}
    assert await moderator.state_event(room_id, "m.room.encryption") is None
    with pytest.raises(MatrixRefusal):
        await cast.visitor.join(room_id, [network.hs1.name])
    # As much as the bot, in a room version where creators have no level too.
    await moderator.send_state(room_id, "m.room.name", {"name": "Ours"})
    levels = await moderator.state_event(room_id, "m.room.power_levels")
    assert levels is not None
    await moderator.send_state(
        room_id, "m.room.power_levels", {**levels, "users": {**levels["users"], "@x:y": 50}}
    )
