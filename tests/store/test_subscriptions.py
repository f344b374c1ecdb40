from dataclasses import replace

from mautrix.util.async_db import Database

from policybot.policy.records import Subscription
from policybot.store.subscriptions import SubscriptionTable

OWN = Subscription("!mods:example.org", "!own:example.org", 0, "own", True)
COMMUNITY = Subscription("!mods:example.org", "!community:example.org", 1, "cme", False)
OTHERS = Subscription("!others:example.org", "!own:example.org", 0, "x", False)


async def test_subscriptions_come_in_their_order(db: Database) -> None:
    table = SubscriptionTable(db)
    for subscription in (OTHERS, COMMUNITY, OWN):
        await table.save(subscription)
    loaded = await table.load()
    assert loaded == [OWN, COMMUNITY, OTHERS]
    assert loaded[0].own is True


async def test_save_replaces_and_remove_takes_one(db: Database) -> None:
    table = SubscriptionTable(db)
    await table.save(OWN)
    await table.save(OTHERS)
    changed = replace(OWN, position=7, shortcode="changed", own=False)
    await table.save(changed)
    assert await table.load() == [changed, OTHERS]
    await table.remove("!mods:example.org", "!own:example.org")
    await table.remove("!mods:example.org", "!never:example.org")
    assert await table.load() == [OTHERS]
