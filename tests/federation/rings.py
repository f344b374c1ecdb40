"""A key ring that runs, and where it keeps documents."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from policybot.federation.key_ring import KeyRing
from policybot.federation.key_saver import StoredServerKeys


class Table:
    def __init__(self) -> None:
        self.rows: dict[str, StoredServerKeys] = {}

    async def load(self, limit: int) -> Iterable[StoredServerKeys]:
        return list(self.rows.values())[:limit]

    async def save(self, keys: StoredServerKeys) -> None:
        self.rows[keys.server_name] = keys


@asynccontextmanager
async def running(ring: KeyRing) -> AsyncIterator[None]:
    await ring.start()
    try:
        yield
    finally:
        await ring.stop()
