"""Keeping fetched keys in the database, behind the back of those who wait for them.

Nobody waits for a write, and a write is never cancelled half way: a fetch may be.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from ..protocol.canonical_json import JsonObject
from .complaints import Complaints

logger = logging.getLogger(__name__)

MAX_WAITING = 2_000
STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class StoredServerKeys:
    """A server's newest document. ``fetched_ts`` and ``valid_until_ts`` are milliseconds;
    the latter is the end that counts, at most 7 days after the former."""

    server_name: str
    document: JsonObject
    fetched_ts: int
    valid_until_ts: int


class StoredKeys(Protocol):
    """The same as read back: the table has a class of its own for it."""

    @property
    def server_name(self) -> str: ...
    @property
    def document(self) -> JsonObject: ...
    @property
    def fetched_ts(self) -> int: ...
    @property
    def valid_until_ts(self) -> int: ...


class KeyTable(Protocol):
    """Where documents survive a restart."""

    async def load(self, limit: int) -> Iterable[StoredKeys]:
        """At most ``limit`` documents."""

    async def save(self, keys: StoredServerKeys, /) -> None:
        """Put the document in the place of the one that its server had."""


class KeySaver:
    """Writes documents one after the other; of one server only the newest that waits."""

    def __init__(self, table: KeyTable) -> None:
        self._table = table
        self._complaints = Complaints(logger)
        self._waiting: OrderedDict[str, StoredServerKeys] = OrderedDict()
        self._wake = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start writing, also what was submitted before."""
        self._stopping = False
        self._task = asyncio.create_task(self._write(), name="save server keys")

    async def stop(self) -> None:
        """Write what waits, for a few seconds at most, and end."""
        if self._task is None:
            return
        self._stopping = True
        self._wake.set()
        await asyncio.wait({self._task}, timeout=STOP_TIMEOUT_S)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})
        self._task = None

    def submit(self, keys: StoredServerKeys) -> None:
        """Have a document written soon."""
        self._waiting[keys.server_name] = keys
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popitem(last=False)
        self._wake.set()

    async def _write(self) -> None:
        while True:
            while self._waiting:
                _, keys = self._waiting.popitem(last=False)
                try:
                    await self._table.save(keys)
                except Exception:
                    # What is lost is fetched again after the next start.
                    self._complaints.say(
                        "save", "keys of another server could not be saved", exc_info=True
                    )
            if self._stopping:
                return
            self._wake.clear()
            await self._wake.wait()
