"""watch, unwatch, lists, ban, unban and match as moderators see them."""

import pytest

from policybot.policy.rule import rule_state_key

from .fake_homeserver import Fault
from .moderated import ALICE, BOB, BOT, NAME, SPAMMER, Moderated, ban
from .other_server import OtherServer

CAROL = f"@carol:{NAME}"
USER_RULE = "m.policy.rule.user"


def own_lists(bot: Moderated) -> list[str]:
    return [
        room.room_id
        for room in bot.homeserver.rooms.values()
        if room.content("m.room.create").get("policybot.moderation_room") == bot.mods
    ]


# -- ban without a list ---------------------------------------------------------------------------


async def test_the_first_ban_makes_a_list(bot: Moderated) -> None:
    room_id = await bot.enabled()
    assert "No list is followed yet" in await bot.ask(f"!policy enable {room_id}")
    reply = await bot.ask(f"!policy ban {SPAMMER} selling <b>things</b>")
    assert reply.startswith(f"✅ Banned {SPAMMER} (user rule) in the list “Moderators bans”.")
    assert "I made this list just now and invited the members of this room" in reply
    assert "their messages are refused in 1 protected room" in reply
    assert "I do not kick. Still a member in: “Lobby”" in reply
    assert f"!policy unban {SPAMMER}" in reply
    (list_id,) = own_lists(bot)
    room = bot.homeserver.rooms[list_id]
    assert [room.membership(user) for user in (ALICE, BOB)] == ["invite", "invite"]
    assert room.content("m.room.create")["type"] == "m.policy"
    assert room.content(USER_RULE, rule_state_key(SPAMMER, "m.ban")) == {
        "entity": SPAMMER,
        "recommendation": "m.ban",
        "reason": "selling <b>things</b>",
    }
    assert not (await bot.sign(room_id)).signed
    await bot.ask("!policy ban spam.example")
    assert own_lists(bot) == [list_id]
    await bot.caught_up()
    assert bot.notices() == [n for n in bot.notices() if n.startswith("🚫")]


async def test_a_ban_before_any_room_is_protected(bot: Moderated) -> None:
    reply = await bot.ask(f"!policy ban {SPAMMER}")
    assert reply.startswith("✅") and "No room is protected yet, so nothing is refused" in reply
    room_id = await bot.enabled()
    assert not (await bot.sign(room_id)).signed


async def test_ban_and_unban_decide_at_once(bot: Moderated) -> None:
    room_id = await bot.enabled()
    for _ in range(2):
        await bot.ask(f"!policy ban {SPAMMER}")
        assert not (await bot.sign(room_id)).signed
        reply = await bot.ask(f"!policy unban {SPAMMER}")
        assert reply.startswith("✅ Removed from “Moderators bans”: " + SPAMMER)
        assert "New messages pass from now on" in reply
        assert (await bot.sign(room_id)).signed
    await bot.caught_up()
    assert (await bot.sign(room_id)).signed


async def test_banned_already(bot: Moderated) -> None:
    await bot.ask(f"!policy ban {SPAMMER} spam")
    sent = len(bot.homeserver.calls("PUT", USER_RULE))
    assert (await bot.ask(f"!policy ban {SPAMMER} spam")).startswith("✅ Banned already")
    assert len(bot.homeserver.calls("PUT", USER_RULE)) == sent
    # another reason is a change of the same rule
    assert (await bot.ask(f"!policy ban {SPAMMER} fraud")).startswith(f"✅ Banned {SPAMMER}")
    assert "1 user" in await bot.ask("!policy lists")


async def test_servers_and_rooms(bot: Moderated) -> None:
    room_id = await bot.enabled()
    reply = await bot.ask("!policy ban spam.example")
    assert "spam.example (server rule)" in reply and "its users' messages are refused" in reply
    assert not (await bot.sign(room_id)).signed
    reply = await bot.ask("!policy ban #spam:spam.example")
    assert "I refuse nothing" in reply
    assert "rules: 0 user, 1 server, 1 room" in await bot.ask("!policy lists")


async def test_a_user_of_the_shared_name_is_not_checked_there(bot: Moderated) -> None:
    reply = await bot.ask(f"!policy ban @troll:{NAME}")
    assert f"Users of {NAME} are not checked on {NAME} itself" in reply


@pytest.mark.parametrize(
    ("entity", "kind"),
    [
        ("https://matrix.to/#/@spammer:spam.example", "user"),
        ("matrix:u/spammer:spam.example", "user"),
        ("@spam*:spam.example", "user"),
        ("*.spam.example", "server"),
    ],
)
async def test_links_and_globs(bot: Moderated, entity: str, kind: str) -> None:
    assert f"({kind} rule)" in await bot.ask(f"!policy ban {entity}")


@pytest.mark.parametrize(
    "entity", ["https://spam.example/", "spam", "@spammer", "a/b.c", "$event", "@", "x" * 300]
)
async def test_what_names_nothing_is_refused(bot: Moderated, entity: str) -> None:
    assert (await bot.ask(f"!policy ban {entity}")).startswith("❌")
    assert own_lists(bot) == []


async def test_a_second_name_is_not_taken_for_the_reason(bot: Moderated) -> None:
    for verb in ("ban", "unban"):
        reply = await bot.ask(f"!policy {verb} @a:spam.example, @b:spam.example")
        assert reply.startswith("❌ Only one name fits into a command")
    assert own_lists(bot) == []


async def test_an_upper_case_name_is_told_where_he_is(bot: Moderated) -> None:
    await bot.enabled()
    reply = await bot.ask("!policy ban @Spammer:Spam.example")
    assert "(user rule)" in reply and "Still a member in: “Lobby”" in reply


# -- guards ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entity", "whom"),
    [
        (BOT, "me or my own server"),
        (BOT.upper().replace("@POLICYBOT", "@PolicyBot"), "me or my own server"),
        (NAME, "me or my own server"),
        ("*.org", "me or my own server"),
        ("@*:*", "me or my own server"),
        ("*", "me or my own server"),
        (ALICE, f"{ALICE}, a member of this room"),
        ("@ali*:example.*", f"{ALICE}, a member of this room"),
        ("mods.example", "@dora:mods.example, a member of this room"),
        ("mods.ex*", "@dora:mods.example:8448, a member of this room"),
        ("@*:mods.example", "@dora:mods.example, a member of this room"),
        ("@*b*:*", "me or my own server"),
    ],
)
async def test_a_ban_of_moderators_or_the_bot_is_refused(
    bot: Moderated, entity: str, whom: str
) -> None:
    dora = "@dora:mods.example:8448" if "8448" in whom else "@dora:mods.example"
    await bot.homeserver.set_membership(bot.mods, dora, "join")
    reply = await bot.ask(f"!policy ban {entity}")
    assert reply.startswith(f"❌ That would ban {whom}")
    assert own_lists(bot) == []


async def test_all_members_of_the_room_that_a_ban_would_hit_are_named(bot: Moderated) -> None:
    names = [f"@mod{number}:mods.example" for number in range(7)]
    for name in names[:2]:
        await bot.homeserver.set_membership(bot.mods, name, "join")
    reply = await bot.ask("!policy ban mods.example")
    assert f"would ban {names[0]}, {names[1]}, members of this room." in reply
    for name in names[2:]:
        await bot.homeserver.set_membership(bot.mods, name, "join")
    assert f"{names[4]} and 2 more, members of this room." in await bot.ask(
        "!policy ban *.example"
    )


async def test_a_list_is_named_before_a_question_is_asked(bot: Moderated) -> None:
    crowd = [f"@user{number}:crowd.example" for number in range(6)]
    bot.homeserver.key_documents["crowd.example"] = OtherServer(
        "crowd.example", NAME
    ).key_document()
    await bot.enabled("One", members=[BOT, *crowd])
    reply = await bot.ask("!policy ban crowd.example --list nothing")
    assert reply.startswith("❌ No such list is followed here")


# -- lists of others ------------------------------------------------------------------------------


async def test_a_watched_list_decides_until_it_is_unwatched(bot: Moderated) -> None:
    room_id = await bot.enabled()
    list_id = bot.policy_list("Coffee", a=ban(SPAMMER), b=ban("@b:spam.example"))
    reply = await bot.ask(f"!policy watch {list_id} coc")
    assert reply.startswith("✅ I follow “Coffee” as coc. Rules that count")
    assert "from now on: 2." in reply
    assert "!policy unwatch coc" in reply
    assert not (await bot.sign(room_id)).signed
    reply = await bot.ask("!policy unwatch COC")
    assert reply.startswith("✅ I no longer follow “Coffee”.")
    assert f"!policy watch {list_id} coc" in reply
    assert (await bot.sign(room_id)).signed


async def test_watch_shows_what_it_leaves_unused(bot: Moderated) -> None:
    list_id = bot.policy_list(a=ban(ALICE), b=ban(BOT), c=ban(SPAMMER), d=ban("@*:example.org"))
    room_id = await bot.enabled(members=[BOT, ALICE, SPAMMER])
    reply = await bot.ask(f"!policy watch {list_id}")
    assert "Left unused, since they would hit a moderator or me: " in reply
    for entity in (ALICE, BOT, "@*:example.org"):
        assert entity in reply.split("Left unused")[1]
    assert "unused, since they would hit a moderator or me" in await bot.ask("!policy lists")
    reply = await bot.ask(f"!policy match {ALICE}")
    assert "no rule decides" in reply and "left unused" in reply
    assert not (await bot.sign(room_id)).signed
    # who becomes a moderator is safe from then on
    await bot.homeserver.set_membership(bot.mods, SPAMMER, "join")
    await bot.caught_up()
    assert (await bot.sign(room_id)).signed


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("watch #none:example.org", "I could not enter that list"),
        ("watch {list} BAD!", "A shortcode is made of"),
        ("watch {list} first", "The shortcode first is taken"),
        ("watch {first}", "This list is followed here already"),
        ("unwatch nothing", "No such list is followed here. Those that are: first"),
        ("unwatch #none:example.org", "I cannot find that list"),
        ("ban @a:spam.example --list nothing", "Those that are: first"),
        ("ban @a:spam.example --list", "--list needs a value"),
        ("ban @a:spam.example --list first", "I may not write into that list"),
        ("unban @b:spam.example", "No rule has exactly this name"),
        ("match @*:spam.example", "Name one user, server or room"),
    ],
)
async def test_what_cannot_be_done_is_refused(bot: Moderated, words: str, answer: str) -> None:
    first, other = bot.policy_list("First", a=ban(SPAMMER)), bot.policy_list("Other")
    await bot.ask(f"!policy watch {first} first")
    reply = await bot.ask("!policy " + words.format(list=other, first=first))
    assert reply.startswith("❌") and answer in reply
    assert [s.shortcode for s in bot.chat.lists.subscriptions.of(bot.mods)] == ["first"]
    assert not bot.chat.lists.watched(other)


async def test_a_list_where_the_bot_may_write(bot: Moderated) -> None:
    list_id = bot.policy_list("Shared")
    keeper = "@listkeeper:lists.example"
    levels = {"users": {BOT: 50}}
    await bot.homeserver.set_state(list_id, keeper, "m.room.power_levels", levels)
    await bot.ask(f"!policy watch {list_id} shared")
    reply = await bot.ask(f"!policy ban {SPAMMER} —list shared spam")
    assert "in the list “Shared”" in reply
    # the option counts after the reason, too
    reply = await bot.ask("!policy ban @other:spam.example spam bot --list shared")
    assert "in the list “Shared”" in reply
    contents = [c["content"] for (t, _), c in bot.homeserver.rooms[list_id].state.items()
                if t == USER_RULE]  # fmt: skip
    assert {content["reason"] for content in contents} == {"spam", "spam bot"}
    assert own_lists(bot) == []


async def test_unban_tells_what_still_bans(bot: Moderated) -> None:
    list_id = bot.policy_list("Coffee", a=ban(SPAMMER))
    await bot.ask(f"!policy watch {list_id}")
    await bot.ask(f"!policy ban {SPAMMER}")
    reply = await bot.ask(f"!policy unban {SPAMMER}")
    assert "Removed from “Moderators bans”" in reply
    assert "Not removed from “Coffee”" in reply
    assert "Still banned by @spammer:spam.example (user rule of the list “Coffee”)" in reply


async def test_an_exception_in_an_earlier_list_is_told(bot: Moderated) -> None:
    rule = {"entity": SPAMMER, "recommendation": "m.allow"}
    await bot.ask(f"!policy watch {bot.policy_list('Friends', a=rule)}")
    await bot.enabled()
    reply = await bot.ask(f"!policy ban {SPAMMER}")
    assert "an exception in “Friends” comes first, so nothing is refused" in reply
    assert "messages are signed, by an exception" in await bot.ask(f"!policy match {SPAMMER}")


async def test_match(bot: Moderated) -> None:
    await bot.enabled()
    await bot.ask("!policy ban @spam*:spam.example sells things")
    await bot.ask("!policy ban spam.example")
    reply = await bot.ask(f"!policy match {SPAMMER}")
    assert f"{SPAMMER}: messages are refused by" in reply
    assert reply.count("\n• ban: ") == 2
    assert "no rule decides" in await bot.ask("!policy match @ok:good.example")
    assert "messages are refused by spam.example" in await bot.ask("!policy match spam.example")
    await bot.ask("!policy ban @boss:spam.example")
    await bot.homeserver.set_state(
        next(r.room_id for r in bot.chat.protected_rooms.records()),
        CAROL,
        "m.room.power_levels",
        {"users": {BOT: 100, "@boss:spam.example": 50}},
    )
    await bot.caught_up()
    reply = await bot.ask("!policy match @boss:spam.example")
    assert "a moderator, the bot or a person with power" in reply


async def test_a_list_that_the_homeserver_does_not_give(bot: Moderated) -> None:
    list_id = bot.policy_list(a=ban(SPAMMER))
    await bot.homeserver.set_state(list_id, BOT, "m.room.name", {"name": "Coffee"})
    await bot.caught_up()
    bot.homeserver.fault("GET", f"{list_id}/state", Fault.bad_gateway())
    assert "does not answer" in await bot.ask(f"!policy watch {list_id}")
    assert bot.chat.lists.list_ids() == ()
    assert (await bot.ask(f"!policy watch {list_id}")).startswith("✅")


async def test_a_ban_tells_where_it_has_an_effect(bot: Moderated) -> None:
    """A room whose policy server was taken away is not counted, but its members are told."""
    await bot.enabled("Checked")
    removed = await bot.enabled("Removed")
    await bot.homeserver.set_state(removed, CAROL, "m.room.policy", {})
    await bot.caught_up()
    reply = await bot.ask(f"!policy ban {SPAMMER}")
    assert "their messages are refused in 1 protected room." in reply
    assert "Still a member in: “Checked”, “Removed”" in reply


async def test_a_ban_of_somebody_with_power_tells_where_it_has_no_effect(bot: Moderated) -> None:
    powerful = {"users": {BOT: 100, SPAMMER: 50}}
    room_id = await bot.enabled("His", power_levels=powerful)
    sentence = "They may moderate in “His”, so nothing of theirs is refused there."
    reply = await bot.ask(f"!policy ban {SPAMMER}")
    assert f"\n{sentence}\n" in reply and "From now on" not in reply
    assert (await bot.sign(room_id)).signed
    await bot.enabled("Other")
    reply = await bot.ask(f"!policy ban {SPAMMER}")
    assert f"From now on their messages are refused in 1 protected room. {sentence}" in reply


async def test_unban_without_the_power_to_says_that_nothing_was_done(bot: Moderated) -> None:
    await bot.ask(f"!policy watch {bot.policy_list('Coffee', a=ban(SPAMMER))}")
    reply = await bot.ask(f"!policy unban {SPAMMER}")
    assert reply.startswith(
        "❌ Nothing was removed. \nNot removed from “Coffee”: “I may not write"
    )
