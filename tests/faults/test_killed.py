"""`kill -9` in each step of the commands that change something.

A step is a request to the homeserver: whatever is stored between two requests is stored when the
second one comes. After the restart everything is as it was wished, and the moderator has his one
reply.
"""

from typing import Any

import pytest

from tests.bot.moderated import ALICE, BOB, BOT, NAME, OURS, SPAMMER

from .live import Live, Step

OTHER = {"via": "policy.example", "public_keys": {"ed25519": "x" * 43}}

ASKED = Step("the moderator's rights are read", "GET", "/state/m.room.power_levels")
REPLY = "/send/m.room.message/policybot-reply-"
REPLYING = (
    Step("the reply was not sent", "PUT", REPLY),
    Step("the reply was sent", "PUT", REPLY, done=True),
)
POLICY = "/state/m.room.policy"

ENABLE = (
    ASKED,
    Step("the room was not entered", "POST", "/join/"),
    Step("the room was entered", "POST", "/join/", done=True),
    Step("the room is read", "GET", "/state/m.room.canonical_alias"),
    Step("the delivery of keys is checked", "GET", "/key/v2/server"),
    Step("keys are fetched in advance", "POST", "/key/v2/query", skip=1),
    Step("the state event was not set", "PUT", POLICY),
    Step("the state event was set", "PUT", POLICY, done=True),
    Step("the room is read back", "GET", "/state/m.room.canonical_alias", skip=1),
    *REPLYING,
)
DISABLE = (
    ASKED,
    Step("the room is read", "GET", "/state/m.room.canonical_alias"),
    Step("the state event was not emptied", "PUT", POLICY),
    Step("the state event was emptied", "PUT", POLICY, done=True),
    Step("the room is read back", "GET", "/state/m.room.canonical_alias", skip=1),
    *REPLYING,
)
BAN = (
    ASKED,
    Step("members are looked for", "GET", f"/state/m.room.member/{SPAMMER}"),
    Step("an older list is looked for", "GET", "/joined_rooms"),
    Step("the list was not made", "POST", "/createRoom"),
    Step("the list was made", "POST", "/createRoom", done=True),
    Step("nobody was invited", "POST", "/invite"),
    Step("one was invited", "POST", "/invite", done=True),
    Step("all were invited", "POST", "/invite", done=True, skip=1),
    Step("the rule was not written", "PUT", "/state/m.policy.rule.user"),
    Step("the rule was written", "PUT", "/state/m.policy.rule.user", done=True),
    *REPLYING,
)


def name_of(step: Step) -> str:
    return step.name.replace(" ", "-")


def policy_of(live: Live, room_id: str) -> dict[str, Any]:
    return live.homeserver.rooms[room_id].content("m.room.policy")


async def one_reply(live: Live, event_id: str) -> str:
    """The reply to a command, which is the only one. That the room was found changed may have
    been said as well, once."""
    reply = await live.reply_to(event_id)
    assert (await live.ask("!policy help")).startswith("✅")
    assert len(live.replies(event_id)) == 1
    assert len(live.notices()) <= 1
    return str(reply["body"])


@pytest.mark.parametrize("step", ENABLE, ids=name_of)
async def test_enable(live: Live, step: Step) -> None:
    room_id = live.room(join_rule="public", members=[SPAMMER])
    await live.start()
    event_id = await live.killed_in(f"!policy enable {room_id}", step)
    stood = policy_of(live, room_id) == OURS
    await live.begin()
    if stood:  # then other servers ask at once
        assert (await live.sign(room_id)).status == 200
    assert (await one_reply(live, event_id)).startswith("✅ “Lobby”")
    assert policy_of(live, room_id) == OURS
    assert (await live.sign(room_id)).status == 200


@pytest.mark.parametrize("step", ENABLE[6:10], ids=name_of)
async def test_enable_in_place_of_another_policy_server(live: Live, step: Step) -> None:
    room_id = live.room()
    await live.homeserver.set_state(room_id, BOT, "m.room.policy", OTHER)
    await live.start()
    event_id = await live.killed_in(f"!policy enable {room_id} --replace", step)
    assert policy_of(live, room_id) in (OTHER, OURS)
    await live.begin()
    assert (await one_reply(live, event_id)).startswith("✅ “Lobby”")
    assert policy_of(live, room_id) == OURS


@pytest.mark.parametrize("step", DISABLE, ids=name_of)
async def test_disable(live: Live, step: Step) -> None:
    room_id = live.room()
    await live.start()
    assert (await live.ask(f"!policy enable {room_id}")).startswith("✅")
    await live.stop()
    await live.start()
    event_id = await live.killed_in(f"!policy disable {room_id}", step)
    await live.begin()
    assert (await live.sign(room_id)).status == 200
    assert (await one_reply(live, event_id)).startswith("✅ The policy server is out of “Lobby”")
    assert policy_of(live, room_id) == {}


@pytest.mark.parametrize("step", BAN, ids=name_of)
async def test_the_first_ban(live: Live, step: Step) -> None:
    room_id = live.room()
    await live.start()
    assert (await live.ask(f"!policy enable {room_id}")).startswith("✅")
    await live.stop()
    await live.start()
    event_id = await live.killed_in(f"!policy ban {SPAMMER} spam", step)
    await live.begin()
    assert f"anned {SPAMMER}" in (await one_reply(live, event_id)).replace(" already:", "")
    (made,) = [
        room
        for room in live.homeserver.rooms.values()
        if room.content("m.room.create").get("type") == "m.policy"
    ]
    assert [made.membership(user) for user in (ALICE, BOB)] == ["invite", "invite"]
    rules = [event for event in made.since(0) if event["type"] == "m.policy.rule.user"]
    assert len({(event["state_key"], str(event["content"])) for event in rules}) == 1
    assert (await live.sign(room_id)).status == 400
    assert NAME in await live.ask("!policy status")
