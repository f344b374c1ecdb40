"""`rejoin`: the policy user comes back into rooms that it was removed from."""

from dataclasses import replace

import pytest

from .dedicated import NAMED, PATIENT_JOINS, POLICY_USER, Dedicated
from .fake_federation import AWAY, FORBIDDEN
from .fake_homeserver import Fault
from .moderated import ALICE, BOT, NAME, Moderated

POLICY = "m.room.policy"
CAROL = f"@carol:{NAME}"


async def kicked(dedicated: Dedicated, name: str = "Lobby", **options: object) -> str:
    """A protected room that the policy user was kicked from, which was told."""
    room_id = await dedicated.enabled(name, **options)
    await dedicated.kick(room_id, CAROL)
    await dedicated.notice(f"removed from “{name}”")
    await dedicated.caught_up()
    return room_id


@pytest.mark.parametrize("join_rule", ["public", "invite"])
async def test_rejoin(dedicated: Dedicated, join_rule: str) -> None:
    room_id = await kicked(dedicated, join_rule=join_rule)
    reply = await dedicated.ask(f"!policy rejoin {room_id}")
    assert reply == f"✅ {POLICY_USER} is in “Lobby” again."
    assert dedicated.membership(room_id) == "join"
    await dedicated.caught_up()
    assert len(dedicated.notices()) == 1  # the reply is enough
    assert (await dedicated.ask("!policy status")).startswith("✅ All is well.")
    assert "was in “Lobby” already." in await dedicated.ask(f"!policy rejoin {room_id}")


async def test_without_a_room_all_are_rejoined_where_it_is_missing(dedicated: Dedicated) -> None:
    rooms = [await kicked(dedicated, name) for name in ("One", "Two")]
    await dedicated.enabled("Three")
    off = await kicked(dedicated, "Off")
    await dedicated.ask(f"!policy disable {off}")
    before = len(dedicated.federation.joins)
    reply = await dedicated.ask("!policy rejoin")
    assert "“One” again" in reply and "“Two” again" in reply
    assert "Three" not in reply and "Off" not in reply
    assert [room for room, _ in dedicated.federation.joins[before:]] == rooms
    assert "is missing in no room here" in await dedicated.ask("!policy rejoin")


async def test_where_the_bot_is_not_any_more_nobody_is_sent(dedicated: Dedicated) -> None:
    room_id = await kicked(dedicated)
    await dedicated.homeserver.set_membership(room_id, BOT, "leave", CAROL)
    await dedicated.notice("I was removed from “Lobby”")
    before = len(dedicated.federation.joins)
    reply = await dedicated.ask(f"!policy rejoin {room_id}")
    assert reply == f"❌ “Lobby”: I am not in the room any more. Invite {BOT} to it first."
    assert len(dedicated.federation.joins) == before


async def test_nobody_rejoins_while_the_endpoint_does_not_answer(dedicated: Dedicated) -> None:
    """Who kicked the policy user to open a room that was closed is not locked out again."""
    room_id = await kicked(dedicated, join_rule="public")
    dedicated.front.answer = 404, "{}"
    reply = await dedicated.ask(f"!policy rejoin {room_id}")
    assert reply.startswith("❌") and "something else answers" in reply
    assert dedicated.membership(room_id) == "leave"
    assert (await dedicated.ask(f"!policy rejoin {room_id} --unchecked")).startswith("✅")
    assert dedicated.membership(room_id) == "join"


async def test_several_rooms_can_be_named(dedicated: Dedicated) -> None:
    one, two = await kicked(dedicated, "One"), await kicked(dedicated, "Two")
    reply = await dedicated.ask(f"!policy rejoin {two} {one} {two}")
    assert reply.count("✅") == 2
    assert dedicated.membership(one) == dedicated.membership(two) == "join"


async def test_a_ban_is_named_with_its_cure(dedicated: Dedicated) -> None:
    room_id = await dedicated.enabled()
    await dedicated.kick(room_id, CAROL, "ban")
    reply = await dedicated.ask(f"!policy rejoin {room_id}")
    assert reply.startswith(f"❌ “Lobby” is not checked. My user {POLICY_USER} is banned")
    assert f"has to lift that ban. Then write: !policy rejoin {room_id}" in reply
    await dedicated.kick(room_id, CAROL)
    assert (await dedicated.ask(f"!policy rejoin {room_id}")).startswith("✅")


async def test_without_the_power_to_invite_somebody_else_does_it(
    idle_dedicated: Dedicated,
) -> None:
    dedicated = idle_dedicated
    dedicated.pace = replace(dedicated.pace, joins=PATIENT_JOINS)
    await dedicated.start()
    room_id = await kicked(dedicated)
    levels = {"users": {BOT: 50}, "invite": 60}
    await dedicated.homeserver.set_state(room_id, CAROL, "m.room.power_levels", levels)
    reply = await dedicated.ask(f"!policy rejoin {room_id}")
    assert f"Invite {POLICY_USER} yourself, or give me that power level." in reply
    assert "I go on trying and tell you here when it worked." in reply
    await dedicated.homeserver.invite(room_id, POLICY_USER, CAROL)
    await dedicated.notice("✅ The policy server stands in “Lobby” now")
    assert dedicated.membership(room_id) == "join"


async def test_what_is_refused_for_good_is_not_tried_again(dedicated: Dedicated) -> None:
    room_id = await kicked(dedicated, join_rule="public")
    dedicated.federation.faults = [FORBIDDEN]
    reply = await dedicated.ask(f"!policy rejoin {room_id}")
    assert "“hs.example: You are not allowed here”. Somebody who moderates" in reply
    assert f"has to let it in. Then write: !policy rejoin {room_id}" in reply
    asked = len(dedicated.federation.joins)
    await dedicated.restart()
    assert len(dedicated.federation.joins) == asked


async def test_what_did_not_work_is_tried_again_also_after_a_restart(
    idle_dedicated: Dedicated,
) -> None:
    dedicated = idle_dedicated
    dedicated.pace = replace(dedicated.pace, joins=PATIENT_JOINS)
    await dedicated.start()
    room_id = await kicked(dedicated, join_rule="public")
    dedicated.federation.faults = [AWAY]
    assert "I go on trying" in await dedicated.ask(f"!policy rejoin {room_id}")
    await dedicated.restart()
    await dedicated.notice("✅ The policy server stands in “Lobby” now")
    assert dedicated.membership(room_id) == "join"


async def test_a_room_that_does_not_name_us_needs_enable(dedicated: Dedicated) -> None:
    room_id = await kicked(dedicated)
    await dedicated.homeserver.set_state(room_id, CAROL, POLICY, {})
    reply = await dedicated.ask(f"!policy rejoin {room_id}")
    assert "But the room does not name this policy server, so nothing is checked" in reply
    assert f"!policy enable {room_id}" in reply
    assert (await dedicated.ask(f"!policy enable {room_id}")).startswith("✅")
    assert dedicated.homeserver.rooms[room_id].content(POLICY) == NAMED


async def test_a_room_that_cannot_be_read_is_named(dedicated: Dedicated) -> None:
    room_id = await kicked(dedicated)
    dedicated.homeserver.fault("GET", f"{room_id}/state/", Fault.forbidden(times=1000))
    reply = await dedicated.ask(f"!policy rejoin {room_id}")
    assert "your homeserver does not let me read it" in reply and f"invite {BOT}" in reply


@pytest.mark.parametrize("which", ["nobody's", "another's", "disabled"])
async def test_only_rooms_that_are_enabled_here(dedicated: Dedicated, which: str) -> None:
    room_id = dedicated.room()
    if which != "nobody's":
        await dedicated.ask(f"!policy enable {room_id}")
    if which == "disabled":
        await dedicated.ask(f"!policy disable {room_id}")
        assert "Enable it instead" in await dedicated.ask(f"!policy rejoin {room_id}")
        return
    if which == "another's":
        rooms = dedicated.chat.protected_rooms
        record = rooms.record(room_id)
        assert record is not None
        await rooms.keep(replace(record, moderation_room="!others:example.org"))
    assert "I do not protect that room." in await dedicated.ask(f"!policy rejoin {room_id}")


async def test_with_the_homeservers_name_there_is_nobody_to_rejoin(bot: Moderated) -> None:
    reply = await bot.ask("!policy rejoin", ALICE)
    assert reply.startswith("❌ This policy server has the name of your homeserver")
    assert f"Invite {BOT} to the room instead." in reply
