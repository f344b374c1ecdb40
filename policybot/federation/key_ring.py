"""The keys of other servers: looked up in memory, fetched when missing, refreshed in advance.

Requests look up without waiting. A key that is missing is fetched once for all who wait for it,
and what failed is left alone for a while, so that a flood of made-up names costs little.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from ..protocol.server_keys import InvalidServerKeys, parse_server_keys
from ..protocol.server_name import is_server_name
from ..protocol.signing import VerifyKey
from .complaints import Complaints
from .direct_keys import DirectKeys
from .key_fetch import DIRECT_AFTER_S, KeyFetch
from .key_saver import KeySaver, KeyTable
from .known_keys import KnownDocument, KnownKeys
from .lookup_allowance import LookupAllowance
from .notary import Notary

logger = logging.getLogger(__name__)

MAX_SERVERS = 10_000

# Anybody can name servers and key IDs that nobody heard of. Refreshing what is known has turns of
# its own, so that it does not wait behind those. The first counts what waits as well.
MAX_FETCHING = 2_000
UNKNOWN_AT_A_TIME = 60
# Nobody waits longer for a key. Without this, what comes after a flood would wait behind it.
TURN_WAIT_S = 4.0
REFRESHES_AT_A_TIME = 10

MAX_PREFETCH = 2_000
PREFETCH_BATCH = 20
PREFETCH_AT_A_TIME = 2


@dataclass(frozen=True, slots=True)
class KeyRingStatus:
    """For ``status``: servers known; those that live on keys past their end, because a refresh
    failed; and what is wrong with the notary (empty: nothing)."""

    servers: int
    in_grace: int
    notary_fault: str


class KeyRing:
    """Keys of other servers; ``clock`` gives milliseconds since 1970.

    ``direct`` asks the servers themselves when the notary does not deliver, at the latest after
    ``direct_after_s`` seconds; it is closed at the stop. ``allowance`` bounds what requests cause.
    """

    def __init__(
        self,
        notary: Notary,
        table: KeyTable,
        clock: Callable[[], int],
        direct: DirectKeys | None = None,
        *,
        direct_after_s: float = DIRECT_AFTER_S,
        allowance: LookupAllowance | None = None,
    ) -> None:
        self._table = table
        self._clock = clock
        self._known = KnownKeys(MAX_SERVERS)
        self._saver = KeySaver(table)
        self._allowance = LookupAllowance() if allowance is None else allowance
        self._fetcher = KeyFetch(notary, self._known, self._saver, clock, direct, direct_after_s)
        self._complaints = Complaints(logger)
        self._running = False
        self._fetching: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._unknown_turns = asyncio.Semaphore(UNKNOWN_AT_A_TIME)
        self._refresh_turns = asyncio.Semaphore(REFRESHES_AT_A_TIME)
        self._batches = asyncio.Semaphore(PREFETCH_AT_A_TIME)

    async def load(self) -> None:
        """Take in what the database has. Its errors are the caller's."""
        bad = 0
        now = self._clock()
        rows = sorted(await self._table.load(MAX_SERVERS), key=lambda row: row.fetched_ts)
        for number, stored in enumerate(rows):
            try:
                keys = parse_server_keys(stored.document, stored.server_name)
            except InvalidServerKeys:
                bad += 1
            else:
                document = KnownDocument.fetched(keys, min(stored.fetched_ts, now))
                self._known.take(stored.server_name, document)
            if number % 100 == 99:
                await asyncio.sleep(0)  # each costs a signature check
        if bad:
            logger.warning("%d saved documents of server keys are not good and were left out", bad)

    async def start(self) -> None:
        """From now on keys are fetched and saved."""
        self._running = True
        self._saver.start()

    async def stop(self) -> None:
        """End all fetching, save what was fetched. Who waits for a key is let go."""
        self._running = False
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._saver.stop()

    def status(self) -> KeyRingStatus:
        """How things stand now."""
        in_grace = self._known.in_grace(self._clock())
        return KeyRingStatus(len(self._known), in_grace, self._fetcher.notary_fault)

    def lookup(self, server_name: str, key_id: str, now_ms: int) -> VerifyKey | None:
        """The key for a request that came now, from memory.

        Up to 7 days past its end it is still given, if it could not be refreshed. From half of
        its validity on, looking it up starts a refresh in the background.
        """
        server = self._known.get(server_name)
        if server is None:
            return None
        key = server.request_key(key_id, now_ms)
        if key is not None and server.refresh_due(now_ms):
            self._fetch_task(server_name, key_id)
        return key

    def event_key(
        self, server_name: str, key_id: str, origin_server_ts: int, strict: bool
    ) -> VerifyKey | None:
        """The key for an event of that time (ms), from memory, also one that was retired later.

        ``strict`` (room version 5 and later): the key must be valid at that time.
        """
        server = self._known.get(server_name)
        return None if server is None else server.event_key(key_id, origin_server_ts, strict)

    async def fetch(
        self, server_name: str, key_id: str, timeout_s: float, address: str = ""
    ) -> None:
        """Try to have the key for requests in memory; look it up afterwards.

        Returns early when it is there, when it makes no sense to ask now, or when too much is
        looked up already, in all or for the calling ``address`` (empty: not known). The fetch
        itself is shared and goes on when the time is over for the one who waits.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        for _ in range(2):  # the fetch that was under way may have been for another key
            server = self._known.get(server_name)
            if server is not None and server.request_key(key_id, self._clock()) is not None:
                return
            task = self._fetch_task(server_name, key_id, address)
            if task is None:
                return
            await asyncio.wait({task}, timeout=max(0.0, deadline - loop.time()))
            if not task.done():
                self._fetcher.overdue(server_name)
                return

    async def prefetch(self, server_names: Iterable[str]) -> tuple[str, ...]:
        """Fetch the keys of many servers in advance; returns those that have none after it.

        Only the first 2,000 unknown ones are taken. The work goes on when the one who waits for
        it is cancelled.
        """
        names = [name for name in dict.fromkeys(server_names) if self._lacks(name)][:MAX_PREFETCH]
        batches = [names[i : i + PREFETCH_BATCH] for i in range(0, len(names), PREFETCH_BATCH)]
        if batches and self._running:
            await asyncio.wait([self._own(self._fetch_batch(batch)) for batch in batches])
        return tuple(name for name in names if self._lacks(name))

    def _lacks(self, server_name: str) -> bool:
        server = self._known.get(server_name)
        if server is None:
            return is_server_name(server_name)
        return not server.valid(self._clock())

    def _fetch_task(
        self, server_name: str, key_id: str, address: str = ""
    ) -> asyncio.Task[None] | None:
        """The fetch of a server's keys, begun if need be; None if it makes no sense to ask now or
        too much is looked up already."""
        task = self._fetching.get(server_name)
        if task is not None:
            return task
        if not self._running or not self._fetcher.makes_sense(server_name, key_id):
            return None
        server = self._known.get(server_name)
        refresh = server is not None and key_id in server.newest.keys.verify_keys
        if len(self._fetching) >= MAX_FETCHING or not (
            refresh or self._allowance.begin(address, self._clock())
        ):
            self._complaints.say(
                "full", f"too many keys are looked up already, the key of {server_name} is not"
            )
            return None
        fetch = self._refresh if refresh else self._fetch_unknown
        task = self._own(fetch(server_name, key_id))
        self._fetching[server_name] = task
        task.add_done_callback(lambda _: self._fetching.pop(server_name, None))
        if not refresh:
            task.add_done_callback(lambda _: self._allowance.end(address))
        return task

    def _own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _refresh(self, server_name: str, key_id: str) -> None:
        async with self._refresh_turns:
            await self._fetcher.one(server_name, key_id)

    async def _fetch_unknown(self, server_name: str, key_id: str) -> None:
        try:
            async with asyncio.timeout(TURN_WAIT_S):
                await self._unknown_turns.acquire()
        except TimeoutError:
            return
        try:
            await self._fetcher.one(server_name, key_id)
        finally:
            self._unknown_turns.release()

    async def _fetch_batch(self, server_names: list[str]) -> None:
        async with self._batches:
            try:
                await self._fetcher.batch(server_names)
            except Exception:
                logger.exception("fetching keys in advance failed")
