"""Plain stand-ins for what the endpoint needs of its neighbours, held and let go by the test."""

import asyncio
from dataclasses import dataclass, field

from policybot.policy.verdict import Decision
from policybot.protocol.signing import VerifyKey


@dataclass
class Keys:
    """Keys of other servers.

    ``known`` are in memory. A fetch brings what is in ``arriving``; it is over at once, or after
    ``hold`` not before the test calls ``release`` or the time is over. ``waits`` has the bound
    that each fetch was given, in order, and ``addresses`` the address that it is charged to. A
    request that does not fetch its caller's key has come as far as it gets when it is counted in
    ``lookups``.
    """

    known: dict[tuple[str, str], VerifyKey] = field(default_factory=dict)
    arriving: dict[tuple[str, str], VerifyKey] = field(default_factory=dict)
    fetched: list[tuple[str, str]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    asked: list[tuple[str, str, int, bool]] = field(default_factory=list)
    lookups: int = 0
    broken: bool = False
    held: bool = False
    patient: bool = False
    _release: asyncio.Event = field(default_factory=asyncio.Event)

    def hold(self, *, patient: bool = False) -> None:
        """From now on fetches wait for ``release``; if ``patient``, longer than they may."""
        self.held = True
        self.patient = patient

    def release(self) -> None:
        """Let all fetches end."""
        self.held = False
        self._release.set()

    def lookup(self, server: str, key_id: str, now_ms: int) -> VerifyKey | None:
        self.lookups += 1
        if self.broken:
            raise RuntimeError("the keys are broken")
        return self.known.get((server, key_id))

    def event_key(
        self, server: str, key_id: str, origin_server_ts: int, strict: bool
    ) -> VerifyKey | None:
        self.asked.append((server, key_id, origin_server_ts, strict))
        return self.known.get((server, key_id))

    async def fetch(self, server: str, key_id: str, timeout_s: float, address: str = "") -> None:
        self.fetched.append((server, key_id))
        self.waits.append(timeout_s)
        self.addresses.append(address)
        if self.held:
            try:
                async with asyncio.timeout(None if self.patient else timeout_s):
                    await self._release.wait()
            except TimeoutError:
                return
        key = self.arriving.get((server, key_id))
        if key is not None:
            self.known[server, key_id] = key


class Verdicts:
    """A store in memory: the first verdict stands. While ``held``, nothing is committed.

    ``submitted`` are the decisions to store, ``looked_up`` those only asked about.
    """

    def __init__(self) -> None:
        self.stored: dict[bytes, bool] = {}
        self.submitted: list[Decision] = []
        self.looked_up: list[Decision] = []
        self.held = False
        self.broken = False
        self._waiting: list[tuple[Decision, asyncio.Future[bool]]] = []

    def submit(self, decision: Decision, *, keep: bool = True) -> "asyncio.Future[bool]":
        if self.broken:
            raise RuntimeError("the store is broken")
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if not keep:
            self.looked_up.append(decision)
            future.set_result(self.stored.get(decision.key, decision.signed))
            return future
        self.submitted.append(decision)
        self._waiting.append((decision, future))
        if not self.held:
            self.commit()
        return future

    def commit(self) -> None:
        """Store what waits."""
        for decision, future in self._waiting:
            future.set_result(self.stored.setdefault(decision.key, decision.signed))
        self._waiting.clear()

    def drop(self) -> None:
        """Give up what waits."""
        for _, future in self._waiting:
            future.cancel()
        self._waiting.clear()
