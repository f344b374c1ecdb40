"""The question before a risky command, and who may answer it."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from policybot.bot.command import Command, parse_command
from policybot.bot.question import ANSWER_MS, MAX_OPEN, agreed_event, must_ask

from .fake_homeserver import Fault
from .moderated import ALICE, BOB, BOT, NAME, OURS, SPAMMER, Moderated
from .other_server import OtherServer
from .test_commands import reactions

MALLORY = "@mallory:evil.example"
CROWD = [f"@user{number}:crowd.example" for number in range(8)]
NO_LONGER_OPEN = "❌ This question is no longer open, so nothing was done. Send the command again."


def ban_command(agreed: int | None) -> Command:
    command = parse_command("!policy ban x.org", "!policy")
    assert command is not None
    return replace(command, agreed=agreed)


# -- pure -----------------------------------------------------------------------------------------


def reaction(**relation: Any) -> dict[str, Any]:
    whole = {"rel_type": "m.annotation", "event_id": "$x", "key": "✅", **relation}
    return {"type": "m.reaction", "content": {"m.relates_to": whole}}


@pytest.mark.parametrize("key", ["✅", "✅\ufe0f", "✅\ufe0e"])
def test_a_tick_is_a_yes(key: str) -> None:
    assert agreed_event(reaction(key=key)) == "$x"


@pytest.mark.parametrize(
    "event",
    [
        reaction(key="❌"),
        reaction(key="✔️"),
        reaction(key="👍"),
        reaction(key="✅✅"),
        reaction(key="\ufe0f"),
        reaction(key=""),
        reaction(key=None),
        reaction(event_id=7),
        reaction(rel_type="m.thread"),
        {**reaction(), "type": "m.room.message"},
        {"type": "m.reaction", "content": {}},  # what a redaction leaves
        {"type": "m.reaction", "content": {"m.relates_to": []}},
    ],
)
def test_nothing_else_is(event: dict[str, Any]) -> None:
    assert agreed_event(event) is None


@pytest.mark.parametrize(
    ("agreed", "members", "asks"),
    [(None, 5, False), (None, 6, True), (6, 11, False), (6, 12, True), (0, 5, False)]
    + [(1000, 1100, False), (1000, 1101, True), (1000, 0, False)],
)
def test_when_to_ask(agreed: int | None, members: int, asks: bool) -> None:
    assert must_ask(ban_command(agreed), members) is asks


# -- as moderators see it -------------------------------------------------------------------------


@pytest.fixture
async def crowded(bot: Moderated) -> Moderated:
    """A bot with two protected rooms, which hold six users of one server."""
    bot.homeserver.key_documents["crowd.example"] = OtherServer(
        "crowd.example", NAME
    ).key_document()
    await bot.enabled("One", members=[BOT, *CROWD[:4]])
    await bot.enabled("Two", members=[BOT, *CROWD[2:6]])
    return bot


async def asked(bot: Moderated, text: str, sender: str = ALICE) -> str:
    """Give a command that raises a question; the question's event ID."""
    event_id = await bot.say(text, sender)
    reply = await bot.reply_to(event_id)
    assert reply["body"].startswith("❓"), reply["body"]
    question = event_id_of(bot, reply)
    # The bot's own reaction comes when it has taken note of the question.
    await bot.homeserver.wait_for(
        lambda: any(question in str(r.json) for r in bot.homeserver.calls("PUT", "/m.reaction/"))
    )
    return question


def event_id_of(bot: Moderated, content: dict[str, Any]) -> str:
    events = bot.homeserver.rooms[bot.mods].since(0)
    return next(str(event["event_id"]) for event in events if event["content"] is content)


def body_of(bot: Moderated, event_id: str) -> str:
    event = bot.homeserver.rooms[bot.mods].event(event_id)
    assert event is not None
    return str(event["content"]["body"])


async def react(bot: Moderated, question: str, sender: str = ALICE, key: str = "✅") -> str:
    return await bot.homeserver.react(bot.mods, sender, question, key)


async def after(bot: Moderated, question: str) -> list[str]:
    """The answers to a question once everything that came is carried out."""
    await bot.ask("!policy help why")
    return [content["body"] for content in bot.replies(question)]


def rules(bot: Moderated) -> int:
    return len(bot.homeserver.calls("PUT", "/state/m.policy.rule."))


@pytest.mark.parametrize("entity", ["@*:crowd.example", "crowd.example", "*crowd.*"])
async def test_a_ban_of_a_crowd_is_carried_out_after_a_yes(
    crowded: Moderated, entity: str
) -> None:
    event_id = await crowded.say(f"!policy ban {entity} raid")
    kind = "user" if "@" in entity else "server"
    content = await crowded.reply_to(event_id)
    assert content["body"] == (
        f"❓ Ban {entity} ({kind} rule)? That is 6 members of 2 protected rooms: {CROWD[0]}, "
        f"{CROWD[1]}, {CROWD[2]} and 3 more. Their messages would be refused.\nNothing is done "
        "yet: react with ✅ within 10 minutes to go on."
    )
    assert content["m.mentions"] == {}
    assert rules(crowded) == 0
    question = event_id_of(crowded, content)
    await crowded.homeserver.wait_for(lambda: reactions(crowded, question) == ["✅"])
    await react(crowded, question, BOB)
    reply = await crowded.reply_to(question)
    assert reply["body"].startswith(f"✅ Banned {entity} ({kind} rule)")
    assert "refused in 2 protected rooms" in reply["body"]
    assert rules(crowded) == 1


async def test_names_in_a_question_are_escaped(crowded: Moderated) -> None:
    await crowded.enabled("Three", members=[BOT, "@<b>x</b>:crowd.example"])
    question = await asked(crowded, "!policy ban crowd.example")
    event = crowded.homeserver.rooms[crowded.mods].event(question)
    assert event is not None
    html = event["content"]["formatted_body"]
    assert "<code>@&lt;b&gt;x&lt;/b&gt;:crowd.example</code>" in html


async def test_two_reactions_carry_it_out_once(crowded: Moderated) -> None:
    question = await asked(crowded, "!policy ban crowd.example")
    for sender in (ALICE, BOB, ALICE):
        await react(crowded, question, sender)
    (answer,) = await after(crowded, question)
    assert answer.startswith("✅ Banned")
    assert rules(crowded) == 1
    await react(crowded, question, BOB)
    assert len(await after(crowded, question)) == 1


async def test_only_a_tick_by_somebody_else_counts(crowded: Moderated) -> None:
    question = await asked(crowded, "!policy ban crowd.example")
    await react(crowded, question, key="👍")
    await react(crowded, question, BOT)
    await react(crowded, question, MALLORY)
    await crowded.homeserver.send(crowded.mods, ALICE, "m.reaction", {})
    edit: Any = {"m.relates_to": {"rel_type": "m.replace", "event_id": question}}
    await crowded.say("* !policy ban crowd.example", **edit)
    assert await after(crowded, question) == []
    assert rules(crowded) == 0
    await react(crowded, question, key="✅\ufe0f")
    assert len(await after(crowded, question)) == 1


async def test_an_answer_needs_the_power_for_commands(moderated: Moderated) -> None:
    moderated.settings["moderation_rooms"] = [{"room": moderated.mods, "command_power_level": 50}]
    await moderated.start()
    question = await asked(moderated, f"!policy enable {moderated.mods}")
    await react(moderated, question, BOB)
    assert await after(moderated, question) == []
    levels = {"users": {BOB: 50, BOT: 50}}
    await moderated.homeserver.set_state(moderated.mods, ALICE, "m.room.power_levels", levels)
    await react(moderated, question, BOB)
    (answer,) = await after(moderated, question)
    assert answer.startswith("✅ “Moderators” is protected")


async def test_no_answer_counts_in_a_room_that_was_opened(crowded: Moderated) -> None:
    question = await asked(crowded, "!policy ban crowd.example")
    mods = crowded.mods
    await crowded.homeserver.set_state(mods, ALICE, "m.room.join_rules", {"join_rule": "public"})
    await react(crowded, question)
    reply = await crowded.reply_to(question)
    assert reply["body"].startswith("❌ Anybody can enter this room")
    assert rules(crowded) == 0
    await crowded.homeserver.set_state(mods, ALICE, "m.room.join_rules", {"join_rule": "invite"})
    await react(crowded, question)
    answers = await after(crowded, question)
    assert len(answers) == 2 and answers[1].startswith("✅ Banned")


async def test_a_question_lapses(crowded: Moderated) -> None:
    question = await asked(crowded, "!policy ban crowd.example")
    crowded.clock.now += ANSWER_MS + 1
    await react(crowded, question)
    await crowded.reply_to(question)
    await react(crowded, question, BOB)
    crowded.clock.now -= ANSWER_MS
    assert await after(crowded, question) == [NO_LONGER_OPEN]
    assert rules(crowded) == 0


async def test_an_answer_that_came_in_time_counts(crowded: Moderated) -> None:
    question = await asked(crowded, "!policy ban crowd.example")
    crowded.clock.now += ANSWER_MS
    await react(crowded, question)
    answer = (await crowded.reply_to(question))["body"]
    assert answer.startswith("✅ Banned")


async def test_a_question_that_was_removed_is_not_open(crowded: Moderated) -> None:
    question = await asked(crowded, "!policy ban crowd.example")
    event = crowded.homeserver.rooms[crowded.mods].event(question)
    assert event is not None
    event["content"] = {}
    await react(crowded, question)
    assert await after(crowded, question) == []
    assert rules(crowded) == 0


async def test_an_answer_that_could_not_be_checked_may_be_given_again(
    crowded: Moderated,
) -> None:
    question = await asked(crowded, "!policy ban crowd.example")
    crowded.homeserver.fault("GET", f"/event/{question}", Fault.bad_gateway())
    await react(crowded, question)
    (answer,) = await after(crowded, question)
    assert answer.startswith("❌ Your homeserver does not answer")
    assert rules(crowded) == 0
    await react(crowded, question)
    answers = await after(crowded, question)
    assert len(answers) == 2 and answers[1].startswith("✅ Banned")


async def test_a_question_does_not_outlive_a_restart(crowded: Moderated) -> None:
    question = await asked(crowded, "!policy ban crowd.example")
    other = await crowded.say("lunch?")
    await crowded.stop()
    await react(crowded, question)
    await crowded.start()
    await react(crowded, question, BOB)
    await react(crowded, other)
    assert await after(crowded, question) == [NO_LONGER_OPEN]
    assert crowded.replies(other) == []
    assert rules(crowded) == 0


async def test_the_oldest_of_many_questions_lapses(crowded: Moderated) -> None:
    questions = [
        await asked(crowded, f"!policy ban {'*' * number}crowd.example")
        for number in range(MAX_OPEN + 1)
    ]
    await react(crowded, questions[0])
    await react(crowded, questions[1])
    assert await after(crowded, questions[0]) == [NO_LONGER_OPEN]
    (answer,) = await after(crowded, questions[1])
    assert answer.startswith("✅ Banned")


async def test_what_changed_meanwhile_is_checked_again(crowded: Moderated) -> None:
    question = await asked(crowded, "!policy ban crowd.example")
    await crowded.homeserver.set_membership(crowded.mods, CROWD[0], "join")
    await react(crowded, question)
    assert await after(crowded, question) == [
        f"❌ That would ban {CROWD[0]}, a member of this room. I do not write such a rule. "
        "Write a narrower one, or remove them from this room first."
    ]
    assert rules(crowded) == 0


async def test_a_crowd_that_has_grown_is_asked_about_again(crowded: Moderated) -> None:
    question = await asked(crowded, "!policy ban crowd.example")
    more = [f"@more{number}:crowd.example" for number in range(6)]
    await crowded.enabled("Three", members=[BOT, *more])
    await react(crowded, question)
    content = await crowded.reply_to(question)
    assert content["body"].startswith("❓ It would hit more by now. Ban crowd.example")
    assert "12 members of 3 protected rooms" in content["body"]
    assert rules(crowded) == 0
    again = event_id_of(crowded, content)
    await react(crowded, again)
    (answer,) = await after(crowded, again)
    assert answer.startswith("✅ Banned")


async def test_a_room_that_cannot_be_read_is_told(crowded: Moderated) -> None:
    gone = next(r.room_id for r in crowded.chat.protected_rooms.records())
    crowded.homeserver.fault("GET", f"{gone}/joined_members", Fault(403, "M_FORBIDDEN", times=9))
    await crowded.ask(f"!policy ban {SPAMMER}")
    question = await asked(crowded, "!policy ban quiet.example")
    assert body_of(crowded, question).startswith(
        "❓ Ban quiet.example (server rule)? I could not read who is in “One”.\nNothing is done"
    )
    await react(crowded, question)
    (answer,) = await after(crowded, question)
    assert answer.startswith("✅ Banned") and "I could not read who is in “One”." in answer


async def test_the_bots_own_reaction_may_fail(crowded: Moderated) -> None:
    crowded.homeserver.fault("PUT", "/send/m.reaction", Fault(403, "M_FORBIDDEN"))
    question = await asked(crowded, "!policy ban crowd.example")
    assert crowded.homeserver.faults_left() == 0
    await react(crowded, question)
    (answer,) = await after(crowded, question)
    assert answer.startswith("✅ Banned")


async def test_the_bots_own_reaction_holds_nothing_up(crowded: Moderated) -> None:
    """Under a send limit it may take long."""
    crowded.homeserver.gate("PUT", "/send/m.reaction")
    question = await asked(crowded, "!policy ban crowd.example")
    await react(crowded, question)
    (answer,) = await after(crowded, question)
    assert answer.startswith("✅ Banned")
    assert reactions(crowded, question) == ["✅"]  # the moderator's
    await crowded.stop()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "offer an answer"]


async def test_a_question_that_cannot_be_sent_is_not_open(crowded: Moderated) -> None:
    crowded.homeserver.fault("PUT", "/send/m.room.message", Fault(403, "M_FORBIDDEN"))
    await crowded.say("!policy ban crowd.example")
    await crowded.ask("!policy help why")
    assert crowded.chat._commands._questions._open == {}


# -- rooms of moderators --------------------------------------------------------------------------


async def test_moderation_and_reports_rooms_are_protected_after_a_yes(
    moderated: Moderated,
) -> None:
    reports = moderated.homeserver.create_room(ALICE, name="Reports", members=[BOT])
    moderated.settings["moderation_rooms"] = [{"room": moderated.mods, "reports": reports}]
    await moderated.start()
    for room_id, words in ((moderated.mods, "this very room"), (reports, "or reports room")):
        levels = {"users": {BOT: 50}}
        await moderated.homeserver.set_state(room_id, ALICE, "m.room.power_levels", levels)
        question = await asked(moderated, f"!policy enable {room_id}")
        body = body_of(moderated, question)
        assert body.startswith("❓ Protect ") and words in body
        assert "nobody else could tell me to stop" in body
        policy = moderated.homeserver.rooms[room_id]
        assert policy.content("m.room.policy") == {}
        await react(moderated, question)
        (answer,) = await after(moderated, question)
        assert answer.startswith("✅") and "is protected" in answer
        assert policy.content("m.room.policy") != {}
        # repairing it is no new decision
        assert (await moderated.ask(f"!policy enable {room_id}")).startswith("✅")
    assert (await moderated.ask("!policy disable all")).count("The policy server is out of") == 2


async def test_who_agrees_needs_the_power_that_who_asks_would_need(moderated: Moderated) -> None:
    """With several moderation rooms the state event is set for those only who may set it."""
    second = moderated.homeserver.create_room(MALLORY, members=[BOT])
    moderated.settings["moderation_rooms"] = [moderated.mods, second]
    await moderated.start()
    question = await asked(moderated, f"!policy enable {moderated.mods}")
    await react(moderated, question, BOB)
    (answer,) = await after(moderated, question)
    assert answer.startswith("❌ You may not set the policy server of that room yourself")


async def test_a_protected_moderation_room_is_answered_with_a_new_database(
    moderated: Moderated,
) -> None:
    levels = {"users": {BOT: 50}}
    await moderated.homeserver.set_state(moderated.mods, ALICE, "m.room.power_levels", levels)
    await moderated.homeserver.set_state(moderated.mods, ALICE, "m.room.policy", OURS)
    await moderated.start()
    await moderated.notice("These rooms name this policy server", moderated.mods)
    assert (await moderated.sign(moderated.mods)).signed


async def test_a_command_that_was_agreed_to_is_carried_on_with_after_an_end(
    crowded: Moderated,
) -> None:
    """Nobody is asked again."""
    question = await asked(crowded, "!policy ban crowd.example raid")
    opened = crowded.homeserver.gate("POST", "/createRoom")
    await react(crowded, question, BOB)
    await crowded.homeserver.wait_for(lambda: crowded.homeserver.gates_left() == 0)
    await crowded.stop()
    opened.set()
    await crowded.start()
    (answer,) = await after(crowded, question)
    assert answer.startswith("✅ Banned crowd.example")
    assert rules(crowded) == 1
