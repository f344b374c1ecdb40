"""How keys are asked for, at the notary first, what comes of it, and what is left alone.

Who waits for a fetch, and how many run at a time, is the key ring's matter.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..protocol.server_name import is_server_name
from .client import RequestFailed, RequestTimedOut
from .complaints import Complaints
from .direct_keys import DirectKeys
from .failure_memory import FailureMemory
from .key_saver import KeySaver, StoredServerKeys
from .known_keys import KnownDocument, KnownKeys
from .notary import ANY_KEY_ID, FetchedKeys, Notary, Wanted

logger = logging.getLogger(__name__)

# The notary itself waits up to 10 s for its own notaries and as long for the server. A question
# that it answers from what it has takes no time.
ASK_TIMEOUT_S = 20.0
READ_TIMEOUT_S = 5.0
# Who calls waits 4 s, the sender's key has 2 s of these: enough is left for the server itself,
# and a homeserver that has to ask the server first mostly answers sooner.
DIRECT_AFTER_S = 1.0

FIRST_WAIT_MS = 30_000
LONGEST_WAIT_MS = 600_000
# That the notary is away says nothing about a server: else all would stay shut out after its
# return.
NOTARY_FAULT_WAIT_MS = 60_000
UNKNOWN_KEY_WAIT_MS = 60_000
MAX_FAILURES = 10_000

LARGEST_TS = 2**53 - 1
_KEY_ID = re.compile(r"ed25519:[!-~]{1,247}")


class KeyFetch:
    """Fetches keys into ``known`` and hands them to ``saver``; ``clock`` gives milliseconds.

    A server whose key the notary does not deliver is asked itself (``direct``; None: never), at
    the latest ``direct_after_s`` seconds after the notary was asked.

    Three kinds of failure are remembered: a server whose keys could not be had, a server whose
    good keys could not be refreshed, and a server that was asked for a key it does not have.
    """

    def __init__(
        self,
        notary: Notary,
        known: KnownKeys,
        saver: KeySaver,
        clock: Callable[[], int],
        direct: DirectKeys | None = None,
        direct_after_s: float = DIRECT_AFTER_S,
    ) -> None:
        self.notary_fault = ""
        self._notary = notary
        self._known = known
        self._saver = saver
        self._clock = clock
        self._direct = direct
        self._direct_after_s = direct_after_s
        self._failures = FailureMemory(FIRST_WAIT_MS, LONGEST_WAIT_MS, MAX_FAILURES)
        self._refreshes = FailureMemory(FIRST_WAIT_MS, LONGEST_WAIT_MS, MAX_FAILURES)
        self._unknown_keys = FailureMemory(UNKNOWN_KEY_WAIT_MS, UNKNOWN_KEY_WAIT_MS, MAX_FAILURES)
        self._complaints = Complaints(logger)

    def makes_sense(self, server_name: str, key_id: str) -> bool:
        """Whether to ask for this key now."""
        now = self._clock()
        if self._failures.holds(server_name, now):
            return False
        server = self._known.get(server_name)
        if server is None:
            return is_server_name(server_name) and _KEY_ID.fullmatch(key_id) is not None
        if key_id not in server.newest.keys.verify_keys:
            good_form = _KEY_ID.fullmatch(key_id) is not None
            return good_form and not self._unknown_keys.holds(server_name, now)
        return not (server.valid(now) and self._refreshes.holds(server_name, now))

    async def one(self, server_name: str, key_id: str) -> None:
        """Get a key from the notary or, when that does not deliver it, from its server."""
        try:
            waits_at_most_ms = await self._ask(server_name, key_id)
        except Exception:
            self._complaints.say(
                "fault", f"fetching the keys of {server_name} failed", exc_info=True
            )
            waits_at_most_ms = NOTARY_FAULT_WAIT_MS
        if waits_at_most_ms is None:
            for memory in (self._failures, self._refreshes, self._unknown_keys):
                memory.clear(server_name)
        else:
            self._remember_failure(server_name, key_id, waits_at_most_ms)

    async def batch(self, server_names: Sequence[str]) -> None:
        """Get keys of servers in advance: what the notary has, and what it lacks by a fetch. Only
        if the notary is away the servers themselves are asked."""
        any_key = Wanted(ANY_KEY_ID, self._clock())
        for want in (None, any_key, None):
            now = self._clock()
            missing = [name for name in server_names if not self._valid(name, now)]
            if not missing:
                return
            try:
                await self._take(dict.fromkeys(missing, want))
            except RequestFailed as error:
                if want is not None and isinstance(error, RequestTimedOut):
                    # One slow server held up the answer; what the others gave is there to be read.
                    continue
                async with asyncio.TaskGroup() as group:
                    for name in missing:
                        group.create_task(self._ask_directly(name))
                return

    def overdue(self, server_name: str) -> None:
        """A refresh takes too long: keys past their end may serve on."""
        server = self._known.get(server_name)
        if server is not None and not server.valid(self._clock()):
            server.refresh_failed = True

    async def _ask(self, server_name: str, key_id: str) -> int | None:
        """None when the key was got, else how long to leave the server alone, at most (ms)."""
        server = self._known.get(server_name)
        old = None if server is None else server.newest
        minimum, old_end_ts = self._clock(), None
        if old is not None and key_id in old.keys.verify_keys:
            minimum = min(max(minimum, old.keys.valid_until_ts + 1), LARGEST_TS)
            old_end_ts = old.end_ts

        def got() -> bool:
            return self._has(server_name, key_id, old_end_ts)

        by_notary = asyncio.create_task(
            self._ask_notary(server_name, Wanted(key_id, minimum), got)
        )
        tasks: list[asyncio.Task[Any]] = [by_notary]
        try:
            await asyncio.wait(tasks, timeout=self._direct_after_s)
            if not got():
                tasks.append(asyncio.create_task(self._ask_directly(server_name)))
            while not got() and (waiting := [task for task in tasks if not task.done()]):
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if got():
                return None
            for task in tasks:
                task.result()  # a fault of ours is not passed over
            return by_notary.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask_notary(self, server_name: str, want: Wanted, got: Callable[[], bool]) -> int:
        """How long to leave the server alone, at most (ms), should nobody else have the key."""
        for each in (want, None):  # if it is not enough, all the notary has of the server
            try:
                await self._take({server_name: each})
            except RequestTimedOut:
                pass
            except RequestFailed:
                return NOTARY_FAULT_WAIT_MS
            if got():
                break
        return LONGEST_WAIT_MS

    async def _ask_directly(self, server_name: str) -> None:
        if self._direct is None:
            return
        try:
            fetched = await self._direct.fetch(server_name)
            now = self._clock()
            if fetched.keys.valid_until_ts < now:
                raise RequestFailed("they are past their end")
        except RequestFailed as error:
            self._complaints.say("direct", f"no keys from {server_name} itself: {error}")
        else:
            self._take_document(server_name, fetched, now)
            self._clear_if_valid(server_name)

    async def _take(self, wanted: Mapping[str, Wanted | None]) -> None:
        """Ask the notary and take in what comes. Raises RequestFailed, after having logged it."""
        asking = any(want is not None for want in wanted.values())
        try:
            found = await self._notary.fetch(wanted, ASK_TIMEOUT_S if asking else READ_TIMEOUT_S)
        except RequestFailed as error:
            self.notary_fault = str(error)
            self._complaints.say("notary", f"no keys from the homeserver: {error}")
            raise
        self.notary_fault = ""
        now = self._clock()
        for server_name, documents in found.items():
            for fetched in documents:
                self._take_document(server_name, fetched, now)
            self._clear_if_valid(server_name)

    def _take_document(self, server_name: str, fetched: FetchedKeys, now: int) -> None:
        document = KnownDocument.fetched(fetched.keys, now)
        if self._known.take(server_name, document):
            self._saver.submit(
                StoredServerKeys(server_name, fetched.document, now, document.end_ts)
            )

    def _remember_failure(self, server_name: str, key_id: str, waits_at_most_ms: int) -> None:
        now = self._clock()
        server = self._known.get(server_name)
        if server is None:
            self._failures.record(server_name, now, waits_at_most_ms)
        elif not server.valid(now):
            self._failures.record(server_name, now, waits_at_most_ms)
            server.refresh_failed = True
            self._complaints.say(
                "grace",
                f"the keys of {server_name} are past their end and could not be refreshed;"
                " they are used for up to 7 days more",
            )
        elif key_id in server.newest.keys.verify_keys:
            self._refreshes.record(server_name, now, waits_at_most_ms)
            server.refresh_failed = True
        else:
            self._unknown_keys.record(server_name, now)

    def _clear_if_valid(self, server_name: str) -> None:
        if self._valid(server_name, self._clock()):
            self._failures.clear(server_name)

    def _valid(self, server_name: str, now: int) -> bool:
        server = self._known.get(server_name)
        return server is not None and server.valid(now)

    def _has(self, server_name: str, key_id: str, old_end_ts: int | None) -> bool:
        """Whether the key is here; if it was before, whether its document is newer and valid."""
        server, now = self._known.get(server_name), self._clock()
        if server is None or server.request_key(key_id, now) is None:
            return False
        if old_end_ts is None:
            return True
        return server.valid(now) and server.newest.end_ts > old_end_ts
