import pytest
from mautrix.util.async_db import Database

from policybot.store import server_keys
from policybot.store.server_keys import ServerKeyTable, StoredServerKeys


def keys(name: str, fetched_ts: int) -> StoredServerKeys:
    document = {"server_name": name, "verify_keys": {"ed25519:a": {"key": "x"}}, "old": [1, None]}
    return StoredServerKeys(name, document, fetched_ts, fetched_ts + 1_000)


async def test_the_latest_document_of_each_server(db: Database) -> None:
    table = ServerKeyTable(db)
    await table.save(keys("a.example.org", 1))
    await table.save(keys("b.example.org", 2))
    await table.save(keys("a.example.org", 3))
    assert await table.load(10) == [keys("a.example.org", 3), keys("b.example.org", 2)]


async def test_the_table_is_bounded_by_loading(db: Database) -> None:
    table = ServerKeyTable(db)
    for number in range(5):
        await table.save(keys(f"{number}.example.org", number))
    latest = [keys(f"{number}.example.org", number) for number in (4, 3, 2)]
    assert await table.load(3) == latest
    assert await table.load(10) == latest


async def test_the_table_is_bounded_by_saving(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_keys, "SAVES_BETWEEN_REMOVALS", 4)
    table = ServerKeyTable(db, kept=3)
    for number in range(9):
        await table.save(keys(f"{number}.example.org", number))
    names = [row.server_name[0] for row in await table.load(100)]
    assert names == ["8", "7", "6", "5"]
