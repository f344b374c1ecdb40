"""The order of effects of enable and disable, when the homeserver fails or the process ends."""

import asyncio
import json

import pytest

from policybot.policy.room import RoomMode
from policybot.protocol.canonical_json import JsonObject

from .fake_homeserver import Fault
from .moderated import BOT, NAME, OTHER_KEY, OURS, SPAMMER, Moderated, ban

POLICY = "m.room.policy"
UNSTABLE = "org.matrix.msc4284.policy"
PUT_POLICY = "/state/m.room.policy"
CAROL = f"@carol:{NAME}"
AWAY_BUT_DONE = Fault(502, body="<html>Bad Gateway</html>", after_the_deed=True)
DAY_MS = 24 * 3_600_000


def policy(bot: Moderated, room_id: str) -> object:
    return bot.homeserver.rooms[room_id].content(POLICY)


async def test_the_room_is_answered_before_its_state_event_is_sent(bot: Moderated) -> None:
    room_id = bot.room()
    bot.homeserver.fault("PUT", PUT_POLICY, Fault.hang())
    event_id = await bot.say(f"!policy enable {room_id}")
    await bot.homeserver.wait_for(lambda: bot.homeserver.calls("PUT", PUT_POLICY))
    assert (await bot.sign(room_id)).signed
    assert not bot.replies(event_id)


async def test_a_state_send_without_answer_that_worked(bot: Moderated) -> None:
    room_id = bot.room()
    bot.homeserver.fault("PUT", PUT_POLICY, AWAY_BUT_DONE)
    assert (await bot.ask(f"!policy enable {room_id}")).startswith("✅ “Lobby” is protected.")
    assert policy(bot, room_id) == OURS


async def test_a_refused_state_send_is_undone(bot: Moderated) -> None:
    room_id = bot.room()
    bot.homeserver.fault("PUT", PUT_POLICY, Fault(403, "M_FORBIDDEN"))
    reply = await bot.ask(f"!policy enable {room_id}")
    assert "refused to set the policy server" in reply and "Nothing was changed" in reply
    assert policy(bot, room_id) == {}
    assert (await bot.sign(room_id)).status == 404
    await bot.restart()
    assert (await bot.sign(room_id)).status == 404


async def test_a_refused_state_send_that_took_effect_counts(bot: Moderated) -> None:
    """A proxy may turn the answer to a send that worked into an error."""
    room_id = bot.room()
    bot.homeserver.fault("PUT", PUT_POLICY, Fault(403, "M_FORBIDDEN", after_the_deed=True))
    assert (await bot.ask(f"!policy enable {room_id}")).startswith("✅")
    assert (await bot.sign(room_id)).signed


async def test_refused_and_unknown_what_stands_stays_protected(bot: Moderated) -> None:
    room_id = bot.room()
    gate = bot.homeserver.gate("PUT", PUT_POLICY)
    bot.homeserver.fault("PUT", PUT_POLICY, Fault(403, "M_FORBIDDEN"))
    event_id = await bot.say(f"!policy enable {room_id}")
    await bot.homeserver.wait_for(lambda: bot.homeserver.calls("PUT", PUT_POLICY))
    bot.homeserver.fault("GET", f"{room_id}/state/", Fault.bad_gateway(times=1000))
    gate.set()
    reply = (await bot.reply_to(event_id))["body"]
    assert "does not tell what stands in the room. I answer for it until I know" in reply
    assert (await bot.sign(room_id)).signed


async def test_unknown_whether_it_was_taken_is_told_when_it_is_known(bot: Moderated) -> None:
    room_id = bot.room()
    gate = bot.homeserver.gate("PUT", PUT_POLICY)
    bot.homeserver.fault("PUT", PUT_POLICY, AWAY_BUT_DONE)
    event_id = await bot.say(f"!policy enable {room_id}")
    await bot.homeserver.wait_for(lambda: bot.homeserver.calls("PUT", PUT_POLICY))
    bot.homeserver.fault("GET", f"{room_id}/state/", Fault.bad_gateway(times=1000))
    gate.set()
    reply = (await bot.reply_to(event_id))["body"]
    assert "does not tell whether it took it. I answer for the room" in reply
    assert (await bot.sign(room_id)).signed
    bot.homeserver.mend()
    await bot.notice("✅ The policy server stands in “Lobby” now; its events are checked.")


# -- without power --------------------------------------------------------------------------------


async def test_without_power_the_reply_holds_what_to_paste(bot: Moderated) -> None:
    room_id = bot.room(power_levels={})
    reply = await bot.ask(f"!policy enable {room_id}")
    assert reply.startswith("❌ I may not set the policy server there: my power level is 0")
    for part in ("needed is 50", "/devtools", "Explore room state", "m.room.policy"):
        assert part in reply
    start = reply.index("{")
    pasted = json.loads(reply[start : reply.rindex("}") + 1])
    assert pasted == OURS
    # answered from then on, or the room would be closed the moment that somebody pastes it
    assert (await bot.sign(room_id)).signed
    await bot.homeserver.set_state(room_id, CAROL, POLICY, pasted)
    await bot.notice(f"✅ “Lobby” is now protected: {CAROL} set m.room.policy as it should be")
    await bot.caught_up()
    assert len(bot.notices()) == 1
    assert "“Lobby”: protected" in await bot.ask("!policy status")


async def test_what_was_pasted_while_the_bot_was_away_is_told_at_start(bot: Moderated) -> None:
    room_id = bot.room(power_levels={})
    await bot.ask(f"!policy enable {room_id}")
    await bot.stop()
    await bot.homeserver.set_state(room_id, CAROL, POLICY, OURS)
    await bot.start()
    await bot.notice("✅ “Lobby” is now protected: ")
    await bot.restart()
    assert len(bot.notices()) == 1


KEY = OURS["public_keys"]["ed25519"]
SLIPS = [
    (POLICY, OTHER_KEY, "carries another key than mine, so nobody can talk there. It was set"),
    (
        POLICY,
        {**OURS, "via": "exmaple.org"},
        "is not right: not example.org is named but exmaple.org, which is asked instead",
    ),
    (POLICY, {"via": NAME}, "is not right: no server name with a key can be read there"),
    (POLICY, {"content": OURS}, "is not right: no server name with a key can be read there"),
    (POLICY, {**OURS, "via": f"https://{NAME}"}, "is not right: no server name with a key"),
    (UNSTABLE, OURS, f"is not right: it stands under the old type {UNSTABLE}"),
    (UNSTABLE, {"via": NAME, "public_key": KEY}, "is not right: it stands under the old type"),
]


@pytest.mark.parametrize("away", [False, True], ids=["", "while away"])
@pytest.mark.parametrize(("event_type", "content", "told"), SLIPS)
async def test_a_slip_while_pasting_is_told_once_with_what_is_right(
    bot: Moderated, event_type: str, content: JsonObject, told: str, away: bool
) -> None:
    room_id = bot.room(power_levels={})
    await bot.ask(f"!policy enable {room_id}")
    if away:
        await bot.stop()
    await bot.homeserver.set_state(room_id, CAROL, event_type, content)
    if away:
        await bot.start()
    notice = await bot.notice("⚠️ The policy server of “Lobby”", told)
    assert f"by {CAROL}" in notice and f"!policy enable {room_id}" in notice
    assert "give me the power level 50" in notice
    assert json.loads(notice[notice.index("{") : notice.rindex("}") + 1]) == OURS
    await bot.homeserver.set_state(room_id, CAROL, "m.room.name", {"name": "Lobby"})
    await bot.caught_up()
    assert len(bot.notices()) == 1
    # nobody is refused for want of a rule, whatever stands there
    assert (await bot.sign(room_id)).signed
    await bot.homeserver.set_state(room_id, CAROL, POLICY, OURS)
    await bot.notice(f"✅ “Lobby” is now protected: {CAROL}")
    await bot.caught_up()
    assert len(bot.notices()) == 2


@pytest.mark.parametrize(("event_type", "content", "told"), [SLIPS[0], SLIPS[5]])
async def test_the_hourly_check_mends_a_slip_once_it_may(
    moderated: Moderated, event_type: str, content: JsonObject, told: str
) -> None:
    moderated.quicken()
    await moderated.start()
    room_id = moderated.room(power_levels={})
    await moderated.ask(f"!policy enable {room_id}")
    await moderated.homeserver.set_state(room_id, CAROL, event_type, content)
    await moderated.notice(told)
    await moderated.homeserver.set_state(
        room_id, CAROL, "m.room.power_levels", {"users": {BOT: 50}}
    )
    await moderated.notice("✅ The policy server stands in “Lobby” now")
    assert policy(moderated, room_id) == OURS


async def test_what_is_pasted_into_a_disabled_room_is_told(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.ask(f"!policy disable {room_id}")
    await bot.homeserver.set_state(room_id, CAROL, POLICY, OURS)
    notice = await bot.notice(f"⚠️ {CAROL} set the policy server in “Lobby” again")
    assert "I sign everything there" in notice and f"!policy enable {room_id}" in notice
    await bot.caught_up()
    assert len(bot.notices()) == 1
    assert (await bot.sign(room_id)).signed


async def test_power_given_later_is_used_by_the_hourly_check(moderated: Moderated) -> None:
    moderated.quicken()
    await moderated.start()
    room_id = moderated.room(power_levels={})
    await moderated.ask(f"!policy enable {room_id}")
    await moderated.homeserver.set_state(
        room_id, CAROL, "m.room.power_levels", {"users": {BOT: 50}}
    )
    await moderated.notice("✅ The policy server stands in “Lobby” now")
    assert policy(moderated, room_id) == OURS


# -- the end of the process in between, too long ago to carry out the command once more ----------

TOO_OLD_MS = 6 * 60_000


async def test_an_end_between_wish_and_state_event(bot: Moderated) -> None:
    room_id = bot.room()
    bot.homeserver.fault("PUT", PUT_POLICY, Fault.hang())
    await bot.say(f"!policy enable {room_id}")
    await bot.homeserver.wait_for(lambda: bot.homeserver.calls("PUT", PUT_POLICY))
    await bot.stop()
    assert policy(bot, room_id) == {}
    bot.clock.now += TOO_OLD_MS
    await bot.start()
    await bot.notice("✅ The policy server stands in “Lobby” now")
    assert policy(bot, room_id) == OURS
    assert (await bot.sign(room_id)).signed


async def test_an_end_between_the_wish_to_disable_and_the_state_event(bot: Moderated) -> None:
    room_id = await bot.enabled()
    bot.homeserver.fault("PUT", PUT_POLICY, Fault.hang())
    await bot.say(f"!policy disable {room_id}")
    await bot.homeserver.wait_for(lambda: len(bot.homeserver.calls("PUT", PUT_POLICY)) == 2)
    await bot.stop()
    assert policy(bot, room_id) == OURS
    bot.clock.now += TOO_OLD_MS
    await bot.start()
    await bot.notice("✅ The policy server is out of “Lobby” now.")
    assert policy(bot, room_id) == {}


async def test_an_unfinished_wish_does_not_replace_what_others_set(bot: Moderated) -> None:
    room_id = bot.room()
    bot.homeserver.fault("PUT", PUT_POLICY, Fault.hang())
    await bot.say(f"!policy enable {room_id}")
    await bot.homeserver.wait_for(lambda: bot.homeserver.calls("PUT", PUT_POLICY))
    await bot.stop()
    other = {"via": "other.example", "public_keys": {"ed25519": "A" * 43}}
    await bot.homeserver.set_state(room_id, CAROL, POLICY, other)
    await bot.start()
    await bot.notice("“Lobby”", "other.example", f"!policy enable {room_id} --replace")
    assert policy(bot, room_id) == other


async def test_what_others_took_away_is_not_set_again(moderated: Moderated) -> None:
    """The hourly check carries on with wishes; it does not fight with a room's administrators."""
    moderated.quicken()
    await moderated.start()
    room_id = await moderated.enabled()
    await moderated.homeserver.set_state(room_id, CAROL, POLICY, {})
    await moderated.notice("was removed", f"by {CAROL}")
    await moderated.maintained()
    await moderated.maintained()
    assert policy(moderated, room_id) == {}
    assert len(moderated.notices()) == 1


# -- dropping -------------------------------------------------------------------------------------


async def test_a_disabled_room_is_dropped_after_seven_days(moderated: Moderated) -> None:
    moderated.quicken()
    await moderated.start()
    room_id = await moderated.enabled()
    await moderated.ask(f"!policy disable {room_id}")
    moderated.clock.now += 7 * DAY_MS - 60_000
    await moderated.maintained()
    assert (await moderated.sign(room_id)).signed
    moderated.clock.now += 60_000
    await moderated.maintained()
    assert (await moderated.sign(room_id)).status == 404
    assert (await moderated.restarted()).chat.protected_rooms.record(room_id) is None


async def test_a_room_that_still_names_us_is_never_dropped(moderated: Moderated) -> None:
    moderated.quicken()
    await moderated.start()
    room_id = await moderated.enabled()
    await moderated.homeserver.set_state(room_id, CAROL, "m.room.power_levels", {"users": {}})
    await moderated.ask(f"!policy disable {room_id}")
    moderated.clock.now += 8 * DAY_MS
    await moderated.maintained()
    assert (await moderated.sign(room_id)).signed


async def test_a_room_that_cannot_be_read_is_never_dropped(moderated: Moderated) -> None:
    moderated.quicken()
    await moderated.start()
    room_id = await moderated.enabled()
    await moderated.ask(f"!policy disable {room_id}")
    await moderated.homeserver.set_membership(room_id, BOT, "ban", CAROL)
    moderated.clock.now += 8 * DAY_MS
    await moderated.maintained()
    assert (await moderated.sign(room_id)).signed


@pytest.mark.parametrize("how", ["by hand", "by the hourly check", "by command"])
async def test_the_seven_days_begin_when_our_name_is_gone(moderated: Moderated, how: str) -> None:
    if how != "by command":
        moderated.quicken()
    await moderated.start()
    room_id = await moderated.enabled()
    powerless: JsonObject = {"users": {}}
    await moderated.homeserver.set_state(room_id, CAROL, "m.room.power_levels", powerless)
    assert (await moderated.ask(f"!policy disable {room_id}")).startswith("❌")
    moderated.clock.now += 8 * DAY_MS
    if how == "by hand":
        await moderated.homeserver.set_state(room_id, CAROL, POLICY, {})
    else:
        levels = {"users": {BOT: 50}}
        await moderated.homeserver.set_state(room_id, CAROL, "m.room.power_levels", levels)
    if how == "by command":
        assert (await moderated.chat.release.disable(room_id, moderated.mods, CAROL)).settled
        moderated.quicken()
        await moderated.restart()
    else:
        await moderated.notice("✅ The policy server is out of “Lobby” now.")
    moderated.clock.now += 7 * DAY_MS - 60_000
    await moderated.maintained()
    assert (await moderated.sign(room_id)).signed
    moderated.clock.now += 60_000
    await moderated.maintained()
    assert (await moderated.sign(room_id)).status == 404


# -- order ----------------------------------------------------------------------------------------


async def test_one_lock_per_room(bot: Moderated) -> None:
    """Disable waits for enable: what was asked for last is what stands."""
    room_id = bot.room()
    gate = bot.homeserver.gate("PUT", PUT_POLICY)
    first = await bot.say(f"!policy enable {room_id}")
    await bot.homeserver.wait_for(lambda: bot.homeserver.calls("PUT", PUT_POLICY))
    release = bot.chat.release
    disabling = asyncio.create_task(release.disable(room_id, bot.mods, CAROL))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not disabling.done()
    gate.set()
    assert (await bot.reply_to(first))["body"].startswith("✅")
    assert (await disabling).settled
    assert policy(bot, room_id) == {}
    record = bot.chat.protected_rooms.record(room_id)
    assert record is not None and record.mode is RoomMode.DISABLED


async def test_a_reading_by_sync_waits_for_the_command(bot: Moderated) -> None:
    """An event that the command itself makes is no change by somebody else."""
    list_id = bot.policy_list(a=ban(SPAMMER))
    await bot.ask(f"!policy watch {list_id}")
    for name in ("One", "Two"):
        room_id = await bot.enabled(name)
        await bot.ask(f"!policy disable {room_id}")
        await bot.ask(f"!policy enable {room_id}")
    await bot.caught_up()
    assert bot.notices() == []
