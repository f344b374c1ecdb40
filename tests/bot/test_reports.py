"""Reports of refused events: one each, one notice for a burst, nothing lost by a crash.

How they do in a raid is in test_raid.
"""

import pytest

from policybot.bot.reports import ReportTimes
from policybot.policy.records import ReportCursor
from policybot.store.report_cursor import ReportCursorTable
from tests.store.samples import eventually

from .fake_homeserver import Fault
from .fake_room import EPOCH_MS
from .moderated import ALICE, BOT, NAME, SPAMMER, Moderated

SEND = "/send/m.room.message/policybot-report"


@pytest.fixture
async def room_id(bot: Moderated) -> str:
    room_id = await bot.enabled()
    await bot.ask(f"!policy ban {SPAMMER} spam")
    await bot.ask("!policy ban @other:spam.example")
    return room_id


def reports(bot: Moderated, room_id: str = "") -> list[str]:
    return [notice for notice in bot.notices(room_id) if notice.startswith("🚫")]


async def hold(bot: Moderated) -> None:
    """Let no report begin until `go_on`."""
    bot.chat.reports._times = ReportTimes(3600.0, 0.0)


async def go_on(bot: Moderated) -> None:
    """Report what is stored, as after the first delay."""
    await eventually(lambda: not bot.app._verdicts.waiting_count)
    await bot.chat.reports._report_all()


async def test_one_event_is_one_report(bot: Moderated, room_id: str) -> None:
    await bot.sign(room_id, body="<b>the abusive text</b>")
    notice = await bot.notice("🚫")
    assert notice.startswith(
        f"🚫 Refused: message by {SPAMMER} in “Lobby”. Rule: {SPAMMER} (user rule of the list "
        "“Moderators bans”), reason “spam”. Reference: "
    )
    assert "abusive" not in notice


async def test_the_same_event_asked_again_is_not_told_again(bot: Moderated, room_id: str) -> None:
    event = bot.other.message(room_id, SPAMMER)
    first, again = await bot.asked_about([event, event])
    assert first.body == again.body
    await bot.notice("🚫")
    await bot.sign(room_id, "@other:spam.example")
    notice = await bot.notice("🚫", "@other:spam.example")
    assert notice.startswith("🚫 Refused: 2 events")
    assert notice.count(SPAMMER) == notice.count("(user rule of the list") == 2


async def test_a_few_at_once_are_one_notice_that_names_each(bot: Moderated, room_id: str) -> None:
    await hold(bot)
    for _ in range(5):
        await bot.sign(room_id)
    await go_on(bot)
    (notice,) = reports(bot)
    assert notice.startswith("🚫 Refused: 5 events")
    assert notice.count("Reference: ") == 5


async def test_a_burst_is_one_digest_with_counts(bot: Moderated, room_id: str) -> None:
    second = await bot.enabled("Hall")
    await hold(bot)
    for _ in range(7):
        await bot.sign(room_id)
    for _ in range(3):
        await bot.sign(second, "@other:spam.example")
    await go_on(bot)
    (notice,) = reports(bot)
    assert notice.startswith("🚫 Refused: 10 events by 2 senders in 2 rooms\n")
    assert "Senders: @spammer:spam.example 7×, @other:spam.example 3×" in notice
    assert "Servers: spam.example 10×" in notice
    assert "Rooms: “Lobby” 7×, “Hall” 3×" in notice
    assert "reason “spam” 7×" in notice
    assert "The latest: !policy why " in notice
    await go_on(bot)
    assert len(bot.homeserver.calls("PUT", SEND)) == 1


async def test_between_two_digests_lies_the_interval(moderated: Moderated) -> None:
    moderated.settings["reports"] = {"first_delay": 0, "interval": "1h"}
    await moderated.start()
    room_id = await moderated.enabled()
    await moderated.ask(f"!policy ban {SPAMMER}")
    await moderated.sign(room_id)
    await moderated.notice("🚫 Refused: message")
    for _ in range(8):
        await moderated.sign(room_id)
    await moderated.caught_up()
    assert len(moderated.homeserver.calls("PUT", SEND)) == 1
    # the time comes
    chat = moderated.chat.reports
    chat._not_before.clear()
    chat.wake()
    await moderated.notice("🚫 Refused: 9 events by 1 sender in 1 room")
    assert len(moderated.homeserver.calls("PUT", SEND)) == 2
    assert len(reports(moderated)) == 1


async def test_what_waits_for_the_interval_comes_without_another_refusal(
    moderated: Moderated,
) -> None:
    await moderated.start()
    room_id = await moderated.enabled()
    await moderated.ask(f"!policy ban {SPAMMER}")
    moderated.chat.reports._times = ReportTimes(0.0, 0.3)
    await moderated.sign(room_id)
    await moderated.notice("🚫 Refused: message")
    await moderated.sign(room_id)
    await moderated.notice("🚫 Refused: 2 events")


async def test_old_events_are_only_counted(bot: Moderated, room_id: str) -> None:
    await hold(bot)
    for _ in range(3):
        assert not (await bot.sign(room_id, origin_server_ts=EPOCH_MS - 1)).signed
    await go_on(bot)
    assert reports(bot) == ["🚫 Refused: 3 events sent before the room was protected."]
    await bot.sign(room_id, origin_server_ts=EPOCH_MS - 1)
    await bot.sign(room_id)
    await go_on(bot)
    (notice,) = reports(bot)
    assert "Also refused: 4 events sent before the room was protected." in notice
    assert notice.count("Reference") == 1


async def test_senders_that_cannot_be_verified_are_only_counted(
    bot: Moderated, room_id: str
) -> None:
    """Else anybody could defame a user of a server that is away."""
    await bot.ask("!policy ban @victim:away.example")
    await hold(bot)
    assert not (await bot.sign(room_id, "@victim:away.example")).signed
    await go_on(bot)
    (notice,) = reports(bot)
    assert notice.startswith("🚫 Refused: 1 event whose sender could not be verified")
    assert "victim" not in notice


async def test_reports_go_to_a_room_of_their_own(moderated: Moderated) -> None:
    room = moderated.homeserver.create_room(ALICE, members=[BOT])
    moderated.settings["moderation_rooms"] = [{"room": moderated.mods, "reports": room}]
    await moderated.start()
    room_id = await moderated.enabled()
    await moderated.ask(f"!policy ban {SPAMMER}")
    await moderated.sign(room_id)
    await moderated.notice("🚫", room_id=room)
    assert moderated.notices() == []


async def test_a_reports_room_that_takes_none_is_told_in_the_moderation_room(
    moderated: Moderated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policybot.bot.reports.RETRY_S", 0.02)
    room = moderated.homeserver.create_room(ALICE, members=[BOT], join_rule="public")
    moderated.settings["moderation_rooms"] = [{"room": moderated.mods, "reports": room}]
    await moderated.start()
    room_id = await moderated.enabled()
    await moderated.ask(f"!policy ban {SPAMMER}")
    await moderated.homeserver.set_membership(room, BOT, "leave", ALICE)
    await moderated.sign(room_id)
    await moderated.notice("⚠️ I cannot write into the reports room")
    tried = len(moderated.homeserver.calls("PUT", SEND))
    await moderated.homeserver.wait_for(
        lambda: len(moderated.homeserver.calls("PUT", SEND)) > tried + 2
    )
    await moderated.homeserver.set_membership(room, BOT, "join")
    await moderated.notice("🚫", room_id=room)
    assert len(moderated.notices()) == 1


async def test_a_crash_between_storing_the_range_and_sending(bot: Moderated, room_id: str) -> None:
    bot.homeserver.fault("PUT", SEND, Fault.hang())
    await bot.sign(room_id)
    await bot.homeserver.wait_for(lambda: bot.homeserver.calls("PUT", SEND))
    await bot.stop()
    await bot.start()
    await bot.notice("🚫")
    first, second = bot.homeserver.calls("PUT", SEND)
    assert first.path == second.path
    assert len(reports(bot)) == 1


async def test_a_crash_between_sending_and_noting_it(bot: Moderated, room_id: str) -> None:
    """The same transaction ID: the homeserver drops the double, and what came later is told."""
    bot.homeserver.fault("PUT", SEND, Fault.hang(after_the_deed=True))
    await bot.sign(room_id)
    await bot.homeserver.wait_for(lambda: reports(bot))
    await bot.sign(room_id, "@other:spam.example")
    await bot.stop()
    # the same account keeps its token in a real restart
    await bot.start()
    await bot.notice("🚫", "@other:spam.example")
    assert len([n for n in reports(bot) if SPAMMER in n]) == 1
    first, second, third = bot.homeserver.calls("PUT", SEND)
    assert first.path == second.path != third.path


async def test_a_refusal_that_was_stored_but_not_reported_before_the_first_report(
    bot: Moderated, room_id: str
) -> None:
    await hold(bot)
    await bot.sign(room_id)
    await bot.restart()
    await bot.notice("🚫")


async def test_what_was_refused_while_the_homeserver_was_away(
    bot: Moderated, room_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policybot.bot.reports.RETRY_S", 0.01)
    bot.homeserver.fault("PUT", SEND, Fault.bad_gateway(times=5))
    for _ in range(3):
        await bot.sign(room_id)
    await bot.homeserver.wait_for(lambda: sum(n.count("Reference") for n in reports(bot)) == 3)


async def test_a_pending_range_without_rows_is_passed(bot: Moderated, room_id: str) -> None:
    """Retention may have taken the rows of a range that was begun long ago."""
    await hold(bot)
    table = ReportCursorTable(bot._database)
    await table.save(ReportCursor(bot.mods, 1000, 2000, EPOCH_MS))
    await go_on(bot)
    assert await table.get(bot.mods) == ReportCursor(bot.mods, 2000)
    assert reports(bot) == []


async def test_a_moderation_room_that_shares_its_reports_room(moderated: Moderated) -> None:
    second = moderated.homeserver.create_room("@dora:other.example", members=[BOT])
    room = moderated.homeserver.create_room(ALICE, members=[BOT])
    moderated.settings["moderation_rooms"] = [
        {"room": moderated.mods, "reports": room},
        {"room": second, "reports": room},
    ]
    await moderated.start()
    levels = {"users": {BOT: 100, ALICE: 50}}
    room_id = moderated.room(members=[BOT, SPAMMER, ALICE], power_levels=levels)
    assert NAME in await moderated.ask(f"!policy enable {room_id}")
    await moderated.ask(f"!policy ban {SPAMMER}")
    await moderated.sign(room_id)
    await moderated.notice("🚫", room_id=room)
    assert len(reports(moderated, room)) == 1
