"""The list that the bot makes, and writing rules while others do and things go wrong."""

import asyncio

from policybot.policy.rule import rule_state_key

from .fake_homeserver import Fault
from .moderated import ALICE, BOB, BOT, NAME, SPAMMER, Moderated, ban

USER_RULE = "m.policy.rule.user"


def own_lists(bot: Moderated) -> list[str]:
    return [
        room.room_id
        for room in bot.homeserver.rooms.values()
        if room.content("m.room.create").get("policybot.moderation_room") == bot.mods
    ]


async def test_an_end_between_making_the_list_and_noting_it(bot: Moderated) -> None:
    bot.homeserver.fault("POST", "/invite", Fault.hang())
    await bot.say(f"!policy ban {SPAMMER}")
    await bot.homeserver.wait_for(lambda: bot.homeserver.calls("POST", "/invite"))
    await bot.stop()
    (list_id,) = own_lists(bot)
    await bot.start()
    room = bot.homeserver.rooms[list_id]
    assert [room.membership(user) for user in (ALICE, BOB)] == ["invite", "invite"]
    assert (await bot.ask(f"!policy ban {SPAMMER}")).startswith("✅")
    assert own_lists(bot) == [list_id]
    assert "1 user" in await bot.ask("!policy lists")


async def test_a_list_that_was_made_though_no_answer_came(bot: Moderated) -> None:
    bot.homeserver.fault("POST", "/createRoom", Fault(502, body="x", after_the_deed=True))
    assert "does not answer" in await bot.ask(f"!policy ban {SPAMMER}")
    reply = await bot.ask(f"!policy ban {SPAMMER}")
    assert reply.startswith("✅") and "I made this list just now" not in reply
    assert len(own_lists(bot)) == 1


async def test_the_list_is_not_looked_for_in_vain_at_each_ban(bot: Moderated) -> None:
    await bot.ask(f"!policy ban {SPAMMER}")
    asked = len(bot.homeserver.calls("GET", "/joined_rooms"))
    await bot.ask("!policy ban @other:spam.example")
    assert len(bot.homeserver.calls("GET", "/joined_rooms")) == asked


async def test_an_own_list_that_was_unwatched_stays_so(bot: Moderated) -> None:
    """Else each restart would follow it again, as if its making had been broken off."""
    room_id = await bot.enabled()
    await bot.ask(f"!policy ban {SPAMMER}")
    await bot.ask("!policy unwatch bans")
    await bot.restart()
    assert (await bot.sign(room_id)).signed
    assert "No list is followed" in await bot.ask("!policy lists")
    reply = await bot.ask("!policy ban @new:spam.example")
    assert reply.startswith("✅")
    assert len(own_lists(bot)) == 1
    await bot.restart()
    assert "2 user" in await bot.ask("!policy lists")


async def test_an_own_list_that_is_watched_again_is_the_own_list(bot: Moderated) -> None:
    await bot.ask(f"!policy ban {SPAMMER}")
    reply = await bot.ask("!policy unwatch bans")
    assert (await bot.ask(reply.rpartition(": ")[2])).startswith("✅ I follow “Moderators bans”")
    await bot.ask("!policy ban @new:spam.example")
    assert len(own_lists(bot)) == 1
    assert "2 user, 0 server, 0 room; I write here" in await bot.ask("!policy lists")


async def test_somebody_else_cannot_pass_off_a_room_as_the_own_list(
    moderated: Moderated,
) -> None:
    creation = {"type": "m.policy", "policybot.moderation_room": moderated.mods}
    moderated.homeserver.create_room(
        "@mallory:evil.example", members=[BOT], creation_content=creation
    )
    await moderated.start()
    assert moderated.chat.lists.list_ids() == ()
    await moderated.ask(f"!policy ban {SPAMMER}")
    assert len(own_lists(moderated)) == 2


async def test_room_creation_that_is_switched_off(bot: Moderated) -> None:
    bot.homeserver.creatable = False
    reply = await bot.ask(f"!policy ban {SPAMMER}")
    assert reply.startswith("❌ Your homeserver refused") and "switched off" in reply


async def test_an_invitation_that_fails_does_not_keep_from_banning(bot: Moderated) -> None:
    room_id = await bot.enabled()
    bot.homeserver.fault("POST", "/invite", Fault.forbidden())
    assert (await bot.ask(f"!policy ban {SPAMMER}")).startswith("✅")
    assert not (await bot.sign(room_id)).signed
    (list_id,) = own_lists(bot)
    assert bot.homeserver.rooms[list_id].membership(BOB) == "invite"


async def test_the_echo_of_an_own_rule_changes_nothing(bot: Moderated) -> None:
    await bot.ask(f"!policy ban {SPAMMER}")
    generation = bot.chat.lists.rules.generation
    await bot.caught_up()
    assert bot.chat.lists.rules.generation == generation
    assert not [notice for notice in bot.notices() if "changed" in notice]


async def test_a_rule_that_was_written_though_no_answer_came(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.ask("!policy ban @first:spam.example")
    bot.homeserver.fault("PUT", USER_RULE, Fault(502, body="x", after_the_deed=True))
    reply = await bot.ask(f"!policy ban {SPAMMER}")
    assert "does not answer" in reply
    await bot.caught_up()
    assert not (await bot.sign(room_id)).signed


async def test_a_rule_that_the_store_refuses_is_told_and_taken_out_again(bot: Moderated) -> None:
    """At most 200 globs without three letters in a row are used."""
    await bot.ask(f"!policy ban {SPAMMER}")
    (list_id,) = own_lists(bot)
    for number in range(200):
        entity = f"@*{number // 10}?{number % 10}*:a?.*"
        await bot.homeserver.set_state(list_id, BOT, USER_RULE, ban(entity), f"k{number}")
    await bot.caught_up()
    entity = "@*x?y*:b?.*"
    reply = await bot.ask(f"!policy ban {entity}")
    assert reply.startswith("❌ I cannot use that rule: the list has more than 200 globs")
    assert "I took it out again" in reply
    room = bot.homeserver.rooms[list_id]
    assert room.content(USER_RULE, rule_state_key(entity, "m.ban")) == {}
    assert "not usable" not in await bot.ask("!policy lists")


async def test_a_ban_and_a_reading_of_the_list_wait_for_each_other(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.ask("!policy ban @first:spam.example")
    (list_id,) = own_lists(bot)
    gate = bot.homeserver.gate("GET", f"/rooms/{list_id}/state")
    reading = asyncio.create_task(bot.chat.lists.read_again(list_id))
    await bot.homeserver.wait_for(
        lambda: any(r.path.endswith("/state") for r in bot.homeserver.requests[-3:])
    )
    event_id = await bot.say(f"!policy ban {SPAMMER}")
    gate.set()
    await bot.reply_to(event_id)
    await reading
    assert not (await bot.sign(room_id)).signed
    await bot.caught_up()
    assert not (await bot.sign(room_id)).signed


async def test_unban_removes_every_spelling_of_a_rule(bot: Moderated) -> None:
    await bot.ask("!policy ban @other:spam.example")
    (list_id,) = own_lists(bot)
    for event_type in (USER_RULE, "m.room.rule.user", "org.matrix.mjolnir.rule.user"):
        for key in ("a", "b"):
            await bot.homeserver.set_state(
                list_id, ALICE, event_type, ban(SPAMMER.upper()), event_type + key
            )
    await bot.caught_up()
    room_id = await bot.enabled()
    reply = await bot.ask(f"!policy unban {SPAMMER}")
    assert reply.startswith("✅ Removed from “Moderators bans”")
    assert (await bot.sign(room_id)).signed


async def test_the_name_of_the_list_is_that_of_its_room(moderated: Moderated) -> None:
    hostile = "<b>Mods</b>\u202e\n" + "x" * 5000
    await moderated.homeserver.set_state(moderated.mods, ALICE, "m.room.name", {"name": hostile})
    await moderated.start()
    event_id = await moderated.say(f"!policy ban @troll:{NAME}")
    content = await moderated.reply_to(event_id)
    assert content["body"].startswith("✅ Banned")
    assert "<b>Mods" not in content["formatted_body"] and "\u202e" not in content["body"]
