"""What reports are made of: counted by the database, in the order of the numbers."""

from dataclasses import replace

from mautrix.util.async_db import Database

from policybot.policy.records import RefusalGroup
from policybot.policy.verdict import Decision
from policybot.store.refusal_log import RefusalLog
from policybot.store.verdict_writer import VerdictWriter

from .samples import MODS, NOW, ROOM, RULE, dry_run_hit, exemption, refusal

DAY = 20_000
OTHERS = "!others:example.org"


async def write(db: Database, *decisions: Decision) -> None:
    await VerdictWriter(db, keep_text=True).write_decisions(decisions, DAY)


async def test_refusals_between_two_numbers(db: Database) -> None:
    log = RefusalLog(db)
    assert await log.latest_number() == 0
    await write(
        db,
        refusal(1),
        exemption(2),
        refusal(3, moderation_room=OTHERS),
        dry_run_hit(4),
        # Clocks may jump, the order is that of the commits.
        refusal(5, received_ts=NOW - 10_000_000),
        refusal(6, moderation_room="!third:example.org"),
    )

    async def numbers(after: int, upto: int, *rooms: str) -> list[int]:
        found = await log.refusals_between(after, upto, rooms)
        assert sum(group.count for group in await log.groups(after, upto, rooms)) == len(found)
        return [verdict.number for verdict in found]

    assert await numbers(0, 9, MODS) == [1, 4, 5]
    assert await numbers(1, 4, MODS) == [4]
    assert await numbers(0, 9, MODS, OTHERS) == [1, 3, 4, 5]
    assert await numbers(6, 9, MODS) == []
    assert await log.latest_number() == 6
    assert [verdict.number for verdict in await log.numbered([5, 1, 99])] == [1, 5]


async def test_what_is_alike_is_one_group(db: Database) -> None:
    await write(
        db,
        refusal(1, received_ts=NOW + 5),
        refusal(2, received_ts=NOW - 5),
        refusal(3, event_type="m.reaction", text="other", event_id="$other"),
        refusal(4, rule=replace(RULE, reason="a newer reason")),
        refusal(5, sender="@other:example.com"),
        refusal(6, room_id="!other:example.org"),
        refusal(7, rule=replace(RULE, list_id="!other:example.org")),
        refusal(8, old=True),
        refusal(9, unverified=True),
        dry_run_hit(10),
    )
    groups = await RefusalLog(db).groups(0, 10, [MODS])
    alike = next(group for group in groups if group.count > 1)
    assert alike == RefusalGroup(
        dry_run=False,
        old=False,
        unverified=False,
        sender="@spammer1:example.com",
        room_id=ROOM,
        rule=(RULE.list_id, "user", RULE.entity, ""),
        count=4,
        latest=4,
        first_ts=NOW - 5,
        last_ts=NOW + 5,
    )
    alone = {group.latest: group for group in groups if group.count == 1}
    assert list(sorted(alone)) == [5, 6, 7, 8, 9, 10]
    assert alone[8].old is True and alone[9].unverified is True and alone[10].dry_run is True
