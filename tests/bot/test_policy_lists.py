"""Watched lists: followed by sync, read again after gaps, kept while they cannot be read."""

import asyncio
import json
from typing import Any

import pytest

from policybot.bot.client import HomeserverAway
from policybot.policy.rule import hash_of
from policybot.policy.rule_store import STEP

from .fake_homeserver import Fault
from .moderated import ALICE, BOT, SPAMMER, Moderated, ban

KEEPER = "@listkeeper:lists.example"
USER_RULE = "m.policy.rule.user"


async def watched(bot: Moderated, **rules: dict[str, object]) -> str:
    list_id = bot.policy_list("Coffee", **rules)
    assert (await bot.ask(f"!policy watch {list_id}")).startswith("✅")
    await bot.caught_up()
    return list_id


def lists_told(bot: Moderated) -> list[str]:
    return [n for n in bot.notices() if "list" in n and n.startswith("⚠️")]


async def test_rules_that_arrive_by_sync_decide(bot: Moderated) -> None:
    room_id, list_id = await bot.enabled(), await watched(bot)
    reads = len(bot.homeserver.calls("GET", f"{list_id}/state"))
    await bot.homeserver.set_state(list_id, KEEPER, USER_RULE, ban(SPAMMER), "a")
    await bot.caught_up()
    assert not (await bot.sign(room_id)).signed
    await bot.homeserver.set_state(list_id, KEEPER, USER_RULE, {}, "a")
    await bot.caught_up()
    assert (await bot.sign(room_id)).signed
    assert len(bot.homeserver.calls("GET", f"{list_id}/state")) == reads


async def test_a_gap_means_reading_the_list_again(bot: Moderated) -> None:
    room_id, list_id = await bot.enabled(), await watched(bot)
    await bot.stop()
    await bot.homeserver.set_state(list_id, KEEPER, USER_RULE, ban(SPAMMER), "a")
    for number in range(150):
        await bot.homeserver.say(list_id, KEEPER, f"chat {number}")
    await bot.begin()
    await bot.caught_up()
    assert not (await bot.sign(room_id)).signed


async def test_a_gap_while_running(bot: Moderated) -> None:
    room_id, list_id = await bot.enabled(), await watched(bot)
    gate = bot.homeserver.gate("GET", "/sync")
    await bot.homeserver.say(list_id, KEEPER, "the sync after this one waits")
    await bot.homeserver.wait_for(lambda: bot.homeserver.gates_left() == 0)
    await bot.homeserver.set_state(list_id, KEEPER, USER_RULE, ban(SPAMMER), "a")
    for number in range(150):
        await bot.homeserver.say(list_id, KEEPER, f"chat {number}")
    gate.set()
    await bot.caught_up()
    assert not (await bot.sign(room_id)).signed


async def test_a_gap_that_cannot_be_filled_at_once(
    bot: Moderated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policybot.bot.updates.RETRY_FIRST_S", 0.01)
    room_id, list_id = await bot.enabled(), await watched(bot)
    bot.homeserver.fault("GET", f"{list_id}/state", Fault.bad_gateway(times=3))
    bot.chat._updates.read_list(list_id)
    await bot.homeserver.set_state(list_id, KEEPER, USER_RULE, ban(SPAMMER), "a")
    await bot.caught_up()
    assert bot.homeserver.faults_left() == 0
    assert not (await bot.sign(room_id)).signed
    assert lists_told(bot) == []


async def test_what_changed_while_the_bot_was_away(bot: Moderated) -> None:
    room_id = await bot.enabled()
    list_id = await watched(bot, a=ban(SPAMMER), b=ban("@b:spam.example"))
    await bot.stop()
    await bot.homeserver.set_state(list_id, KEEPER, USER_RULE, {}, "a")
    await bot.start()
    assert (await bot.sign(room_id)).signed
    assert not (await bot.sign(room_id, "@b:spam.example")).signed


async def test_saved_rules_decide_before_the_homeserver_is_asked(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await watched(bot, a=ban(SPAMMER))
    await bot.stop()
    bot.homeserver.fault("GET", "/client/", Fault.bad_gateway(times=10_000))
    bot.homeserver.fault("POST", "/client/", Fault.bad_gateway(times=10_000))
    await bot.begin()
    assert not (await bot.sign(room_id)).signed
    bot.homeserver.mend()
    await bot.caught_up()


async def test_a_list_that_may_not_be_read_any_more_is_told_once(bot: Moderated) -> None:
    room_id, list_id = await bot.enabled(), await watched(bot, a=ban(SPAMMER))
    bot.homeserver.fault("GET", f"{list_id}/state", Fault.forbidden(times=9))
    for _ in range(3):
        bot.chat._updates.read_list(list_id)
    await bot.caught_up()
    (notice,) = lists_told(bot)
    assert notice.startswith("⚠️ I cannot read the list “Coffee” any more")
    assert f"!policy unwatch {list_id}" in notice
    assert not (await bot.sign(room_id)).signed
    assert "cannot be read at the moment" in await bot.ask("!policy lists")


async def test_kicked_from_a_list_and_invited_again(bot: Moderated) -> None:
    room_id, list_id = await bot.enabled(), await watched(bot, a=ban(SPAMMER))
    await bot.homeserver.set_membership(list_id, BOT, "leave", KEEPER)
    notice = await bot.notice("⚠️ I was removed from the list “Coffee”")
    assert "Its last known rules go on deciding" in notice
    assert not (await bot.sign(room_id)).signed
    await bot.homeserver.set_state(list_id, KEEPER, USER_RULE, ban("@b:spam.example"), "b")
    await bot.homeserver.set_membership(list_id, BOT, "invite", KEEPER)
    await bot.homeserver.wait_for(lambda: BOT in bot.homeserver.rooms[list_id].joined_at)
    await bot.caught_up()
    assert not (await bot.sign(room_id, "@b:spam.example")).signed
    assert "cannot be read" not in await bot.ask("!policy lists")
    assert len(lists_told(bot)) == 1


async def test_a_list_is_read_again_by_the_hourly_check(moderated: Moderated) -> None:
    moderated.quicken()
    await moderated.start()
    list_id = await watched(moderated, a=ban(SPAMMER))
    moderated.homeserver.fault("GET", f"{list_id}/state", Fault.forbidden())
    moderated.chat._updates.read_list(list_id)
    await moderated.caught_up()
    await moderated.maintained()
    assert "cannot be read" not in await moderated.ask("!policy lists")


async def test_events_that_are_no_rules_are_counted_and_the_latest_explained(
    bot: Moderated,
) -> None:
    room_id = await bot.enabled()
    await watched(
        bot,
        good=ban(SPAMMER),
        no_entity={"recommendation": "m.ban"},
        odd={"entity": "@x:y", "recommendation": "org.example.<b>\u202eodd"},
        number={"entity": 7, "recommendation": "m.ban"},
        long={"entity": "@" + "x" * 9000, "recommendation": "m.ban"},
    )
    reply = await bot.ask("!policy lists")
    assert "rules: 1 user, 0 server, 0 room" in reply
    assert "not usable: 4 events, the latest because “" in reply
    assert "\u202e" not in reply
    assert not (await bot.sign(room_id)).signed


async def test_configured_lists_are_watched_from_the_start(moderated: Moderated) -> None:
    list_id = moderated.policy_list("Coffee", a=ban(SPAMMER))
    moderated.homeserver.aliases["#coffee:lists.example"] = list_id
    moderated.settings["moderation_rooms"] = [
        {"room": moderated.mods, "lists": ["#coffee:lists.example", "#none:lists.example"]}
    ]
    await moderated.start()
    room_id = await moderated.enabled()
    assert not (await moderated.sign(room_id)).signed
    notice = await moderated.notice("⚠️ The configured list #none:lists.example")
    assert "cannot be followed" in notice
    await moderated.restart()
    assert len(moderated.chat.lists.subscriptions.of(moderated.mods)) == 1


async def test_too_many_configured_lists_do_no_harm(
    moderated: Moderated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policybot.bot.subscriptions.MAX_LISTS", 1)
    lists = [moderated.policy_list(f"L{n}", a=ban(SPAMMER)) for n in range(2)]
    moderated.settings["moderation_rooms"] = [{"room": moderated.mods, "lists": lists}]
    await moderated.start()
    await moderated.notice("cannot be followed: “More than 1 lists cannot be followed.”")


@pytest.mark.parametrize("proposed", ["coc", "COC", "bad code!", 7, ""])
async def test_the_shortcode_that_a_list_proposes(bot: Moderated, proposed: object) -> None:
    list_id = bot.policy_list()
    await bot.homeserver.set_state(
        list_id, KEEPER, "org.matrix.mjolnir.shortcode", {"shortcode": proposed}
    )
    await bot.ask(f"!policy watch {list_id}")
    (subscription,) = bot.chat.lists.subscriptions.of(bot.mods)
    assert subscription.shortcode == ("coc" if str(proposed).lower() == "coc" else "list1")


async def test_lists_count_in_the_order_in_which_they_are_watched(bot: Moderated) -> None:
    room_id = await bot.enabled()
    allow = {"entity": SPAMMER, "recommendation": "m.allow"}
    friends = bot.policy_list("Friends", a=allow)
    coffee = await watched(bot, a=ban(SPAMMER))
    await bot.ask(f"!policy watch {friends} friends")
    assert not (await bot.sign(room_id)).signed
    await bot.ask(f"!policy unwatch {coffee}")
    await bot.ask(f"!policy watch {coffee}")
    await bot.restart()
    assert (await bot.sign(room_id)).signed


async def test_a_slow_list_does_not_hold_up_commands(bot: Moderated) -> None:
    list_id = await watched(bot, a=ban(SPAMMER))
    gate = bot.homeserver.gate("GET", f"{list_id}/state")
    bot.chat._updates.read_list(list_id)
    await bot.homeserver.wait_for(lambda: bot.homeserver.gates_left() == 0)
    await bot.homeserver.set_state(list_id, KEEPER, USER_RULE, ban("@b:spam.example"), "b")
    assert await bot.ask("!policy help", ALICE)
    gate.set()
    await bot.caught_up()


# -- rules that would hit moderators --------------------------------------------------------------

DORA = "@dora:Mods.example:8448"
ADDRESSES = ("@eve:[2001:db8::1]", "@fay:192.0.2.1")


HITS_THE_BOT = (
    ("user", "*"),
    ("user", "@POLICY*:EXAMPLE.ORG"),
    ("server", "*"),
    ("hashed server", "example.org"),
)
HITS_A_MODERATOR = (
    ("user", "@DORA:*"),
    ("user", "@dora:mods.example:8448"),
    ("user", "@?ora:mods*"),
    ("server", "mods.example"),
    ("server", "MODS.example:8448"),
    ("server", "*.example"),
    ("server", "*mods*"),
    ("server", "[2001:db8::1]"),
    ("server", "[2001:*]"),
    ("server", "192.0.2.1"),
    ("server", "192.*"),
    ("hashed user", DORA),
    ("hashed server", "Mods.example"),
    ("hashed server", "Mods.example:8448"),
    ("hashed server", "192.0.2.1"),
)
HITS_NEITHER = (
    ("server", "*.example.org"),
    ("server", "example.org:8448"),
    ("user", "@policybot"),
)


async def test_rules_that_hit_moderators_or_the_bot_are_left_unused(bot: Moderated) -> None:
    """In force they would hit everybody else whom they match; so they stay unused as a whole,
    whether the list or the moderator came first."""

    async def moderators(membership: str) -> None:
        for user_id in (DORA, *ADDRESSES):
            await bot.homeserver.set_membership(bot.mods, user_id, membership)
        await bot.caught_up()

    list_id = await watched(bot)
    await moderators("join")
    for kind, entity in (*HITS_THE_BOT, *HITS_A_MODERATOR, *HITS_NEITHER):
        content: dict[str, object] = ban(entity)
        if kind.startswith("hashed"):
            content = {"recommendation": "m.ban", "hashes": {"sha256": hash_of(entity)}}
        event_type = f"m.policy.rule.{kind.removeprefix('hashed ')}"
        await bot.homeserver.set_state(list_id, KEEPER, event_type, content, f"{kind} {entity}")
    await bot.caught_up()
    for _ in range(2):
        assert unused(bot) == named(HITS_THE_BOT) | named(HITS_A_MODERATOR)
        await moderators("leave")
        assert unused(bot) == named(HITS_THE_BOT)
        await moderators("join")


def named(rules: tuple[tuple[str, str], ...]) -> set[str]:
    return {f"{kind} {entity}" for kind, entity in rules}


def unused(bot: Moderated) -> set[str]:
    value = bot.chat.moderation_rooms.get(bot.mods)
    assert value is not None
    return {key.state_key for key in value.unused}


async def test_a_rule_against_everybody_is_never_in_force_while_a_list_is_read(
    bot: Moderated, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_id = await watched(bot)
    table = bot.chat.lists._rule_table
    save, seen = table.save, []

    async def look(*arguments: Any) -> None:
        seen.append(unused(bot))
        await save(*arguments)

    monkeypatch.setattr(table, "save", look)
    room = bot.homeserver.rooms[list_id]
    gate = bot.homeserver.gate("GET", "/sync")
    await bot.homeserver.say(list_id, KEEPER, "the sync after this one waits")
    await bot.homeserver.wait_for(lambda: bot.homeserver.gates_left() == 0)
    room.append(KEEPER, "m.policy.rule.server", ban("*"), "everybody")
    await bot.chat.lists.read(list_id)
    assert seen == [{"everybody"}]
    gate.set()


async def test_a_long_list_is_taken_over_in_small_steps(bot: Moderated) -> None:
    """Between any two turns of the event loop at most so many rules change."""
    list_id = bot.policy_list("Long", **{f"k{n}": ban(f"@s{n}:x") for n in range(12 * STEP)})
    rules = bot.chat.lists.rules
    most = seen = 0

    async def other() -> None:
        nonlocal most, seen
        while True:
            most, seen = max(most, rules.generation - seen), rules.generation
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await bot.ask(f"!policy watch {list_id}")
    await bot.caught_up()
    task.cancel()
    assert sum(rules.counts(list_id).rules.values()) == 12 * STEP
    assert 0 < most <= STEP


async def test_a_list_that_breaks_off_changes_nothing(bot: Moderated) -> None:
    room_id, list_id = await bot.enabled(), await watched(bot, a=ban(SPAMMER))
    state = list(bot.homeserver.rooms[list_id].state.values())
    state[-1] = {**state[-1], "content": ban("@other:x")}
    body = json.dumps([*state, {**state[-1], "state_key": "b"}])[:-1]
    bot.homeserver.fault("GET", f"{list_id}/state", Fault(200, body=body))
    with pytest.raises(HomeserverAway):
        await bot.chat.lists.read(list_id)
    assert not (await bot.sign(room_id)).signed
    assert (await bot.sign(room_id, "@other:x")).signed


async def test_many_gaps_at_once_are_one_reading(bot: Moderated) -> None:
    list_id = await watched(bot, a=ban(SPAMMER))
    reads = len(bot.homeserver.calls("GET", f"{list_id}/state"))
    gate = bot.homeserver.gate("GET", f"{list_id}/state")
    bot.chat._updates.read_list(list_id)
    await bot.homeserver.wait_for(lambda: bot.homeserver.gates_left() == 0)
    for _ in range(20):
        bot.chat._updates.read_list(list_id)
    gate.set()
    await bot.caught_up()
    assert len(bot.homeserver.calls("GET", f"{list_id}/state")) == reads + 2
