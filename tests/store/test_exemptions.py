from dataclasses import replace

from mautrix.util.async_db import Database

from policybot.policy.records import Exemption
from policybot.store.exemptions import ExemptionTable

FIRST = Exemption("!mods:example.org", "@b:example.net", "known", "@alice:example.org", 10)
SECOND = Exemption("!mods:example.org", "@a:example.net", "", "@bob:example.org", 20)
OTHERS = Exemption("!others:example.org", "@b:example.net", "", "@carol:example.org", 5)


async def test_exemptions_come_oldest_first(db: Database) -> None:
    table = ExemptionTable(db)
    for exemption in (OTHERS, SECOND, FIRST):
        await table.save(exemption)
    assert await table.load() == [FIRST, SECOND, OTHERS]


async def test_save_replaces_and_remove_takes_one(db: Database) -> None:
    table = ExemptionTable(db)
    await table.save(FIRST)
    await table.save(OTHERS)
    changed = replace(FIRST, reason="friend", allowed_by="@bob:example.org", allowed_ts=30)
    await table.save(changed)
    assert await table.load() == [changed, OTHERS]
    await table.remove("!mods:example.org", "@b:example.net")
    await table.remove("!mods:example.org", "@never:example.net")
    assert await table.load() == [OTHERS]


async def test_an_odd_reason_is_stored_as_well_as_can_be(db: Database) -> None:
    table = ExemptionTable(db)
    await table.save(replace(FIRST, reason="a\0b\ud800"))
    assert [exemption.reason for exemption in await table.load()] == ["a\ufffdb?"]
