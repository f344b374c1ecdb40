"""Asking at a steady pace until told to stop, to see the longest wait.

Unlike `load`, a request is sent when its time has come, whether or not the ones before are
answered, and its latency counts from then: a server that stands still is seen by all who ask
meanwhile.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

INTERVAL_S = 0.01
CONNECTIONS = 64
"""More than can wait at this pace, if no answer takes longer than 0.6 seconds."""

_LAST_ANSWERS_S = 30.0


@dataclass(frozen=True, slots=True)
class Probed:
    """The latencies in the order of asking."""

    latencies_ms: list[float]


class ProbeFailed(Exception):
    """Something else than an answer of the endpoint came, or nothing."""


class Probe:
    """A process of its own that asks, from entering to `end`."""

    def __init__(self, address: tuple[str, int], requests: Sequence[bytes]) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._ours, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_run, args=(address, requests, theirs), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        if self._ours.recv() != "begun":
            raise ProbeFailed("the process did not begin")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.join()

    def end(self) -> Probed:
        """Stop asking, wait for the last answers and return what was seen.

        Raises:
            ProbeFailed: not everything was answered with 200.
        """
        self._ours.send("end")
        result = self._ours.recv()
        if isinstance(result, str):
            raise ProbeFailed(result)
        return Probed(result)


def _run(address: tuple[str, int], requests: Sequence[bytes], pipe: Connection) -> None:
    try:
        pipe.send(asyncio.run(_ask(address, requests, pipe)))
    except (OSError, ProbeFailed, TimeoutError) as error:
        pipe.send(f"{type(error).__name__}: {error}")


async def _ask(
    address: tuple[str, int], requests: Sequence[bytes], pipe: Connection
) -> list[float]:
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(await asyncio.open_connection(*address))
    latencies: list[float] = [0.0] * len(requests)
    tasks: list[asyncio.Task[None]] = []
    pipe.send("begun")
    begun = time.perf_counter()

    async def one(number: int, due: float) -> None:
        reader, writer = connection = await free.get()
        writer.write(requests[number])
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise ProbeFailed(head.decode())
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        await reader.readexactly(length)
        latencies[number] = (time.perf_counter() - due) * 1000
        free.put_nowait(connection)

    for number in range(len(requests)):
        due = begun + number * INTERVAL_S
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        if pipe.poll():
            break
        tasks.append(asyncio.create_task(one(number, due)))
    async with asyncio.timeout(_LAST_ANSWERS_S):
        await asyncio.gather(*tasks)
    return latencies[: len(tasks)]
