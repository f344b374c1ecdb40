"""Asking a policy server for signatures, as another homeserver does."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from aiohttp import (
    ClientError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
    TraceConfig,
)

from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.paths import SIGN

from .identity import Identity

_ALL_BEGUN_DEADLINE = 30.0
_ALL_STORED_DEADLINE = 60.0
_TAKEN_DEADLINE = 60.0


@dataclass(frozen=True, slots=True)
class SignAnswer:
    """The policy server's answer. ``stored``: it says that this verdict survives its end."""

    status: int
    body: JsonObject
    stored: bool

    def same_as(self, other: "SignAnswer") -> bool:
        """Whether both give the same verdict in the same words."""
        return (self.status, self.body) == (other.status, other.body)


class Asked(Protocol):
    """A policy server; ``url`` is the base URL of its endpoint."""

    @property
    def url(self) -> str | None: ...


class Caller:
    """The homeserver ``identity``, which asks ``bot`` wherever it listens at the moment.

    ``destination`` is the policy server's name.
    """

    def __init__(self, identity: Identity, bot: Asked, destination: str) -> None:
        self._identity = identity
        self._bot = bot
        self._destination = destination

    async def ask_all(self, events: Sequence[JsonObject], at_once: int = 16) -> list[SignAnswer]:
        """Ask about all events, several at a time; the answers are in their order.

        Raises:
            ClientError, OSError: an answer did not come, or not the whole of it.
        """
        async with _session(limit=at_once) as session:
            return await asyncio.gather(*(self._ask(session, event) for event in events))

    async def standing(self, events: Sequence[JsonObject]) -> list[SignAnswer]:
        """The answers about all events that the policy server calls stored, in their order.

        One that is given from memory, since the disk is slow at the moment, need not be the one
        that stands: such an event is asked about again.

        Raises:
            ClientError, OSError: as for ``ask_all``.
            TimeoutError: some were not stored in time.
        """
        stored: dict[int, SignAnswer] = {}
        async with asyncio.timeout(_ALL_STORED_DEADLINE):
            while missing := [n for n in range(len(events)) if n not in stored]:
                answers = await self.ask_all([events[n] for n in missing])
                stored |= {n: a for n, a in zip(missing, answers, strict=True) if a.stored}
        return [stored[n] for n in range(len(events))]

    async def answers(
        self, events: Sequence[JsonObject], at_once: int = 16
    ) -> AsyncIterator[tuple[JsonObject, SignAnswer]]:
        """Ask about all events, several at a time, and tell the answers as they come.

        An event whose answer does not come is left out: the policy server may end meanwhile.
        """

        async def ask(event: JsonObject) -> tuple[JsonObject, SignAnswer] | None:
            try:
                return event, await self._ask(session, event)
            except (ClientError, OSError):
                return None

        async with _session(limit=at_once) as session:
            for task in asyncio.as_completed([ask(event) for event in events]):
                if (answer := await task) is not None:
                    yield answer

    @asynccontextmanager
    async def asking(
        self, events: Sequence[JsonObject]
    ) -> AsyncIterator[list["asyncio.Task[SignAnswer]"]]:
        """Ask about all events at once, each on a connection of its own; on entering, the policy
        server has begun with each of them.

        It is known to have begun because the body is sent only after its ``100 Continue``.
        """
        begun = asyncio.Semaphore(0)

        async def body_was_sent(*_: object) -> None:
            begun.release()

        trace = TraceConfig()
        trace.on_request_chunk_sent.append(body_was_sent)
        async with _session(trace) as session:
            tasks = [
                asyncio.create_task(self._ask(session, event, expect_continue=True))
                for event in events
            ]
            try:
                async with asyncio.timeout(_ALL_BEGUN_DEADLINE):
                    for _ in events:
                        await begun.acquire()
                yield tasks
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def deliver(self, transaction: JsonObject, number: int) -> JsonObject:
        """Send a transaction in this server's name, again and again until it is taken; the answer.

        Raises:
            TimeoutError: it was not taken in time.
        """
        uri = f"/_matrix/federation/v1/send/{number}"
        transaction = {"origin": self._identity.name, **transaction}
        authorization = self._identity.authorization(self._destination, "PUT", uri, transaction)
        async with asyncio.timeout(_TAKEN_DEADLINE), _session() as session:
            while True:
                with suppress(ClientError, OSError):
                    async with session.put(
                        f"{self._bot.url}{uri}",
                        data=json.dumps(transaction).encode(),
                        headers={"Authorization": authorization},
                    ) as response:
                        if response.status == 200:
                            body: JsonObject = await response.json()
                            return body
                await asyncio.sleep(0.05)

    async def _ask(
        self, session: ClientSession, event: JsonObject, *, expect_continue: bool = False
    ) -> SignAnswer:
        authorization = self._identity.authorization(self._destination, "POST", SIGN, event)
        async with session.post(
            f"{self._bot.url}{SIGN}",
            data=json.dumps(event).encode(),
            headers={"Authorization": authorization, "Content-Type": "application/json"},
            expect100=expect_continue,
        ) as response:
            body: JsonObject = await response.json()
            stored = response.headers.get("Policybot-Verdict") == "stored"
            return SignAnswer(response.status, body, stored)


def _session(*traces: TraceConfig, limit: int = 0) -> ClientSession:
    return ClientSession(
        connector=TCPConnector(limit=limit),
        cookie_jar=DummyCookieJar(),
        timeout=ClientTimeout(total=60),
        trust_env=False,
        trace_configs=list(traces),
    )
