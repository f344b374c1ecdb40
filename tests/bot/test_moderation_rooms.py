"""Moderation rooms: their members, their encryption, and several of them side by side."""

import pytest

from policybot.policy.rule import rule_state_key

from .fake_homeserver import Fault
from .moderated import ALICE, BOB, BOT, NAME, OURS, SPAMMER, Moderated, ban

CAROL = f"@carol:{NAME}"
DORA = "@dora:other.example"
ENCRYPTION = {"algorithm": "m.megolm.v1.aes-sha2"}


async def test_an_encrypted_moderation_room_is_told_once_with_the_cure(bot: Moderated) -> None:
    await bot.homeserver.set_state(bot.mods, ALICE, "m.room.encryption", ENCRYPTION)
    notice = await bot.notice("⚠️ This room is encrypted")
    assert "make a new invite-only room without it" in notice
    await bot.homeserver.set_membership(bot.mods, BOB, "leave")
    await bot.homeserver.set_membership(bot.mods, BOB, "join")
    await bot.caught_up()
    assert len(bot.notices()) == 1


async def test_encryption_from_the_beginning_is_told_at_start(moderated: Moderated) -> None:
    await moderated.homeserver.set_state(moderated.mods, ALICE, "m.room.encryption", ENCRYPTION)
    await moderated.start()
    await moderated.notice("This room is encrypted")
    assert len(moderated.notices()) == 1


async def test_a_moderation_room_by_alias(moderated: Moderated) -> None:
    moderated.homeserver.aliases["#mods:example.org"] = moderated.mods
    moderated.settings["moderation_rooms"] = ["#mods:example.org"]
    await moderated.start()
    assert (await moderated.ask("!policy help")).startswith("✅ What you")


async def test_moderators_are_exempt_while_the_homeserver_is_away(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.homeserver.set_membership(bot.mods, SPAMMER, "join")
    await bot.caught_up()
    await bot.ask(f"!policy watch {bot.policy_list(a=ban('@*:spam.example'))}")
    await bot.stop()
    bot.homeserver.fault("GET", "/client/", Fault.bad_gateway(times=10_000))
    await bot.begin()
    assert (await bot.sign(room_id)).signed
    bot.homeserver.mend()
    await bot.caught_up()


async def test_members_of_an_open_moderation_room_are_not_exempt(bot: Moderated) -> None:
    """Whoever wants to be exempt could simply enter it."""
    room_id = await bot.enabled()
    await bot.ask(f"!policy ban {SPAMMER}")
    await bot.homeserver.set_state(bot.mods, ALICE, "m.room.join_rules", {"join_rule": "public"})
    await bot.homeserver.set_membership(bot.mods, SPAMMER, "join")
    await bot.caught_up()
    value = bot.chat.moderation_rooms.get(bot.mods)
    assert value is not None and not value.invite_only
    assert SPAMMER in value.members
    # the rule hits a member, so it stays unused
    assert (await bot.sign(room_id)).signed


# -- several --------------------------------------------------------------------------------------


@pytest.fixture
async def several(moderated: Moderated) -> tuple[Moderated, str]:
    """Two moderation rooms; the second is Dora's."""
    second = moderated.homeserver.create_room(DORA, name="Second", members=[BOT])
    moderated.settings["moderation_rooms"] = [moderated.mods, second]
    await moderated.start()
    return moderated, second


async def test_enable_needs_the_own_power_of_who_asks(several: tuple[Moderated, str]) -> None:
    bot, second = several
    room_id = bot.room(members=[BOT, SPAMMER, ALICE, DORA])
    for sender, place in ((ALICE, bot.mods), (DORA, second)):
        reply = await bot.ask(f"!policy enable {room_id}", sender, place)
        assert "You may not set the policy server of that room yourself" in reply
        assert "your power level there is 0, needed is 50" in reply
    assert bot.homeserver.rooms[room_id].content("m.room.policy") == {}
    levels = {"users": {BOT: 100, ALICE: 50}}
    await bot.homeserver.set_state(room_id, CAROL, "m.room.power_levels", levels)
    assert (await bot.ask(f"!policy enable {room_id}")).startswith("✅")
    await bot.homeserver.set_state(
        room_id, CAROL, "m.room.power_levels", {"users": {BOT: 100, BOB: 0}}
    )
    await bot.caught_up()
    reply = await bot.ask(f"!policy disable {room_id}")
    assert "You may not set the policy server of that room yourself" in reply
    reply = await bot.ask("!policy disable all")
    assert reply.startswith("❌ “Lobby”: “You may not set")


async def test_rooms_of_one_are_invisible_and_untouchable_to_the_other(
    several: tuple[Moderated, str],
) -> None:
    bot, second = several
    levels = {"users": {BOT: 100, ALICE: 100, DORA: 100}}
    members = [BOT, SPAMMER, ALICE, DORA]
    room_id = await bot.enabled("Secret", members=members, power_levels=levels)
    await bot.ask(f"!policy ban {SPAMMER}")
    refused = await bot.sign(room_id)
    await bot.notice("🚫", "Secret")
    assert "Secret" not in await bot.ask("!policy status", DORA, second)
    for words in (f"status {room_id}", f"disable {room_id}"):
        reply = await bot.ask(f"!policy {words}", DORA, second)
        assert reply == "❌ I do not protect that room."
    assert "No room is protected here." in await bot.ask("!policy disable all", DORA, second)
    reply = await bot.ask(f"!policy enable {room_id}", DORA, second)
    assert reply == "❌ That room belongs to another moderation room of this bot."
    reply = await bot.ask(f"!policy why {refused.event_id}", DORA, second)
    assert "I know of no refusal" in reply
    assert bot.homeserver.rooms[room_id].content("m.room.policy") == OURS
    await bot.caught_up()
    assert bot.notices(second) == []
    # after it was disabled, the other may have it
    await bot.ask(f"!policy disable {room_id}")
    assert (await bot.ask(f"!policy enable {room_id}", DORA, second)).startswith("✅")
    assert (await bot.sign(room_id)).signed


async def test_lists_of_one_do_not_count_for_the_other(several: tuple[Moderated, str]) -> None:
    bot, second = several
    levels = {"users": {BOT: 100, ALICE: 100, DORA: 100}}
    room_id = bot.room(members=[BOT, SPAMMER, ALICE, DORA], power_levels=levels)
    assert (await bot.ask(f"!policy enable {room_id}", DORA, second)).startswith("✅")
    await bot.ask(f"!policy ban {SPAMMER}")
    assert (await bot.sign(room_id)).signed
    assert "No list is followed" in await bot.ask("!policy lists", DORA, second)
    assert "no rule decides" in await bot.ask(f"!policy match {SPAMMER}", DORA, second)
    assert "No rule has exactly this name" in await bot.ask(
        f"!policy unban {SPAMMER}", DORA, second
    )
    assert "Those that are: none" in await bot.ask("!policy unwatch bans", DORA, second)


async def test_a_private_list_of_one_cannot_be_watched_by_the_other(
    several: tuple[Moderated, str],
) -> None:
    bot, second = several
    await bot.ask(f"!policy ban {SPAMMER}")
    (subscription,) = bot.chat.lists.subscriptions.of(bot.mods)
    list_id = subscription.list_id
    reply = await bot.ask(f"!policy watch {list_id}", DORA, second)
    assert reply == "❌ You are not in that list yourself. Join it and try again."
    # who is in it may watch it, but the bot does not write there for him
    await bot.homeserver.set_membership(list_id, DORA, "join", BOT)
    assert (await bot.ask(f"!policy watch {list_id} theirs", DORA, second)).startswith("✅")
    reply = await bot.ask("!policy ban @x:spam.example --list theirs", DORA, second)
    assert "That list belongs to others" in reply
    reply = await bot.ask(f"!policy unban {SPAMMER}", DORA, second)
    assert "That list belongs to others" in reply
    state_key = rule_state_key(SPAMMER, "m.ban")
    assert bot.homeserver.rooms[list_id].content("m.policy.rule.user", state_key)


async def test_a_public_list_may_be_watched_by_all_and_is_kept_once(
    several: tuple[Moderated, str],
) -> None:
    bot, second = several
    list_id = bot.policy_list("Coffee", a=ban(SPAMMER))
    assert (await bot.ask(f"!policy watch {list_id}")).startswith("✅")
    assert (await bot.ask(f"!policy watch {list_id}", DORA, second)).startswith("✅")
    await bot.ask(f"!policy unwatch {list_id}")
    assert "refused by" in await bot.ask(f"!policy match {SPAMMER}", DORA, second)
    await bot.restart()
    assert "refused by" in await bot.ask(f"!policy match {SPAMMER}", DORA, second)
    await bot.ask(f"!policy unwatch {list_id}", DORA, second)
    assert bot.chat.lists.rules.rules_of(list_id) == []


async def test_each_has_an_own_list(several: tuple[Moderated, str]) -> None:
    bot, second = several
    await bot.ask(f"!policy ban {SPAMMER}")
    await bot.ask(f"!policy ban {SPAMMER}", DORA, second)
    first, other = (bot.chat.lists.subscriptions.of(room)[0] for room in (bot.mods, second))
    assert first.list_id != other.list_id
    assert bot.homeserver.rooms[other.list_id].membership(DORA) == "invite"
    assert bot.homeserver.rooms[other.list_id].membership(ALICE) == "leave"
