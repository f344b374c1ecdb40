"""Commands that the process ended in: carried out once more, or told."""

import pytest

from .moderated import OURS, SPAMMER, Moderated

MINUTE_MS = 60_000


async def broken_off(
    bot: Moderated, room_id: str, step: tuple[str, str] = ("PUT", "/state/m.room.policy")
) -> str:
    """Stop the bot while it carries out an `enable`; the event ID."""
    opened = bot.homeserver.gate(*step)
    event_id = await bot.say(f"!policy enable {room_id}")
    await bot.homeserver.wait_for(lambda: bot.homeserver.gates_left() == 0)
    await bot.stop()
    opened.set()
    return event_id


async def test_a_command_is_carried_on_with_and_answered_once(bot: Moderated) -> None:
    event_id = await broken_off(bot, bot.room())
    await bot.start()
    assert str((await bot.reply_to(event_id))["body"]).startswith("✅ “Lobby”")
    await bot.restart()
    assert len(bot.replies(event_id)) == 1


async def test_commands_that_waited_are_carried_on_with_too(bot: Moderated) -> None:
    lobby, hall = bot.room("Lobby"), bot.room("Hall")
    opened = bot.homeserver.gate("PUT", "/state/m.room.policy")
    first = await bot.say(f"!policy enable {lobby}")
    await bot.homeserver.wait_for(lambda: bot.homeserver.gates_left() == 0)
    second = await bot.say(f"!policy enable {hall}")
    await bot._synced()
    await bot.stop()
    opened.set()
    await bot.start()
    assert "“Lobby”" in str((await bot.reply_to(first))["body"])
    assert "“Hall” is protected" in str((await bot.reply_to(second))["body"])


@pytest.mark.parametrize("flag", [" --dry-run", ""])
async def test_a_change_of_the_mode_is_carried_on_with(bot: Moderated, flag: str) -> None:
    room_id = bot.room()
    opened = bot.homeserver.gate("PUT", "/state/m.room.policy")
    event_id = await bot.say(f"!policy enable {room_id}{flag}")
    await bot.homeserver.wait_for(lambda: bot.homeserver.gates_left() == 0)
    await bot.stop()
    opened.set()
    await bot.start()
    assert str((await bot.reply_to(event_id))["body"]).startswith("✅ “Lobby”")
    assert (await bot.ask(f"!policy ban {SPAMMER} spam")).startswith("✅")
    assert (await bot.sign(room_id)).signed is bool(flag)


async def test_what_came_later_is_carried_out_later(bot: Moderated) -> None:
    room_id = bot.room()
    first = await broken_off(bot, room_id)
    second = await bot.say(f"!policy disable {room_id}")
    await bot.start()
    assert "is out of" in str((await bot.reply_to(second))["body"])
    assert bot.replies(first)
    assert bot.homeserver.rooms[room_id].content("m.room.policy") == {}


async def test_a_command_in_which_it_ends_twice_is_told(bot: Moderated) -> None:
    room_id = bot.room()
    step = ("GET", "/key/v2/server")
    event_id = await broken_off(bot, room_id, step)
    opened = bot.homeserver.gate(*step)
    await bot.begin()
    await bot.homeserver.wait_for(lambda: bot.homeserver.gates_left() == 0)
    await bot.stop()
    opened.set()
    await bot.start()
    notice = await bot.notice("I ended while I carried these commands out")
    assert f"\n• `!policy enable {room_id}`" in notice
    await bot.restart()
    assert sum("I ended while" in notice for notice in bot.notices()) == 1
    assert bot.replies(event_id) == []


async def test_an_old_command_is_told_and_what_it_began_is_finished(bot: Moderated) -> None:
    room_id = bot.room()
    await broken_off(bot, room_id)
    bot.clock.now += 6 * MINUTE_MS
    await bot.start()
    await bot.notice("I ended while", f"!policy enable {room_id}", "!policy status")
    await bot.notice("The policy server stands in “Lobby” now")
    assert bot.homeserver.rooms[room_id].content("m.room.policy") == OURS


async def test_who_may_not_command_any_more_is_refused(bot: Moderated) -> None:
    room_id = bot.room()
    event_id = await broken_off(bot, room_id)
    await bot.homeserver.set_membership(bot.mods, "@alice:example.org", "leave")
    await bot.begin()
    assert "Only members" in str((await bot.reply_to(event_id))["body"])


@pytest.mark.parametrize("command", ["match @x:y.example", "status", "help"])
async def test_what_changes_nothing_is_not_noted(bot: Moderated, command: str) -> None:
    opened = bot.homeserver.gate("GET", "/joined_members")
    await bot.say(f"!policy {command}")
    await bot.homeserver.wait_for(lambda: bot.homeserver.gates_left() == 0)
    await bot.stop()
    opened.set()
    await bot.start()
    assert bot.notices() == []


async def test_two_bans_at_once_make_one_list(bot: Moderated) -> None:
    """Also when the first was broken off just after it made the list."""
    await bot.enabled()
    opened = bot.homeserver.gate("POST", "/invite")
    first = await bot.say(f"!policy ban {SPAMMER} spam")
    await bot.homeserver.wait_for(lambda: bot.homeserver.gates_left() == 0)
    await bot.stop()
    opened.set()
    second = await bot.say("!policy ban @other:spam.example spam")
    await bot.start()
    await bot.reply_to(first)
    await bot.reply_to(second)
    lists = [r for r in bot.homeserver.rooms.values() if r.content("m.room.create").get("type")]
    assert len(lists) == 1
