"""Dry run: everything is signed, and what would have been refused is told."""

import pytest

from policybot.policy.records import RoomRecord
from policybot.policy.room import RoomMode

from .fake_homeserver import Fault
from .moderated import ALICE, BOT, NAME, OTHER_KEY, OURS, SPAMMER, Moderated

POLICY = "m.room.policy"
PUT_POLICY = "/state/m.room.policy"
CAROL = f"@carol:{NAME}"
TOLD = "🚫 Dry run, would have been refused: "


async def in_dry_run(bot: Moderated, name: str = "Lobby") -> str:
    room_id = bot.room(name)
    reply = await bot.ask(f"!policy enable {room_id} --dry-run")
    assert reply.startswith(f"✅ “{name}” is protected as a dry run.")
    return room_id


def record(bot: Moderated, room_id: str) -> RoomRecord:
    found = bot.chat.protected_rooms.record(room_id)
    assert found is not None
    return found


def mode(bot: Moderated, room_id: str) -> RoomMode:
    return record(bot, room_id).mode


async def test_everything_is_signed_and_reported(bot: Moderated) -> None:
    room_id = await in_dry_run(bot)
    assert bot.homeserver.rooms[room_id].content(POLICY) == OURS
    assert bot.front.asked == 1  # checked as for a room in earnest
    reply = await bot.ask(f"!policy ban {SPAMMER} selling things")
    assert (
        "From now on their messages are reported in 1 room in dry run; none is refused." in reply
    )
    answer = await bot.sign(room_id)
    assert answer.signed
    report = await bot.notice(TOLD, f"message by {SPAMMER} in “Lobby”")
    reference = report.rpartition("Reference: ")[2]
    reply = await bot.ask(f"!policy why {reference}")
    assert reply.startswith(f"✅ Signed: message by {SPAMMER} in “Lobby”.")
    assert "the rule that would have refused it: @spammer:spam.example (user rule" in reply
    assert "signed because the room was in dry run, where nothing is refused" in reply
    status = await bot.ask("!policy status")
    assert status.startswith("✅ All is well.")
    assert "“Lobby”: dry run, everything is signed, 1 would have been refused in 24" in status
    reply = await bot.ask(f"!policy match {SPAMMER}")
    assert "messages are refused by @spammer" in reply
    assert "All rooms are in dry run, so that is only reported" in reply


async def test_in_earnest_and_back(bot: Moderated) -> None:
    room_id = await in_dry_run(bot)
    await bot.ask(f"!policy ban {SPAMMER}")
    version = bot.homeserver.rooms[room_id].version
    event = bot.other.message(room_id, SPAMMER, version=version)
    assert [answer.signed for answer in await bot.asked_about([event])] == [True]
    sent = len(bot.homeserver.calls("PUT", POLICY))
    since = record(bot, room_id).enabled_ts
    bot.clock.now += 1_000

    reply = await bot.ask(f"!policy enable {room_id}")
    assert reply.startswith("✅ “Lobby” is protected in earnest now, no longer as a dry run.")
    assert "What was signed in dry run stays signed." in reply
    assert not (await bot.sign(room_id)).signed
    assert [answer.signed for answer in await bot.asked_about([event])] == [True]
    await bot.notice("Refused: ")
    reply = await bot.ask("!policy status")
    assert "“Lobby”: protected, 1 refused and 1 would have been refused in 24 hours" in reply

    reply = await bot.ask(f"!policy enable {room_id} —dry-run")
    assert reply.startswith("✅ “Lobby” is in dry run now: nothing is refused there any more.")
    assert f"To refuse such messages: !policy enable {room_id}" in reply
    assert (await bot.sign(room_id)).signed
    reply = await bot.ask("!policy status")
    assert "dry run, everything is signed, 1 refused and 2 would have been refused in" in reply
    reply = await bot.ask(f"!policy enable {room_id} --dry-run")
    assert reply.startswith("✅ “Lobby” was in dry run already, and still is.")
    assert len(bot.homeserver.calls("PUT", POLICY)) == sent
    assert record(bot, room_id).enabled_ts == since  # what came since is no old news
    await bot.caught_up()
    assert all("🚫" in notice for notice in bot.notices())  # the policy server stood all along


async def test_rooms_in_both_modes(bot: Moderated) -> None:
    await in_dry_run(bot, "Trial")
    await bot.enabled("Lobby")
    reply = await bot.ask(f"!policy ban {SPAMMER}")
    assert "are refused in 1 protected room, and only reported in 1 room in dry run." in reply
    reply = await bot.ask(f"!policy match {SPAMMER}")
    assert "Only reported, since in dry run, in: “Trial”" in reply


async def test_the_mode_holds_over_a_restart(bot: Moderated) -> None:
    room_id = await in_dry_run(bot)
    await bot.ask(f"!policy ban {SPAMMER}")
    await bot.restart()
    assert (await bot.sign(room_id)).signed
    await bot.notice(TOLD)
    await bot.homeserver.set_state(room_id, CAROL, "m.room.name", {"name": "Hall"})
    await bot.caught_up()
    assert mode(bot, room_id) is RoomMode.DRY_RUN


async def test_disable_ends_it(bot: Moderated) -> None:
    room_id = await in_dry_run(bot)
    assert (await bot.ask(f"!policy disable {room_id}")).startswith("✅")
    reply = await bot.ask(f"!policy enable {room_id}")
    assert reply.startswith("✅ “Lobby” is protected.")  # nothing of the dry run is left


async def test_an_end_between_wish_and_state_event(bot: Moderated) -> None:
    room_id = bot.room()
    bot.homeserver.fault("PUT", PUT_POLICY, Fault.hang())
    await bot.say(f"!policy enable --dry-run {room_id}")
    await bot.homeserver.wait_for(lambda: bot.homeserver.calls("PUT", PUT_POLICY))
    await bot.restarted_late()
    await bot.notice("✅ The policy server stands in “Lobby” now; dry run")
    await bot.ask(f"!policy ban {SPAMMER}")
    assert (await bot.sign(room_id)).signed


@pytest.mark.parametrize("flags", [("", " --dry-run"), (" --dry-run", "")])
async def test_an_end_while_the_mode_changes(bot: Moderated, flags: tuple[str, str]) -> None:
    """The new mode counts from the moment that it is stored."""
    first, second = flags
    room_id = bot.room()
    await bot.ask(f"!policy enable {room_id}{first}")
    await bot.ask(f"!policy ban {SPAMMER}")
    await bot.homeserver.set_state(room_id, CAROL, POLICY, {})
    await bot.notice("was removed")
    bot.homeserver.fault("PUT", PUT_POLICY, Fault.hang())
    await bot.say(f"!policy enable {room_id}{second}")
    await bot.homeserver.wait_for(lambda: bot.homeserver.calls("PUT", PUT_POLICY)[1:])
    await bot.restarted_late()
    await bot.notice("✅ The policy server stands in “Lobby” now")
    assert (await bot.sign(room_id)).signed is bool(second)


async def test_a_refused_change_leaves_the_mode(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.ask(f"!policy ban {SPAMMER}")
    await bot.homeserver.set_state(room_id, CAROL, POLICY, {})
    await bot.notice("was removed")
    bot.homeserver.fault("PUT", PUT_POLICY, Fault(403, "M_FORBIDDEN"))
    reply = await bot.ask(f"!policy enable {room_id} --dry-run")
    assert "Nothing was changed" in reply
    assert mode(bot, room_id) is RoomMode.ENABLED
    assert not (await bot.sign(room_id)).signed


async def test_an_unfinished_enable_takes_the_mode_that_was_asked_for_last(
    bot: Moderated,
) -> None:
    room_id = bot.room(power_levels={})
    assert (await bot.ask(f"!policy enable {room_id}")).startswith("❌ I may not set")
    assert (await bot.ask(f"!policy enable {room_id} --dry-run")).startswith("❌ I may not set")
    await bot.ask(f"!policy ban {SPAMMER}")
    await bot.homeserver.set_state(room_id, CAROL, POLICY, OURS)
    await bot.notice("✅ “Lobby” is now protected: ", "; dry run: its events are judged")
    assert (await bot.sign(room_id)).signed


async def test_a_cure_keeps_the_mode(bot: Moderated) -> None:
    """What is copied from a notice must not begin to refuse people."""
    room_id = await in_dry_run(bot)
    await bot.homeserver.set_state(room_id, CAROL, POLICY, OTHER_KEY)
    notice = await bot.notice("carries another key than mine")
    cure = f"!policy enable {room_id} --dry-run"
    assert notice.endswith(cure)
    await bot.restart()
    assert all(n.endswith(cure) for n in bot.notices())
    assert (await bot.ask(cure, ALICE)).startswith("✅ “Lobby” is protected as a dry run.")


async def test_with_replace(bot: Moderated) -> None:
    room_id = bot.room(power_levels={"users": {BOT: 50}})
    other = {"via": "other.example", "public_keys": {"ed25519": "A" * 43}}
    await bot.homeserver.set_state(room_id, CAROL, POLICY, other)
    reply = await bot.ask(f"!policy enable --dry-run {room_id} --replace")
    assert reply.startswith("✅ “Lobby” is protected as a dry run.")
    assert "in place of other.example" in reply
