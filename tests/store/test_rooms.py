from dataclasses import replace

import pytest
from mautrix.util.async_db import Database

from policybot.policy.records import ModerationRoomRecord, RoomRecord
from policybot.policy.room import RoomMode
from policybot.store.rooms import ModerationRoomTable, RoomTable

ROOM = RoomRecord(
    room_id="!room:example.org",
    moderation_room="!mods:example.org",
    mode=RoomMode.ENABLED,
    enabled_ts=1_700_000_000_000,
    disabled_ts=None,
    settled=False,
    state=(
        {"type": "m.room.create", "state_key": "", "content": {"room_version": "11"}},
        {
            "type": "m.room.name",
            "state_key": "",
            "content": {"name": "lone \ud800, NUL \0, Grüße 👋", "n": [1.5, None, 2**70]},
        },
    ),
)
MODS = ModerationRoomRecord("!mods:example.org", "invite", ("@a:example.org", "@b:example.org"))


async def test_rooms_come_back_as_they_were(db: Database) -> None:
    table = RoomTable(db)
    other = replace(ROOM, room_id="!other:example.org", moderation_room="", state=())
    await table.save(ROOM)
    await table.save(other)
    assert await table.load() == [other, ROOM]


async def test_save_replaces_and_remove_takes_one(db: Database) -> None:
    table = RoomTable(db)
    await table.save(ROOM)
    disabled = replace(
        ROOM,
        moderation_room="!others:example.org",
        mode=RoomMode.DISABLED,
        enabled_ts=1,
        disabled_ts=2,
        settled=True,
        state=(),
    )
    await table.save(disabled)
    loaded = await table.load()
    assert loaded == [disabled]
    assert loaded[0].settled is True
    await table.remove("!never:example.org")
    await table.remove(ROOM.room_id)
    assert await table.load() == []


@pytest.mark.parametrize("members", [(), ("@only:example.org",)])
async def test_moderation_rooms(db: Database, members: tuple[str, ...]) -> None:
    table = ModerationRoomTable(db)
    await table.save(MODS)
    assert await table.load() == [MODS]
    changed = replace(MODS, join_rule="knock", members=members)
    await table.save(changed)
    assert await table.load() == [changed]
    await table.remove(MODS.room_id)
    assert await table.load() == []
