"""The rooms at start: those that are nobody's, carry another key, or lost their moderators."""

from policybot.policy.room import RoomMode

from .moderated import ALICE, BOT, NAME, OTHER_KEY, OURS, SPAMMER, Moderated, ban

POLICY = "m.room.policy"
UNSTABLE = "org.matrix.msc4284.policy"
CAROL = f"@carol:{NAME}"


async def test_a_room_that_names_us_unasked_is_signed_and_told(moderated: Moderated) -> None:
    room_id = moderated.room()
    await moderated.homeserver.set_state(room_id, CAROL, POLICY, OURS)
    list_id = moderated.policy_list(a=ban(SPAMMER))
    await moderated.start()
    await moderated.ask(f"!policy watch {list_id}")
    notice = await moderated.notice("no moderation room enabled them. I sign everything there")
    assert "“Lobby”" in notice and f"!policy enable {room_id}" in notice
    assert (await moderated.sign(room_id)).signed
    assert "“Lobby” names me, but is not enabled" in await moderated.ask("!policy status")
    await moderated.restart()
    assert len(moderated.notices()) == 1  # it is known now
    assert (await moderated.ask(f"!policy enable {room_id}")).startswith("✅")
    assert not (await moderated.sign(room_id)).signed


async def test_a_room_that_names_us_by_the_unstable_event_alone(moderated: Moderated) -> None:
    room_id = moderated.room()
    content = {"via": NAME, "public_key": OURS["public_keys"]["ed25519"]}
    await moderated.homeserver.set_state(room_id, CAROL, UNSTABLE, content)
    await moderated.start()
    await moderated.notice("no moderation room enabled them")
    assert (await moderated.sign(room_id)).signed


async def test_a_room_that_comes_to_name_us_later(bot: Moderated) -> None:
    room_id = bot.room()
    await bot.homeserver.set_state(room_id, CAROL, POLICY, OURS)
    await bot.notice("no moderation room enabled them")
    assert (await bot.sign(room_id)).signed
    reply = await bot.ask("!policy disable all")
    assert reply.startswith("✅ The policy server is out of “Lobby”")
    assert bot.homeserver.rooms[room_id].content(POLICY) == {}


async def test_many_such_rooms_are_one_notice(moderated: Moderated) -> None:
    for number in range(13):
        room_id = moderated.room(f"Room {number}")
        content = OTHER_KEY if number == 0 else OURS
        await moderated.homeserver.set_state(room_id, CAROL, POLICY, content)
    await moderated.start()
    assert len(moderated.notices()) == 1
    assert "and 3 more" in moderated.notices()[0]


async def test_a_new_database_says_how_to_put_the_old_key_back(moderated: Moderated) -> None:
    """No key is configured and none is kept, but a room carries one of ours."""
    moderated.settings["policy_server"]["signing_key"] = None
    room_id = moderated.room()
    await moderated.homeserver.set_state(room_id, CAROL, POLICY, OURS)
    await moderated.start()
    notice = await moderated.notice("carries another key than mine, so nobody can talk there")
    assert "policy_server.signing_key" in notice and f"!policy enable {room_id}" in notice
    assert len(moderated.notices()) == 1
    assert (await moderated.ask(f"!policy enable {room_id}")).startswith("✅")
    assert moderated.homeserver.rooms[room_id].content(POLICY) != OURS


async def test_another_key_in_the_configuration_is_told_at_start(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.stop()
    bot.settings["policy_server"]["signing_key"] = "A" * 43
    await bot.start()
    notice = await bot.notice("The room “Lobby” carries another key than mine")
    assert "policy_server.signing_key" in notice and f"!policy enable {room_id}" in notice
    assert "⚠️ it carries another key than mine" in await bot.ask("!policy status")
    assert (await bot.ask(f"!policy enable {room_id}")).startswith("✅")


async def test_rooms_of_a_moderation_room_that_is_gone_can_be_taken_over(bot: Moderated) -> None:
    """The cure for an encrypted moderation room is a new one: it must get the rooms."""
    room_id = await bot.enabled()
    off = await bot.enabled("Off")
    await bot.ask(f"!policy disable {off}")
    await bot.ask(f"!policy ban {SPAMMER}")
    await bot.stop()
    old = bot.mods
    bot.mods = bot.homeserver.create_room(ALICE, name="New", members=[BOT])
    bot.settings["moderation_rooms"] = [bot.mods]
    await bot.start()
    notice = await bot.notice("no moderation room enabled them", "“Lobby”")
    assert "Off" not in notice
    assert (await bot.sign(room_id)).signed
    assert (await bot.ask(f"!policy enable {room_id}")).startswith("✅")
    record = bot.chat.protected_rooms.record(off)
    assert record is not None and record.mode is RoomMode.DISABLED and old != bot.mods


async def test_a_protected_room_that_is_also_a_list_is_followed_as_both(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.homeserver.set_state(room_id, CAROL, "m.policy.rule.user", ban(SPAMMER), "a")
    await bot.ask(f"!policy watch {room_id}")
    assert not (await bot.sign(room_id)).signed
    await bot.restart()
    assert not [notice for notice in bot.notices() if "removed" in notice]
    await bot.homeserver.set_state(room_id, CAROL, POLICY, {})
    await bot.notice("was removed")


async def test_an_ordinary_room_is_left_alone(moderated: Moderated) -> None:
    room_id = moderated.room()
    other = {"via": "other.example", "public_keys": {"ed25519": "A" * 43}}
    await moderated.homeserver.set_state(room_id, CAROL, POLICY, other)
    await moderated.start()
    assert moderated.notices() == []
    assert (await moderated.sign(room_id)).status == 404
