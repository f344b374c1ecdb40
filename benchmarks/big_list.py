"""What a very long policy list does to `/sign` and to memory, on the real process. See README.md
here."""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from installation import BOT, CALLERS, LIST, MODERATION_ROOM, MODERATOR, NAME, ROOM, Installation
from installation import rule_event as rule_at
from probe import Probe, Probed
from traffic import event, request

from policybot.app import now_ms
from tests.bot.fake_homeserver import FakeHomeserver

ADDED = 250
"""New rules at once, more than one answer of /sync carries: the list has to be read again."""

_PER_STAGE = 10_000
_REQUESTS = 4 * _PER_STAGE
_DEADLINE_S = 300.0
_QUIET = 0.25  # the share of a processor that answering the probe may need
_QUIET_S = 2


@dataclass(frozen=True, slots=True)
class Stage:
    """What was seen from one moment until the process is quiet again. ``resting_mib`` is the
    resident memory then, ``peak_mib`` the most there was."""

    name: str
    seconds: float
    requests: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    peak_mib: float
    resting_mib: float


class Scene:
    """One policybot on a homeserver where a long list is waiting."""

    def __init__(self, homeserver: FakeHomeserver, directory: Path, rules: int) -> None:
        self._homeserver = homeserver
        self._rules = rules
        for room_id in (MODERATION_ROOM, ROOM, LIST):
            homeserver.create_room(
                MODERATOR,
                room_id=room_id,
                version="11",
                join_rule="public" if room_id == LIST else "invite",
                members=[BOT] if room_id != LIST else [],
            )
        for number in range(rules):
            self._append(number)
        token = homeserver.token(BOT)
        self._bot = Installation(directory, 0, homeserver=(homeserver.url, token))
        # Made before anything is measured. Each is asked about once.
        self._requests = [_request(number) for number in range(_REQUESTS)]
        self._asked = 0
        self.stages: list[Stage] = []

    def _append(self, number: int) -> None:
        made = rule_at(number)
        room = self._homeserver.rooms[LIST]
        room.append(MODERATOR, made["type"], made["content"], made["state_key"])

    async def run(self) -> None:
        """All stages."""
        await asyncio.to_thread(self._bot.start)
        try:
            await self._stage("nothing", self._nothing)
            await self._stage("watch", self._watch)
            await self._stage("gap", self._gap)
            await asyncio.to_thread(self._bot.stop)
            await asyncio.to_thread(self._bot.start_again)
            await self._stage("start", self._nothing)
        finally:
            await asyncio.to_thread(self._bot.stop)

    async def _nothing(self) -> None:
        pass

    async def _watch(self) -> None:
        await self._homeserver.say(MODERATION_ROOM, MODERATOR, f"!policy watch {LIST}")
        await _until(lambda: any("I follow" in text for text in self._texts()), self._texts)
        print("\n" + self._texts()[-1], file=sys.stderr)

    def _texts(self) -> list[str]:
        return [str(m["body"]) for m in self._homeserver.messages(MODERATION_ROOM, BOT)]

    async def _gap(self) -> None:
        read = len(self._homeserver.calls("GET", f"{LIST}/state"))
        gate = self._homeserver.gate("GET", "/sync")
        await self._homeserver.say(MODERATION_ROOM, MODERATOR, "the next sync waits")
        await _until(lambda: self._homeserver.gates_left() == 0, self._texts)
        for number in range(self._rules, self._rules + ADDED):
            self._append(number)
        gate.set()
        calls = self._homeserver.calls
        await _until(lambda: len(calls("GET", f"{LIST}/state")) > read, self._texts)

    async def _stage(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        if name != "start":  # which began before it could be asked
            self._bot.forget_peak()
        begun = time.monotonic()
        with Probe(
            self._bot.address, self._requests[self._asked : self._asked + _PER_STAGE]
        ) as probe:
            await work()
            await self._quiet()
            probed = await asyncio.to_thread(probe.end)
        self._asked += len(probed.latencies_ms)
        stage = self._seen(name, time.monotonic() - begun, probed)
        self.stages.append(stage)
        print_stage(stage)

    async def _quiet(self) -> None:
        """Wait until the process has nothing to do but to answer."""
        quiet = 0
        async with asyncio.timeout(_DEADLINE_S):
            while quiet < _QUIET_S:
                before = self._bot.cpu_seconds()
                await asyncio.sleep(1)
                quiet = quiet + 1 if self._bot.cpu_seconds() - before < _QUIET else 0

    def _seen(self, name: str, seconds: float, probed: Probed) -> Stage:
        latencies = sorted(probed.latencies_ms)
        return Stage(
            name,
            round(seconds, 1),
            len(latencies),
            round(latencies[len(latencies) // 2], 1),
            round(latencies[len(latencies) * 99 // 100], 1),
            round(latencies[-1], 1),
            round(self._bot.peak_mib(), 1),
            round(self._bot.memory_mib(), 1),
        )


def _request(number: int) -> bytes:
    caller = CALLERS[number % len(CALLERS)]
    return request(
        caller, NAME, event(caller, ROOM, f"@user{number}:{caller.name}", number, now_ms())
    )


async def _until(condition: Callable[[], bool], seen: Callable[[], Any]) -> None:
    try:
        async with asyncio.timeout(_DEADLINE_S):
            while not condition():  # noqa: ASYNC110 - nobody tells us
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise RuntimeError(f"it did not happen; the bot said: {seen()}") from None


def print_stage(stage: Stage) -> None:
    """One row of the table."""
    print(
        f"{stage.name:<9}{stage.seconds:>9.1f}{stage.requests:>10,}{stage.p50_ms:>8.1f}"
        f"{stage.p99_ms:>8.1f}{stage.max_ms:>8.1f}{stage.peak_mib:>10.1f}{stage.resting_mib:>13.1f}",
        flush=True,
    )


async def _measure(rules: int) -> list[Stage]:
    with tempfile.TemporaryDirectory(prefix="policybot-") as directory:
        async with FakeHomeserver(NAME) as homeserver:
            scene = Scene(homeserver, Path(directory), rules)
            print("stage      seconds  requests  p50 ms  p99 ms  max ms  peak MiB  resting MiB")
            await scene.run()
            return scene.stages


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure what a very long list does.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--rules", type=int, default=100_000)
    options = parser.parse_args()
    stages = asyncio.run(_measure(options.rules))
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(stage) for stage in stages], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
