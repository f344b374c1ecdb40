from mautrix.util.async_db import Database

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
