from mautrix.util.async_db import Database

from policybot.store.settings import Setting, Settings


async def test_set_get_remove(db: Database) -> None:
    settings = Settings(db)
    assert await settings.get(Setting.SYNC_POSITION) is None
    await settings.set(Setting.SYNC_POSITION, "s1")
    await settings.set(Setting.SYNC_POSITION, "s2")
    await settings.set(Setting.DEVICE_ID, "ABC")
    assert await settings.get(Setting.SYNC_POSITION) == "s2"
    await settings.remove(Setting.SYNC_POSITION)
    assert await settings.get(Setting.SYNC_POSITION) is None
    assert await settings.get(Setting.DEVICE_ID) == "ABC"


async def test_the_first_value_stands(db: Database) -> None:
    settings = Settings(db)
    assert await settings.get_or_set(Setting.SIGNING_KEY, "one") == "one"
    assert await settings.get_or_set(Setting.SIGNING_KEY, "two") == "one"
