"""Sending prepared requests over keep-alive connections, each answered before the next.

This runs in a process of its own, so its processor time is not counted. Plain asyncio sockets:
it has to be cheaper than what it measures.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n", re.IGNORECASE)
_VERDICT = re.compile(rb"\r\nPolicybot-Verdict: (\w+)\r\n", re.IGNORECASE)
_DEADLINE_S = 120.0


class LoadFailed(Exception):
    """A connection ended, or the answers did not come in time."""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What came back. ``answers`` counts pairs of status and stored or memory ("" if the header
    is missing); ``latencies_ms`` is in no order; ``sample`` is the first request's answer."""

    seconds: float
    answers: Counter[tuple[int, str]]
    latencies_ms: list[float]
    sample: bytes


def send(address: tuple[str, int], connections: int, requests: Sequence[bytes]) -> LoadResult:
    """Send all requests, spread over the connections.

    Raises:
        LoadFailed: not every request was answered.
    """
    return asyncio.run(_send(address, connections, requests))


async def _send(
    address: tuple[str, int], connections: int, requests: Sequence[bytes]
) -> LoadResult:
    loop = asyncio.get_running_loop()
    pending = iter(enumerate(requests))
    answers: list[bytes] = [b""] * len(requests)
    latencies: list[float] = []
    opened = [
        await loop.create_connection(lambda: _Connection(pending, answers, latencies), *address)
        for _ in range(connections)
    ]
    begun = time.perf_counter()
    try:
        for _, connection in opened:
            connection.next()
        async with asyncio.timeout(_DEADLINE_S):
            await asyncio.gather(*(connection.done for _, connection in opened))
    except TimeoutError:
        raise LoadFailed(f"not all answers came within {_DEADLINE_S:.0f} seconds") from None
    finally:
        seconds = time.perf_counter() - begun
        for transport, _ in opened:
            transport.abort()
    counts = Counter(map(_status_and_verdict, answers))
    return LoadResult(seconds, counts, latencies, answers[0].partition(b"\r\n\r\n")[2])


def _status_and_verdict(answer: bytes) -> tuple[int, str]:
    verdict = _VERDICT.search(answer)
    return int(answer[9:12]), verdict[1].decode() if verdict is not None else ""


class _Connection(asyncio.Protocol):
    """One connection; it takes the next request when its last one is answered."""

    def __init__(
        self, pending: Iterator[tuple[int, bytes]], answers: list[bytes], latencies: list[float]
    ) -> None:
        self._pending = pending
        self._answers = answers
        self._latencies = latencies
        self._received = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def next(self) -> None:
        taken = next(self._pending, None)
        if taken is None:
            self.done.set_result(None)
            return
        self._number, request = taken
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data
        end = received.find(b"\r\n\r\n")
        length = _LENGTH.search(received) if end >= 0 else None
        if length is None or len(received) < end + 4 + int(length[1]):
            return
        self._latencies.append((time.perf_counter() - self._sent_at) * 1000)
        self._answers[self._number] = received
        self._received = b""
        self.next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(LoadFailed("the server closed a connection"))
