"""The store of verdicts: the first verdict about an event stands, also after a restart.

Everything that waits is written in one go by one task (group commit), so a verdict costs a share
of a transaction. When the database fails, verdicts wait in memory and are written later, in the
same order; until then each key is looked up, since a locked database can often be read.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice

from mautrix.util.async_db import Database, Scheme

from policybot.policy.verdict import Decision

from .checkpoints import Checkpoints
from .failure import blames_row, first_line
from .outage import WriteOutage
from .refusal_log import REPORTED, RefusalLog
from .retention import DAY_MS, Retention
from .verdict_log import (
    StoredVerdict,
    VerdictLog,
    normal_reference,
    waiting_verdict,
)
from .verdict_queue import VerdictQueue, WaitingVerdict
from .verdict_writer import VerdictWriter

log = logging.getLogger("policybot.store")

# Turns of the event loop before a batch is taken: what has arrived is judged first and comes
# along, which under load doubles the batches and costs nothing otherwise.
_GATHERING_TURNS = 4

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
_LAST_ATTEMPT_S = 1.0


class VerdictStore:
    """Verdicts by the event's reference hash (32 bytes).

    ``clock`` gives milliseconds since 1970. Verdicts and details are kept ``retention_days``,
    texts ``keep_text_ms`` (0: never stored). At most ``max_waiting`` verdicts wait for the
    database; beyond, the oldest accepts go, counted in ``dropped``. ``outage`` tells whether the
    last attempt to write has failed. ``on_refusal`` is called after each commit of something to
    report, which is read from ``refusals``.
    """

    def __init__(
        self,
        db: Database,
        *,
        clock: Callable[[], int],
        retention_days: int = 30,
        keep_text_ms: int = 7 * DAY_MS,
        max_waiting: int = 200_000,
        chunk: int = 500,
    ) -> None:
        self._db = db
        self._clock = clock
        self._chunk = self._limit = chunk
        self._queue = VerdictQueue(max_waiting)
        self._writer = VerdictWriter(db, keep_text=keep_text_ms > 0)
        self._log = VerdictLog(db)
        self.refusals = RefusalLog(db)
        self.retention = Retention(
            db, clock=clock, retention_days=retention_days, keep_text_ms=keep_text_ms
        )
        self._lookups: dict[bytes, list[tuple[asyncio.Future[bool], bool]]] = {}
        self._unread: dict[bytes, None] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._given_up = False
        self._pause = 0.0
        self._retry_at = 0.0
        self.outage = WriteOutage()
        self.dropped = 0
        self.on_refusal: Callable[[], None] | None = None

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start writing, also what was submitted before, and what goes on beside it."""
        self._tasks = [
            asyncio.create_task(self._write(), name="write verdicts"),
            asyncio.create_task(self.retention.run(), name="prune verdicts"),
        ]
        if self._db.scheme is Scheme.SQLITE:
            copying = Checkpoints(self._db).run()
            self._tasks.append(asyncio.create_task(copying, name="checkpoints"))

    async def stop(self, timeout_s: float = 5.0) -> int:
        """Write what waits, trying for at most ``timeout_s`` and ending an attempt that is under
        way, and return how many verdicts could not be written. Comes before ``stop`` of the
        database."""
        self._stopping = True
        self._wake.set()
        if self._tasks:
            writing, *others = self._tasks
            for task in others:
                task.cancel()
            await asyncio.wait({writing}, timeout=timeout_s)
            self._given_up = True
            self._wake.set()
            await asyncio.wait({writing, *others}, timeout=_LAST_ATTEMPT_S)
        unwritten = self._queue.give_up()
        self._answer_lookups({})
        if unwritten:
            log.error("%d verdicts could not be written before the end.", unwritten)
        return unwritten

    @property
    def failing(self) -> bool:
        """Whether the last attempt to write has failed."""
        return self.outage.failing

    # -- verdicts ------------------------------------------------------------------------------

    def submit(self, decision: Decision, *, keep: bool = True) -> "asyncio.Future[bool]":
        """Store a decision if none is stored about this event.

        The future resolves, once it is committed, with the verdict that stands: signed or not.
        It never has an exception; cancelled, it tells that the verdict will not be stored. With
        ``keep=False`` nothing is stored: it resolves with what stands or waits, else (also if the
        database cannot be read) with the decision's own.

        Whoever waits for the future uses ``asyncio.wait``: it may be shared.
        """
        key = decision.key
        waiting = self._queue.get(key)
        if waiting is not None:
            return waiting.future()
        if keep and not self._stopping:
            future = self._enqueue(decision)
        else:
            future = asyncio.get_running_loop().create_future()
            if keep:
                self.dropped += 1
                future.cancel()
            elif self._stopping:
                future.set_result(decision.signed)
            else:
                self._lookups.setdefault(key, []).append((future, decision.signed))
        self._wake.set()
        return future

    def _enqueue(self, decision: Decision) -> "asyncio.Future[bool]":
        waiting, gone = self._queue.add(decision)
        if gone is not None:
            self.dropped += 1
            self._unread.pop(gone.decision.key, None)
            gone.give_up()
        if self.failing:
            self._unread[decision.key] = None
        return waiting.future()

    def waiting(self, key: bytes) -> "asyncio.Future[bool] | None":
        """The future of a decision under that key which is not committed yet."""
        waiting = self._queue.get(key)
        return None if waiting is None else waiting.future()

    @property
    def waiting_count(self) -> int:
        """How many verdicts wait for the database."""
        return len(self._queue)

    # -- what moderators ask -------------------------------------------------------------------

    async def find_by_reference(self, code: str, moderation_room: str) -> list[StoredVerdict]:
        """The noteworthy verdicts in that moderation room's rooms under a reference code, however
        it was typed; oldest first, those not written yet last."""
        code = normal_reference(code)
        stored = await self._log.find_by_reference(code, moderation_room)
        waiting = self._waiting_in(moderation_room)
        return stored + [verdict for verdict in waiting if verdict.reference == code]

    async def find_by_event(self, event_id: str, moderation_room: str) -> list[StoredVerdict]:
        """The same for an event."""
        stored = await self._log.find_by_event(event_id, moderation_room)
        waiting = self._waiting_in(moderation_room)
        return stored + [verdict for verdict in waiting if verdict.details.event_id == event_id]

    def _waiting_in(self, moderation_room: str) -> list[StoredVerdict]:
        verdicts = (waiting_verdict(waiting.decision) for waiting in self._queue)
        return [
            verdict
            for verdict in verdicts
            if verdict is not None and verdict.details.moderation_room == moderation_room
        ]

    async def counts_since(self, room_id: str, since_ts: int) -> tuple[int, int] | None:
        """How many events of the room were refused from that time on (milliseconds), and how many
        would have been but for dry run; None if the database cannot be read."""
        try:
            refused = await self._log.refused_since(room_id, since_ts)
            return refused, await self._log.dry_run_since(room_id, since_ts)
        except Exception as error:
            log.warning("Refusals could not be counted (%s).", first_line(error))
            return None

    # -- writing -------------------------------------------------------------------------------

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._given_up:
            self._wake.clear()
            if self._lookups or self._unread:
                await self._read()
            rest = self._retry_at - loop.time() if self.failing else 0.0
            if len(self._queue) and rest <= 0:
                for _ in range(_GATHERING_TURNS):
                    await asyncio.sleep(0)
                await self._write_batch()
            elif self._lookups or self._unread:
                continue
            elif len(self._queue):
                with suppress(TimeoutError):
                    async with asyncio.timeout(rest):
                        await self._wake.wait()
            elif self._stopping:
                return
            else:
                await self._wake.wait()

    async def _write_batch(self) -> None:
        batch = self._queue.take(self._limit)
        decisions = [waiting.decision for waiting in batch]
        try:
            day = self._clock() // DAY_MS
            if decisions[0].signed and decisions[0].details is None:
                keys = [decision.key for decision in decisions]
                standing = await self._writer.write_accepts(keys, day)
            else:
                standing = await self._writer.write_decisions(decisions, day)
        except Exception as error:
            self._failed(batch, error)
            return
        self._queue.settle(standing)
        if len(standing) < len(batch):
            self._queue.put_back(batch)
        self._succeeded()
        if self.on_refusal is not None and any(_is_reported(decision) for decision in decisions):
            try:
                self.on_refusal()
            except Exception:
                log.exception("Waking the reporter failed.")

    def _succeeded(self) -> None:
        self._limit = min(self._chunk, self._limit * 2)
        if self.failing:
            self._pause = 0.0
            self._unread.clear()
            self.outage.over(waiting=len(self._queue))

    def _failed(self, batch: list[WaitingVerdict], error: Exception) -> None:
        blamed = blames_row(error)
        if blamed and len(batch) == 1 and batch[0].decision.details is not None:
            log.error(
                "The details of a verdict are not stored: the database refuses them (%s).",
                first_line(error),
            )
            batch[0].decision = replace(batch[0].decision, details=None)
        self._queue.put_back(batch)
        # Smaller batches from now on, so that a row which the database refuses ends up alone.
        self._limit = max(1, len(batch) // 2)
        if self.outage.failed(error, waiting=len(self._queue), dropped=self.dropped):
            self._unread = {waiting.decision.key: None for waiting in self._queue}
        longest = _FIRST_PAUSE_S if blamed or self._stopping else _LONGEST_PAUSE_S
        self._pause = min(longest, max(_FIRST_PAUSE_S, 2 * self._pause))
        self._retry_at = asyncio.get_running_loop().time() + self._pause

    async def _read(self) -> None:
        """Look up what is only asked for, and while the database cannot be written, what waits."""
        lookups = list(islice(self._lookups, self._chunk))
        unread = list(islice(self._unread, self._chunk))
        standing: dict[bytes, bool] = {}
        # What cannot be read counts as not stored.
        with suppress(Exception):
            standing = await self._writer.standing(list({*lookups, *unread}))
        for key in unread:
            self._unread.pop(key, None)
        self._answer_lookups(standing, lookups)
        self._queue.settle(standing)

    def _answer_lookups(
        self, standing: dict[bytes, bool], keys: Sequence[bytes] | None = None
    ) -> None:
        for key in list(self._lookups) if keys is None else keys:
            for future, own in self._lookups.pop(key, ()):
                if not future.done():
                    future.set_result(standing.get(key, own))


def _is_reported(decision: Decision) -> bool:
    return decision.details is not None and decision.details.ground in REPORTED
