"""Who is obeyed, in which order and how often, and what the replies look like."""

import asyncio
from dataclasses import replace

import pytest

from .fake_homeserver import Fault
from .fake_room import EPOCH_MS
from .moderated import ALICE, BOB, BOT, NAME, Moderated

MALLORY = "@mallory:evil.example"
MINUTE_MS = 60_000


async def test_help_lists_every_command(bot: Moderated) -> None:
    reply = await bot.ask("!policy")
    assert reply == await bot.ask("!policy help", BOB)
    commands = "enable disable status watch unwatch lists ban unban match why".split()
    assert all(f"\n• !policy {name}" in reply for name in commands)
    for name in commands:
        more = await bot.ask(f"!policy help {name}")
        assert more.startswith(f"✅ !policy {name}")
    assert "I do not know that command" in await bot.ask("!policy help sing")


async def test_the_prefix_of_the_configuration_is_used_and_shown(moderated: Moderated) -> None:
    moderated.settings["command_prefix"] = "!guard"
    await moderated.start()
    await moderated.say("!policy help")
    reply = await moderated.ask("!guard enable")
    assert "Write it like this: !guard enable <room>" in reply
    assert "!policy" not in await moderated.ask("!guard help")


async def test_a_reply_is_a_quiet_notice_to_the_command(bot: Moderated) -> None:
    event_id = await bot.say("!policy help")
    content = await bot.reply_to(event_id)
    assert content["msgtype"] == "m.notice"
    assert content["m.mentions"] == {}
    assert content["format"] == "org.matrix.custom.html"
    assert content["m.relates_to"] == {"m.in_reply_to": {"event_id": event_id}}


@pytest.mark.parametrize(
    "content",
    [
        {"msgtype": "m.notice"},
        {"msgtype": "m.emote"},
        {"m.relates_to": {"rel_type": "m.replace", "event_id": "$x"}},
        {"body": "please say !policy help"},
        {"body": "!policyhelp"},
        {"body": 7},
        {"body": "> <@x:y> !policy help\n\nno"},
    ],
)
async def test_what_is_no_command_gets_no_reply(
    bot: Moderated, content: dict[str, object]
) -> None:
    whole = {"msgtype": "m.text", "body": "!policy help", **content}
    event_id = await bot.homeserver.send(bot.mods, ALICE, "m.room.message", whole)
    await bot.ask("!policy help")  # carried out later, so what came before is through
    assert bot.replies(event_id) == []


async def test_mentions_are_read_from_the_html(bot: Moderated) -> None:
    reply = await bot.ask(
        "!policy match Spam Queen",
        format="org.matrix.custom.html",
        formatted_body='!policy match <a href="https://matrix.to/#/@queen:spam.example">'
        "Spam Queen</a>",
    )
    assert "@queen:spam.example: no rule decides" in reply


async def test_commands_count_in_moderation_rooms_only(bot: Moderated) -> None:
    room_id = await bot.enabled(members=[BOT, ALICE])
    direct = bot.homeserver.create_room(ALICE, members=[BOT])
    await bot.caught_up()
    for place in (room_id, direct):
        await bot.say("!policy disable all", ALICE, place)
    await bot.caught_up()
    assert bot.homeserver.messages(room_id, BOT) == []
    assert bot.homeserver.messages(direct, BOT) == []
    assert bot.homeserver.rooms[room_id].content("m.room.policy") != {}


async def test_a_reports_room_takes_no_commands(moderated: Moderated) -> None:
    reports = moderated.homeserver.create_room(ALICE, members=[BOT])
    moderated.settings["moderation_rooms"] = [{"room": moderated.mods, "reports": reports}]
    await moderated.start()
    await moderated.say("!policy help", ALICE, reports)
    await moderated.caught_up()
    assert moderated.homeserver.messages(reports, BOT) == []


async def test_who_left_the_room_is_not_obeyed(bot: Moderated) -> None:
    """The message may arrive after its sender was removed."""
    reply = await bot.ask("!policy disable all", MALLORY)
    assert reply == "❌ Only members of this room may command me."


@pytest.mark.parametrize("rule", ["public", "restricted", "knock_restricted", "odd"])
async def test_an_open_moderation_room_is_refused_once_a_minute(bot: Moderated, rule: str) -> None:
    room_id = bot.room()
    await bot.homeserver.set_state(bot.mods, ALICE, "m.room.join_rules", {"join_rule": rule})
    reply = await bot.ask(f"!policy enable {room_id}")
    assert reply.startswith("❌ Anybody can enter this room without an invitation")
    assert "Security & Privacy" in reply
    ignored = [await bot.say("!policy help") for _ in range(5)]
    await bot.homeserver.set_state(bot.mods, ALICE, "m.room.join_rules", {"join_rule": "invite"})
    # the five are checked one after the other, maybe after the room was closed again
    assert (await bot.ask(f"!policy enable {room_id}")).startswith("✅")
    answers = [bot.replies(event_id) for event_id in ignored]
    assert all(not a or a[0]["body"].startswith("✅ What you") for a in answers)


async def test_an_open_moderation_room_is_told_again_after_a_minute(bot: Moderated) -> None:
    await bot.homeserver.set_state(bot.mods, ALICE, "m.room.join_rules", {"join_rule": "public"})
    await bot.ask("!policy help")
    bot.clock.now += MINUTE_MS
    assert (await bot.ask("!policy help")).startswith("❌ Anybody can enter this room")


async def test_the_power_level_for_commands_that_change_something(moderated: Moderated) -> None:
    moderated.settings["moderation_rooms"] = [{"room": moderated.mods, "command_power_level": 50}]
    await moderated.start()
    room_id = moderated.room()
    reply = await moderated.ask(f"!policy enable {room_id}", BOB)
    assert reply == "❌ This command needs power level 50 in this room; yours is 0."
    assert (await moderated.ask("!policy status", BOB)).startswith("✅")
    assert (await moderated.ask(f"!policy enable {room_id}", ALICE)).startswith("✅")
    levels = {"users": {BOB: 50}}
    await moderated.homeserver.set_state(moderated.mods, ALICE, "m.room.power_levels", levels)
    assert (await moderated.ask(f"!policy disable {room_id}", BOB)).startswith("✅")


async def test_the_bot_does_not_obey_itself(bot: Moderated) -> None:
    event_id = await bot.homeserver.say(bot.mods, BOT, "!policy help")
    await bot.ask("!policy help")
    assert bot.replies(event_id) == []


# -- order, and at most once ----------------------------------------------------------------------


async def test_commands_are_carried_out_in_order(bot: Moderated) -> None:
    asked = [await bot.say(f"!policy help {name}") for name in ("why", "ban", "lists") * 5]
    await bot.reply_to(asked[-1])
    replied = [
        content["m.relates_to"]["m.in_reply_to"]["event_id"]
        for content in bot.homeserver.messages(bot.mods, BOT)
        if "m.relates_to" in content
    ]
    assert replied == asked


async def test_a_command_is_carried_out_once_though_sync_brings_it_again(bot: Moderated) -> None:
    event_id = await bot.say("!policy help")
    await bot.reply_to(event_id)
    bot.homeserver.fault("GET", "/sync", Fault(400, "M_UNKNOWN"))
    await bot.homeserver.wait_for(
        lambda: sum("since" not in r.query for r in bot.homeserver.calls("GET", "/sync")) == 2
    )
    await bot.ask("!policy help")
    assert len(bot.replies(event_id)) == 1
    assert len(bot.homeserver.calls("PUT", event_id)) == 1


async def test_a_command_is_not_carried_out_again_after_a_restart(bot: Moderated) -> None:
    event_id = await bot.say("!policy help")
    await bot.reply_to(event_id)
    await bot.restart()
    await bot.ask("!policy help")
    assert len(bot.homeserver.calls("PUT", event_id)) == 1


async def test_a_command_from_while_the_bot_was_away(bot: Moderated) -> None:
    await bot.stop()
    event_id = await bot.say("!policy help")
    await bot.start()
    assert (await bot.reply_to(event_id))["body"].startswith("✅ What you can tell me")


async def test_old_commands_are_listed_in_one_notice_and_not_carried_out(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.stop()
    old = [await bot.say("!policy disable all"), await bot.say("!policy help <b>\u202etfel")]
    await bot.say("!policy: just talking")
    old += [await bot.say(f"!policy help {n}") for n in range(12)]
    sent = bot.homeserver.rooms[bot.mods].event(old[-1])
    assert sent is not None
    bot.clock.now = sent["origin_server_ts"] + 5 * MINUTE_MS + 1
    await bot.start()
    notice = await bot.notice("older than five minutes", "!policy disable all", "and 4 more")
    assert "\u202e" not in notice and "just talking" not in notice
    assert len(bot.notices()) == 1
    assert not any(bot.replies(event_id) for event_id in old)
    assert bot.homeserver.rooms[room_id].content("m.room.policy") != {}


async def test_old_commands_are_not_listed_at_the_very_first_start(moderated: Moderated) -> None:
    """They may have been carried out by an installation before."""
    await moderated.say("!policy disable all")
    moderated.clock.now = EPOCH_MS + 3_600_000
    await moderated.start()
    assert moderated.notices() == []


async def test_a_command_of_just_under_five_minutes_is_carried_out(bot: Moderated) -> None:
    await bot.stop()
    event_id = await bot.say("!policy help")
    event = bot.homeserver.rooms[bot.mods].event(event_id)
    assert event is not None
    bot.clock.now = event["origin_server_ts"] + 5 * MINUTE_MS
    await bot.start()
    assert await bot.reply_to(event_id)


# -- slow, and failing ----------------------------------------------------------------------------


def reactions(bot: Moderated, event_id: str) -> list[str]:
    return [
        event["content"]["m.relates_to"]["key"]
        for event in bot.homeserver.rooms[bot.mods].since(0)
        if event["type"] == "m.reaction"
        and event["content"]["m.relates_to"]["event_id"] == event_id
    ]


async def test_a_slow_command_is_acknowledged(moderated: Moderated) -> None:
    moderated.pace = replace(moderated.pace, slow=0.05)
    await moderated.start()
    room_id = moderated.room()
    gate = moderated.homeserver.gate("POST", "/join/")
    event_id = await moderated.say(f"!policy enable {room_id}")
    await moderated.homeserver.wait_for(lambda: reactions(moderated, event_id))
    gate.set()
    assert (await moderated.reply_to(event_id))["body"].startswith("✅")
    assert reactions(moderated, event_id) == ["👀"]


async def test_a_quick_command_is_not_acknowledged(bot: Moderated) -> None:
    event_id = await bot.say("!policy help")
    await bot.reply_to(event_id)
    assert reactions(bot, event_id) == []


async def test_the_homeserver_fails_during_a_command(bot: Moderated) -> None:
    bot.homeserver.fault("POST", "/join/", Fault.bad_gateway())
    reply = await bot.ask(f"!policy enable #x:{NAME}")
    assert reply.startswith("❌ Your homeserver does not answer")
    assert "!policy status" in reply


async def test_the_homeserver_refuses_with_hostile_words(bot: Moderated) -> None:
    hostile = "<img src=x> @room see https://evil.example\n\u202e" + "x" * 9000
    fault = Fault(403, "M_FORBIDDEN", {"error": hostile})
    bot.homeserver.fault("POST", "/join/", fault)
    event_id = await bot.say(f"!policy enable #x:{NAME}")
    content = await bot.reply_to(event_id)
    assert "<img" not in content["formatted_body"]
    for text in (content["body"], content["formatted_body"]):
        assert "\u202e" not in text and "@room" not in text and "https://evil" not in text
        assert len(text) < 1500
    assert f"invite {BOT} to it, and try again" in content["body"]


async def test_a_reply_is_sent_again_until_it_is_taken(
    bot: Moderated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policybot.bot.commands.REPLY_PAUSES_S", (0.01, 0.01))
    bot.homeserver.fault("PUT", "/send/m.room.message", Fault(502, body="x", after_the_deed=True))
    event_id = await bot.say("!policy help")
    await bot.homeserver.wait_for(lambda: len(bot.homeserver.calls("PUT", event_id)) == 2)
    await bot.ask("!policy help")
    assert len(bot.replies(event_id)) == 1


async def test_a_fault_of_ours_is_said_and_the_next_command_works(
    bot: Moderated, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    handlers = bot.chat._commands._handlers
    with monkeypatch.context() as patch:
        patch.setitem(handlers, "lists", fail)
        reply = await bot.ask("!policy lists")
    assert reply.startswith("❌ That failed by a fault of mine")
    assert (await bot.ask("!policy lists")).startswith("✅ No list is followed")


async def test_a_flood_of_commands_is_bounded(bot: Moderated) -> None:
    room_id = bot.room()
    gate = bot.homeserver.gate("POST", "/join/")
    first = await bot.say(f"!policy enable {room_id}")
    await bot.homeserver.wait_for(lambda: bot.homeserver.calls("POST", f"/join/{room_id}"))
    asked = [await bot.say("!policy help why") for _ in range(70)]
    await bot.caught_up()
    gate.set()
    await bot.reply_to(first)
    await bot.reply_to(asked[40])
    await bot.ask("!policy help")
    assert sum(bool(bot.replies(event_id)) for event_id in asked) <= 51


async def test_a_stop_ends_a_command_that_hangs(bot: Moderated) -> None:
    bot.homeserver.fault("POST", "/join/", Fault.hang())
    await bot.say("!policy enable #x:example.org")
    await bot.homeserver.wait_for(lambda: bot.homeserver.calls("POST", "/join/#x:"))
    before = {task for task in asyncio.all_tasks() if not task.done()}
    assert any("commands of" in task.get_name() for task in before)
    await bot.stop()
    left = [task.get_name() for task in asyncio.all_tasks() if not task.done()]
    assert not [name for name in left if name in BACKGROUND or "commands of" in name]


BACKGROUND = ("notices", "reports", "rooms", "list changes", "write verdicts", "prune verdicts")


async def test_every_background_task_ends_at_stop(bot: Moderated) -> None:
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert set(BACKGROUND) <= names
    await bot.enabled()
    await bot.stop()
    left = {task for task in asyncio.all_tasks() if not task.done()}
    assert {task.get_name() for task in left} & {*BACKGROUND} == set()
