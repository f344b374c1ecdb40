"""Following protected rooms: what others do to the policy server is told once."""

import pytest

from .fake_homeserver import Fault
from .moderated import ALICE, BOT, NAME, OTHER_KEY, OURS, SPAMMER, Moderated

POLICY = "m.room.policy"
CAROL = f"@carol:{NAME}"
OTHER = {"via": "other.example", "public_keys": {"ed25519": "A" * 43}}


@pytest.mark.parametrize(
    ("content", "told", "cure"),
    [
        ({}, "was removed by", "enable {room}"),
        (OTHER, "was replaced by other.example by", "enable {room} --replace"),
        (OTHER_KEY, "carries another key than mine, so nobody can talk there", "enable {room}"),
        ({"via": 7}, "was removed by", "enable {room}"),
        ({"via": NAME}, "was removed by", "enable {room}"),
    ],
)
async def test_a_change_by_others_is_told_once_and_its_cure_works(
    bot: Moderated, content: dict[str, object], told: str, cure: str
) -> None:
    room_id = await bot.enabled()
    await bot.homeserver.set_state(room_id, CAROL, POLICY, content)
    notice = await bot.notice("⚠️ The policy server of “Lobby”", told, CAROL)
    command = f"!policy {cure.format(room=room_id)}"
    assert notice.endswith(command)
    await bot.homeserver.set_state(room_id, CAROL, "m.room.name", {"name": "Lobby"})
    await bot.caught_up()
    assert len(bot.notices()) == 1
    assert (await bot.ask(command)).startswith("✅")
    assert bot.homeserver.rooms[room_id].content(POLICY) == OURS


async def test_a_removal_that_is_taken_back_is_told(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.homeserver.set_state(room_id, CAROL, POLICY, {})
    await bot.notice("was removed")
    await bot.homeserver.set_state(room_id, CAROL, POLICY, OURS)
    await bot.notice("✅ The policy server stands in “Lobby” now")


async def test_a_removal_while_the_bot_was_away_is_told_at_start(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.stop()
    await bot.homeserver.set_state(room_id, CAROL, POLICY, {})
    await bot.start()
    await bot.notice("was removed", CAROL)
    assert len(bot.notices()) == 1


async def test_kicked_from_a_room(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.ask(f"!policy ban {SPAMMER}")
    await bot.homeserver.set_membership(room_id, BOT, "leave", CAROL)
    notice = await bot.notice("⚠️ I was removed from “Lobby”", CAROL)
    assert "I still answer for it" in notice and f"!policy disable {room_id}" in notice
    assert not (await bot.sign(room_id)).signed
    status = await bot.ask("!policy status")
    assert "I am not in the room any more" in status
    await bot.restart()
    assert not (await bot.sign(room_id)).signed
    # once for each start: nobody may have read the first
    assert len([n for n in bot.notices() if "I was removed" in n]) == 2
    reply = await bot.ask(f"!policy disable {room_id}")
    assert reply.startswith("❌ I could not take the policy server out")
    assert (await bot.sign(room_id)).signed


async def test_invited_again_after_a_kick(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.homeserver.set_membership(room_id, BOT, "leave", CAROL)
    await bot.notice("I was removed from")
    await bot.homeserver.set_membership(room_id, BOT, "invite", ALICE)
    await bot.caught_up()
    await bot.caught_up()
    assert "“Lobby”: protected" in await bot.ask("!policy status")


async def test_new_power_levels_count_for_the_next_event(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.ask(f"!policy ban {SPAMMER}")
    levels = {"users": {BOT: 100, SPAMMER: 50}}
    await bot.homeserver.set_state(room_id, CAROL, "m.room.power_levels", levels)
    await bot.caught_up()
    assert (await bot.sign(room_id)).signed


async def test_a_state_event_is_only_a_hint(bot: Moderated) -> None:
    """What counts is what the room says when it is read, not what came by sync."""
    room_id = await bot.enabled()
    gate = bot.homeserver.gate("GET", f"{room_id}/state/m.room.create")
    await bot.homeserver.set_state(room_id, CAROL, POLICY, {})
    await bot.homeserver.set_state(room_id, CAROL, POLICY, OURS)
    gate.set()
    await bot.caught_up()
    assert bot.notices() == []


async def test_a_reading_that_fails_is_repeated(
    bot: Moderated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policybot.bot.updates.RETRY_FIRST_S", 0.01)
    room_id = await bot.enabled()
    bot.homeserver.fault("GET", f"{room_id}/state/", Fault.bad_gateway(times=3))
    await bot.homeserver.set_state(room_id, CAROL, POLICY, {})
    await bot.notice("was removed")


async def test_a_room_that_becomes_unreadable_keeps_what_was_known(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.ask(f"!policy ban {SPAMMER}")
    bot.homeserver.fault("GET", f"{room_id}/state/", Fault.forbidden(times=99))
    await bot.homeserver.set_state(room_id, CAROL, "m.room.name", {"name": "Hall"})
    await bot.caught_up()
    assert not (await bot.sign(room_id)).signed


async def test_rooms_are_answered_before_the_homeserver_is_asked(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.ask(f"!policy ban {SPAMMER}")
    await bot.stop()
    bot.homeserver.fault("GET", "/", Fault.bad_gateway(times=10_000))
    bot.homeserver.fault("POST", "/join", Fault.bad_gateway(times=10_000))
    await bot.begin()
    # the member's key came before and was kept
    assert not (await bot.sign(room_id)).signed
    assert not bot.chat.care.found.is_set()
    bot.homeserver.mend()
    await bot.caught_up()
