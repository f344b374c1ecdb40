"""Reports in a raid: a handful of notices, each refusal in one of them, commands first."""

import asyncio
import json
import random
import re
from dataclasses import replace
from functools import partial

import pytest

from policybot.bot.reply import Reply
from policybot.bot.reports import Reports, ReportTimes
from policybot.bot.send_gate import Precedence
from policybot.policy.verdict import Decision, Ground
from policybot.store.report_cursor import ReportCursorTable
from tests.store.samples import RULE, eventually, key, refusal_details

from .fake_homeserver import Fault
from .moderated import BOT, Moderated
from .send_limit import SendLimit

SEND = "/send/m.room.message/policybot-report"
MINUTE_MS = 60_000


class Raid:
    """Refusals without their requests, and a reporter that reports when it is told to."""

    def __init__(self, bot: Moderated) -> None:
        self.bot = bot
        self.count = 0
        bot.chat.reports._times = ReportTimes(3600.0, 0.0)

    def submit(self, count: int, **details: object) -> None:
        """Have so many events refused, by 2,000 senders in three rooms."""
        for number in range(self.count, self.count + count):
            made = {
                "moderation_room": self.bot.mods,
                "sender": f"@user{number % 2_000}:s{number % 2_000 % 7}.example",
                "room_id": f"!room{number % 3}:example.org",
                "received_ts": self.bot.clock.now,
                **details,
            }
            decision = Decision(key(number), False, refusal_details(number, **made))
            self.bot.app._verdicts.submit(decision)
        self.count += count

    async def report(self) -> None:
        """Report what is stored, as when the interval is over."""
        await eventually(lambda: not self.bot.app._verdicts.waiting_count)
        await self.bot.chat.reports._report_all()

    def notices(self) -> list[str]:
        """The reports as clients show them."""
        return [notice for notice in self.bot.notices() if notice.startswith("🚫")]

    def sent(self) -> int:
        """How many events the reports took."""
        messages = self.bot.homeserver.messages(self.bot.mods, BOT)
        return sum("🚫" in content["body"][:3] for content in messages)

    def told(self) -> int:
        """The sum over all notices."""
        return sum(map(count_of, self.notices()))


def count_of(notice: str) -> int:
    if notice.startswith("🚫 Refused: message by"):
        return 1
    headline = re.match(r"🚫 Refused: ([\d,]+) events", notice)
    assert headline is not None, notice
    return int(headline[1].replace(",", ""))


def bytes_of(content: object) -> int:
    return len(json.dumps(content, ensure_ascii=False).encode())


@pytest.fixture
def raid(bot: Moderated) -> Raid:
    return Raid(bot)


def restart(bot: Moderated) -> None:
    """Let a new reporter take the place of the old one, as after a crash."""
    old = bot.chat.reports
    bot.chat.reports = Reports(
        old._client,
        old._refusals,
        old._cursors,
        old._moderation_rooms,
        old._notices,
        old._titles,
        old._times,
        clock=old._clock,
        prefix=old._prefix,
    )


async def test_ten_thousand_in_a_minute_are_one_notice(bot: Moderated, raid: Raid) -> None:
    raid.submit(3)
    await raid.report()
    for wave in (4_000, 4_000, 1_997):
        bot.clock.now += 30_000
        raid.submit(wave)
        await raid.report()
    (notice,) = raid.notices()
    assert raid.sent() == 4
    lines = notice.split("\n")
    assert lines[0] == "🚫 Refused: 10,000 events by 2,000 senders in 3 rooms"
    assert lines[1] == "From 08:01 to 08:02 UTC"
    assert lines[2].startswith("• Senders: @user0:s0.example 5×, ")
    assert lines[2].endswith(" and 1,995 more")
    assert lines[3].startswith("• Servers: s0.example 1,430×, ")
    assert lines[3].endswith(" and 2 more")
    assert lines[4].startswith("• Rooms: ") and "3,334×" in lines[4]
    assert lines[5].startswith("• Rule: @spammer*:example.com (user rule of the list ")
    assert lines[5].endswith("reason “spam” 10,000×")
    assert lines[6].startswith("• The latest: !policy why ") and len(lines) == 7
    assert bytes_of(bot.homeserver.calls("PUT", SEND)[-1].json) < 4_000


async def test_another_raid_is_another_notice(bot: Moderated, raid: Raid) -> None:
    for quiet in (0, 1 * MINUTE_MS, 3 * MINUTE_MS):
        bot.clock.now += quiet
        raid.submit(10)
        await raid.report()
    assert [count_of(notice) for notice in raid.notices()] == [20, 10]


async def test_in_a_long_raid_a_notice_comes_from_time_to_time(bot: Moderated, raid: Raid) -> None:
    for _ in range(60):
        raid.submit(10)
        await raid.report()
        bot.clock.now += MINUTE_MS
    assert raid.sent() == 60
    assert len(raid.notices()) == 6
    assert raid.told() == 600


async def test_a_restart_goes_on_in_the_same_notice(bot: Moderated, raid: Raid) -> None:
    raid.submit(10)
    await raid.report()
    raid.submit(10)
    restart(bot)
    await raid.report()
    assert [count_of(notice) for notice in raid.notices()] == [20]


@pytest.mark.parametrize("edit", [False, True], ids=["notice", "edit"])
@pytest.mark.parametrize(
    "fault", [Fault.bad_gateway(), Fault(502, body="x", after_the_deed=True)], ids=repr
)
async def test_a_crash_at_the_sending(
    bot: Moderated, raid: Raid, edit: bool, fault: Fault
) -> None:
    """Before the request and after it: the same request is made again, what came later is told
    after it, and nothing is counted twice."""
    if edit:
        raid.submit(10)
        await raid.report()
    bot.homeserver.fault("PUT", SEND, fault)
    raid.submit(10)
    await raid.report()
    raid.submit(7)
    restart(bot)
    await raid.report()
    first, second = bot.homeserver.calls("PUT", SEND)[-2:]
    assert ("-edit-" in first.path) is edit
    assert (first.path, first.json) == (second.path, second.json)
    assert raid.told() == (20 if edit else 10)
    bot.chat.reports._not_before.clear()
    await raid.report()
    assert raid.told() == raid.count
    assert len(raid.notices()) == 1


async def test_a_crash_between_sending_and_saving(
    bot: Moderated, raid: Raid, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = ReportCursorTable.save

    async def fails(self: ReportCursorTable, cursor: object) -> None:
        raise OSError("the disk is full")

    for _ in range(2):  # a new notice, then its edit
        raid.submit(10)
        await raid.report()
        raid.submit(10)
        with monkeypatch.context() as patch:
            patch.setattr(ReportCursorTable, "save", fails)
            with pytest.raises(OSError):
                await raid.report()
            patch.setattr(ReportCursorTable, "save", save)
            await raid.report()
            assert raid.told() == raid.count


async def test_whatever_goes_wrong_each_refusal_is_counted_once(
    bot: Moderated, raid: Raid, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long life: bursts, silence, a homeserver that fails before or after the deed, crashes."""
    monkeypatch.setattr("policybot.bot.reports.RETRY_S", 0.0)
    chance = random.Random(7)
    faults = (Fault.bad_gateway(), Fault(502, body="x", after_the_deed=True), Fault.forbidden())
    for _ in range(150):
        step = chance.random()
        if step < 0.4:
            raid.submit(chance.randint(1, 20))
        elif step < 0.5:
            bot.clock.now += chance.choice([10_000, 3 * MINUTE_MS])
        elif step < 0.6:
            restart(bot)
        else:
            if step < 0.8:
                bot.homeserver.fault("PUT", SEND, chance.choice(faults))
            await raid.report()
            bot.homeserver.mend()
        assert raid.told() <= raid.count
    for _ in range(2):
        await raid.report()
    assert raid.told() == raid.count > 500


async def test_a_notice_that_cannot_be_edited_is_followed_by_another(
    bot: Moderated, raid: Raid
) -> None:
    raid.submit(10)
    await raid.report()
    bot.homeserver.fault("PUT", SEND, Fault(400, "M_INVALID_PARAM"))
    raid.submit(5)
    await raid.report()
    assert [count_of(notice) for notice in raid.notices()] == [10, 5]


async def test_an_hour_without_the_homeserver_is_one_digest(
    bot: Moderated, raid: Raid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policybot.bot.reports.RETRY_S", 0.0)
    bot.homeserver.fault("PUT", SEND, Fault.bad_gateway(times=60))
    for _ in range(60):
        raid.submit(50)
        await raid.report()
        bot.clock.now += MINUTE_MS
    assert raid.notices() == []
    assert bot.homeserver.faults_left() == 0
    await raid.report()
    await raid.report()
    (notice,) = raid.notices()
    assert notice.startswith("🚫 Refused: 3,000 events by 2,000 senders in 3 rooms\n")
    assert "From 08:01 to 09:00 UTC" in notice
    assert raid.sent() == 2


async def test_other_moderation_rooms_are_not_counted(bot: Moderated, raid: Raid) -> None:
    """Nor does a raid on their rooms keep this one's reporter busy."""
    raid.submit(6_000, moderation_room="!others:example.org")
    await raid.report()
    assert raid.notices() == []
    table = ReportCursorTable(bot._database)
    cursor = await table.get(bot.mods)
    assert cursor is not None and cursor.number == 6_000
    raid.submit(1)
    await raid.report()
    assert raid.told() == 1


async def test_two_moderation_rooms_hear_of_their_own(moderated: Moderated) -> None:
    """At the same moment, and some homeservers tell transaction IDs by their text alone."""
    second = moderated.homeserver.create_room("@dora:other.example", members=[BOT])
    moderated.settings["moderation_rooms"] = [moderated.mods, second]
    await moderated.start()
    raid = Raid(moderated)
    raid.submit(20)
    raid.submit(30, moderation_room=second)
    await raid.report()
    for room_id, count in ((moderated.mods, 20), (second, 30)):
        (notice,) = moderated.notices(room_id)[-1:]
        assert count_of(notice) == count


async def test_many_rules_and_hostile_names_stay_one_small_event(
    bot: Moderated, raid: Raid
) -> None:
    hostile = '<b>@room\u202e https://evil.example & "x"\n' + "&" * 1_000
    for number in range(40):
        rule = replace(RULE, entity=f"@{number}{hostile}", reason=hostile)
        raid.submit(1, sender=f"@{number}{hostile}", room_id=f"!{number}{hostile}", rule=rule)
    await raid.report()
    raid.submit(1)
    await raid.report()
    (notice,) = raid.notices()
    assert "and 38 more rules" in notice
    edit = bot.homeserver.calls("PUT", SEND)[-1].json
    assert bytes_of(edit) < 20_000
    for content in (edit, edit["m.new_content"]):
        assert content["m.mentions"] == {}
        assert "<b>@" not in content["formatted_body"]
        assert "\u202e" not in content["body"] + content["formatted_body"]


async def test_commands_are_answered_first(bot: Moderated, raid: Raid) -> None:
    """On a homeserver with the default limits, all that the bot says unasked stands back."""
    limit = bot.homeserver.send_limit = SendLimit()
    gate = bot._client._gate
    for number in range(30):
        bot.chat.notices.tell(bot.mods, Reply.problem(str(number)))
    await bot.homeserver.wait_for(lambda: limit.refused)
    assert len(bot.notices()) == limit.burst == 10
    raid.submit(100)
    await eventually(lambda: not bot.app._verdicts.waiting_count)
    reporting = asyncio.create_task(bot.chat.reports._report_all())

    def a_reply_is_next() -> bool:
        waiting = [precedence for precedence, _ in gate._waiting]
        return Precedence.ASKED in waiting and not gate._under_way

    for event_id in [await bot.say("!policy help") for _ in range(3)]:
        await eventually(a_reply_is_next)
        limit.pass_time(5.0)
        await bot.reply_to(event_id)
        assert len(bot.notices()) == 10
    for count in range(11, 32):
        limit.pass_time(5.0)
        await bot.homeserver.wait_for(partial(heard, bot, count))
    await reporting
    assert raid.told() == 100


def heard(bot: Moderated, count: int) -> bool:
    """Whether so many notices have come, and never more than their turn has come for."""
    assert len(bot.notices()) <= count
    return len(bot.notices()) == count


async def test_a_few_among_many_are_told_one_by_one(bot: Moderated, raid: Raid) -> None:
    """Old events in bulk, dry-run hits in bulk, and between them a few that are news."""
    for number in range(3):
        raid.submit(150, old=True)
        raid.submit(1, sender=f"@news{number}:spam.example", room_id="!news:example.org")
        raid.submit(150, ground=Ground.DRY_RUN)
    await raid.report()
    (notice,) = raid.notices()
    refused, _, tried = notice.partition("\nDry run, would have been refused: 450 events by ")
    assert refused.startswith("🚫 Refused: 3 events\n") and refused.count("Reference: ") == 3
    assert all(f"@news{number}:spam.example" in refused for number in range(3))
    assert refused.endswith("Also refused: 450 events sent before the room was protected.")
    assert tried.count("\n• ") == 5 and "news" not in tried
