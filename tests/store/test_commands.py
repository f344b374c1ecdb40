"""The commands that are being carried out."""

from mautrix.util.async_db import Database

from policybot.policy.records import CommandRecord
from policybot.store.commands import CommandTable

ENABLE = CommandRecord("$1", "!mods:x.org", "@a:x.org", "!policy enable #a\0b:x.org", 5, "$1")
BAN = CommandRecord("$2", "!mods:x.org", "@a:x.org", "!policy ban “\ud800”", 6, "$q", 12, True)


async def test_they_are_read_in_order_and_replaced_whole(db: Database) -> None:
    table = CommandTable(db)
    assert await table.load() == []
    await table.save([ENABLE, BAN])
    assert await CommandTable(db).load() == [ENABLE, BAN]
    await table.save([])
    assert await table.load() == []
