"""A database of an older version gets what is new and keeps what it has."""

from policybot.policy.verdict import Ground
from policybot.store.database import open_database
from policybot.store.verdict_log import VerdictLog

from .samples import MODS, NOW, ROOM, first_version, key


async def test_from_the_first_version(database_url: str) -> None:
    old = await first_version(database_url)
    for number, ground in enumerate((Ground.RULE, Ground.DRY_RUN), 1):
        await old.execute(
            """INSERT INTO decision
            (number, key, reference, signed, room_id, moderation_room, event_id, event_type,
            sender, caller, origin_server_ts, received_ts, ground, unverified, old)
            VALUES ($1, $2, 'code', $3, $4, $5, '$event', 'm.room.message', '@a:example.com',
            'example.com', $6, $6, $7, $8, $8)""",
            number,
            key(number),
            ground is Ground.DRY_RUN,
            ROOM,
            MODS,
            NOW,
            ground.value,
            False,
        )
    await old.stop()

    new = await open_database(database_url)
    try:
        assert await VerdictLog(new).refused_since(ROOM, NOW) == 1
        assert await VerdictLog(new).dry_run_since(ROOM, NOW) == 1
        found = await VerdictLog(new).find_by_event("$event", MODS)
        assert [verdict.number for verdict in found] == [1, 2]
        assert await new.fetch("SELECT * FROM exemption") == []
    finally:
        await new.stop()
