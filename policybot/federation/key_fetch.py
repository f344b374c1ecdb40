"""How keys are asked for at the notary, what is made of its answers, and what is left alone.

Who waits for a fetch, and how many run at a time, is the key ring's matter.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence

from ..protocol.server_name import is_server_name
from .client import RequestFailed, RequestTimedOut
from .complaints import Complaints
from .failure_memory import FailureMemory
from .key_saver import KeySaver, StoredServerKeys
from .known_keys import KnownDocument, KnownKeys
from .notary import ANY_KEY_ID, FetchedKeys, Notary, Wanted

logger = logging.getLogger(__name__)

# The notary itself waits up to 10 s for its own notaries and as long for the server. A question
# that it answers from what it has takes no time.
ASK_TIMEOUT_S = 20.0
READ_TIMEOUT_S = 5.0

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

    Three kinds of failure are remembered: a server whose keys could not be had, a server whose
    good keys could not be refreshed, and a server that was asked for a key it does not have.
    """

    def __init__(
        self, notary: Notary, known: KnownKeys, saver: KeySaver, clock: Callable[[], int]
    ) -> None:
        self.notary_fault = ""
        self._notary = notary
        self._known = known
        self._saver = saver
        self._clock = clock
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
        """Ask for a key; if what comes is not enough, for all the notary has of its server."""
        try:
            waits_at_most_ms = await self._ask(server_name, key_id)
        except Exception:
            logger.exception("fetching the keys of %s failed", server_name)
            waits_at_most_ms = NOTARY_FAULT_WAIT_MS
        if waits_at_most_ms is None:
            for memory in (self._failures, self._refreshes, self._unknown_keys):
                memory.clear(server_name)
        else:
            self._remember_failure(server_name, key_id, waits_at_most_ms)

    async def batch(self, server_names: Sequence[str]) -> None:
        """Get keys of servers in advance: what the notary has, and what it lacks by a fetch."""
        any_key = Wanted(ANY_KEY_ID, self._clock())
        for want in (None, any_key, None):
            now = self._clock()
            missing = [name for name in server_names if not self._valid(name, now)]
            if not missing:
                return
            try:
                await self._take(dict.fromkeys(missing, want))
            except RequestTimedOut:
                if want is None:
                    return
                # One slow server held up the answer; what the others gave is there to be read.
            except RequestFailed:
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
        waits_at_most_ms = LONGEST_WAIT_MS
        for want in (Wanted(key_id, minimum), None):
            try:
                await self._take({server_name: want})
            except RequestTimedOut:
                pass
            except RequestFailed:
                waits_at_most_ms = NOTARY_FAULT_WAIT_MS
                break
            if self._has(server_name, key_id, old_end_ts):
                return None
        return None if self._has(server_name, key_id, old_end_ts) else waits_at_most_ms

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
            if self._valid(server_name, now):
                self._failures.clear(server_name)

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
