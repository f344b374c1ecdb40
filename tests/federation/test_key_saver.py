import asyncio
from collections.abc import Iterable

import pytest

from policybot.federation import key_saver
from policybot.federation.key_saver import KeySaver, StoredServerKeys

from .servers import until


class Table:
    """Saves when it is let, and fails when it is told to."""

    def __init__(self) -> None:
        self.saved: list[StoredServerKeys] = []
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.fails = False
        self.cancelled = False

    async def load(self, limit: int) -> Iterable[StoredServerKeys]:
        return []

    async def save(self, keys: StoredServerKeys) -> None:
        self.begun.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self.fails:
            raise RuntimeError("disk full")
        self.saved.append(keys)


def keys(name: str, fetched_ts: int = 0) -> StoredServerKeys:
    return StoredServerKeys(name, {}, fetched_ts, 1)


async def test_only_the_newest_of_a_server_is_written_and_stop_writes_the_rest() -> None:
    table = Table()
    saver = KeySaver(table)
    saver.submit(keys("a"))
    saver.start()
    await table.begun.wait()
    saver.submit(keys("b", 1))
    saver.submit(keys("c"))
    saver.submit(keys("b", 2))
    table.go_on.set()
    await saver.stop()
    assert table.saved == [keys("a"), keys("b", 2), keys("c")]


async def test_a_write_that_fails_is_logged_and_the_next_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    table = Table()
    table.go_on.set()
    table.fails = True
    saver = KeySaver(table)
    saver.start()
    saver.submit(keys("a"))
    saver.submit(keys("b"))
    await until(lambda: len(caplog.records) == 1)
    table.fails = False
    saver.submit(keys("c"))
    await saver.stop()
    assert table.saved == [keys("c")]
    assert caplog.records[0].exc_info is not None


async def test_no_more_wait_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_saver, "MAX_WAITING", 3)
    table = Table()
    table.go_on.set()
    saver = KeySaver(table)
    for name in "abcde":
        saver.submit(keys(name))
    saver.start()
    await saver.stop()
    assert table.saved == [keys(name) for name in "cde"]


async def test_stop_gives_up_on_a_table_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_saver, "STOP_TIMEOUT_S", 0.01)
    table = Table()
    saver = KeySaver(table)
    saver.submit(keys("a"))
    await saver.stop()  # was never started
    saver.start()
    await table.begun.wait()
    await saver.stop()
    assert table.cancelled
