"""The clock jumps by a day, ahead or back, and nothing is forgotten or silent because of it."""

import pytest

from .fake_homeserver import Fault
from .moderated import ALICE, SPAMMER, Moderated

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
VISITOR = "@visitor:spam.example"

either_way = pytest.mark.parametrize("jump_ms", [DAY_MS, -DAY_MS], ids=["ahead", "back"])


async def at_work(bot: Moderated) -> str:
    """A protected room, and the spammer banned. Events come with the age that they have."""
    bot.homeserver.event_age_ms = 50
    room_id = await bot.enabled()
    assert (await bot.ask(f"!policy ban {SPAMMER} spam")).startswith("✅")
    return room_id


@either_way
async def test_verdicts_stand_and_texts_stay(bot: Moderated, jump_ms: int) -> None:
    room_id = await at_work(bot)
    events = [bot.other.message(room_id, sender) for sender in (SPAMMER, VISITOR)]
    assert [answer.signed for answer in await bot.asked_about(events)] == [False, True]
    refused = (await bot.asked_about(events))[0]
    bot.clock.now += jump_ms
    await bot.app._verdicts.retention.prune()
    assert (await bot.ask(f"!policy unban {SPAMMER}")).startswith("✅")
    await bot.restart()
    assert [answer.signed for answer in await bot.asked_about(events)] == [False, True]
    assert SPAMMER in await bot.ask(f"!policy why {refused.event_id}")


@either_way
async def test_keys_of_a_day_do_not_all_expire(bot: Moderated, jump_ms: int) -> None:
    document = {**bot.other.key_document(), "valid_until_ts": bot.clock.now + 12 * HOUR_MS}
    bot.homeserver.key_documents[bot.other.name] = bot.other.signed(document)
    room_id = await at_work(bot)
    assert (await bot.sign(room_id, VISITOR)).signed
    bot.homeserver.fault("", "/key/v2/", Fault.bad_gateway(times=1_000))
    bot.clock.now += jump_ms
    for _ in range(3):
        assert (await bot.sign(room_id, VISITOR)).signed
        assert (await bot.sign(room_id)).status == 400
    await bot.restart()
    assert (await bot.sign(room_id, VISITOR)).signed


@either_way
async def test_reports_and_notices_go_on(bot: Moderated, jump_ms: int) -> None:
    second = "@second:spam.example"
    room_id = await at_work(bot)
    assert (await bot.ask(f"!policy ban {second} spam")).startswith("✅")
    await bot.sign(room_id)
    await bot.notice("Refused", SPAMMER)
    bot.clock.now += jump_ms
    assert (await bot.sign(room_id, second)).status == 400
    await bot.notice("Refused", second)
    await bot.homeserver.set_state(room_id, ALICE, "m.room.policy", {})
    await bot.notice("The policy server of “Lobby” was removed")


@either_way
async def test_commands_are_obeyed(bot: Moderated, jump_ms: int) -> None:
    room_id = await at_work(bot)
    bot.clock.now += jump_ms
    assert (await bot.ask("!policy status")).startswith("✅")
    assert (await bot.ask(f"!policy disable {room_id}")).startswith("✅")
    assert (await bot.ask(f"!policy enable {room_id}")).startswith("✅")


async def test_the_age_is_the_homeservers(moderated: Moderated) -> None:
    moderated.homeserver.event_age_ms = 6 * 60_000
    await moderated.start()
    await moderated.say("!policy help")
    await moderated.notice("These commands are older than five minutes", "!policy help")


@either_way
async def test_a_disabled_room_is_still_answered(bot: Moderated, jump_ms: int) -> None:
    bot.quicken()
    await bot.restart()
    room_id = await at_work(bot)
    assert (await bot.ask(f"!policy disable {room_id}")).startswith("✅")
    bot.clock.now += jump_ms
    await bot.maintained()
    assert (await bot.sign(room_id)).signed


async def test_an_open_room_is_told_again_after_the_clock_was_set_back(bot: Moderated) -> None:
    bot.homeserver.event_age_ms = 50
    await bot.homeserver.set_state(bot.mods, ALICE, "m.room.join_rules", {"join_rule": "public"})
    assert "Anybody can enter" in await bot.ask("!policy status")
    bot.clock.now -= DAY_MS
    assert "Anybody can enter" in await bot.ask("!policy status")
