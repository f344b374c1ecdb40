import json
from dataclasses import replace

import pytest
from mautrix.util.async_db import Database

from policybot.policy.records import RoomRecord
from policybot.policy.room import RoomMode
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.policy_event import PolicyServer, policy_content
from policybot.store.own_names import MAX_NAMES, OwnNames
from policybot.store.rooms import RoomTable
from policybot.store.settings import Setting, Settings

KEY = "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI"


async def started_as(db: Database, *names: str) -> frozenset[str]:
    """The former names after starting under each of these, one after the other."""
    former: frozenset[str] = frozenset()
    for name in names:
        former = await OwnNames(db).former(PolicyServer(name, KEY))
    return former


async def kept(db: Database) -> object:
    return json.loads(await Settings(db).get(Setting.NAMES) or "null")


async def test_a_name_that_was_changed_is_a_former_one(db: Database) -> None:
    assert await started_as(db, "a.example") == frozenset()
    assert await started_as(db, "a.example", "b.example") == {"a.example"}
    assert await started_as(db, "b.example", "c.example") == {"a.example", "b.example"}
    assert await kept(db) == ["a.example", "b.example", "c.example"]


async def test_going_back_makes_the_name_the_newest(db: Database) -> None:
    assert await started_as(db, "a.example", "b.example", "a.example") == {"b.example"}
    assert await kept(db) == ["b.example", "a.example"]


async def test_the_oldest_of_many_is_forgotten(db: Database) -> None:
    names = [f"{number}.example" for number in range(MAX_NAMES + 2)]
    assert await started_as(db, *names) == set(names[2:-1])
    assert await kept(db) == names[2:]


@pytest.mark.parametrize(
    ("event_type", "content", "found"),
    [
        ("m.room.policy", policy_content("old.example", KEY), {"old.example"}),
        ("org.matrix.msc4284.policy", {"via": "old.example", "public_key": KEY}, {"old.example"}),
        ("m.room.policy", policy_content("new.example", KEY), set()),
        ("m.room.policy", policy_content("other.example", "A" * 43), set()),
        ("m.room.policy", {}, set()),
        ("m.room.name", policy_content("old.example", KEY), set()),
    ],
)
async def test_before_names_were_kept_the_rooms_tell_them(
    db: Database, event_type: str, content: JsonObject, found: set[str]
) -> None:
    event = {"type": event_type, "state_key": "", "content": content}
    mine = RoomRecord("!a:x", "!mods:x", RoomMode.ENABLED, 1, None, True, (event,))
    await RoomTable(db).save(mine)
    assert await started_as(db, "new.example") == found
    # afterwards what was kept counts, whatever somebody writes into a room
    event = {"type": "m.room.policy", "content": policy_content("evil.example", KEY)}
    await RoomTable(db).save(replace(mine, state=(event,)))
    assert await started_as(db, "new.example") == found


async def test_a_room_that_nobody_enabled_tells_nothing(db: Database) -> None:
    event = {"type": "m.room.policy", "content": policy_content("evil.example", KEY)}
    room = RoomRecord("!a:x", "", RoomMode.UNCLAIMED, 1, None, True, (event,))
    await RoomTable(db).save(room)
    assert await started_as(db, "new.example") == frozenset()
