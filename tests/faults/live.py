"""The real process `policybot run`, with a moderation room on a fake homeserver."""

import asyncio
import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policybot.demo.child_process import child_environment
from tests.bot.fake_homeserver import FakeHomeserver
from tests.bot.fault import Fault
from tests.bot.moderated import BOT, DEADLINE_S, Moderated
from tests.bot.public_front import PublicFront
from tests.command import STRICT
from tests.store.samples import eventually

COMMAND = (*STRICT, "-m", "tests.faults.forker")
LISTENING = "Listening on "


@dataclass(frozen=True, slots=True)
class Step:
    """A request of a command: the process is killed while it waits for the answer, and the
    homeserver has ``done`` what was asked for or has not. ``skip`` such requests come before."""

    name: str
    method: str
    path_part: str
    done: bool = False
    skip: int = 0


class Forker:
    """The process that the bots are children of; one bot at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=child_environment({}),
        )
        self.pid: int | None = None

    def start(self, config: Path, log: Path) -> int:
        """Start a bot; its process ID."""
        assert self.pid is None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([str(config), str(log)]) + "\n")
        self._process.stdin.flush()
        self.pid = self._number()
        return self.pid

    async def ended(self) -> int:
        """Wait until the bot has ended; its exit code. It is killed if that takes too long."""
        assert self.pid is not None
        late = asyncio.get_running_loop().call_later(DEADLINE_S, os.kill, self.pid, signal.SIGKILL)
        code = await asyncio.to_thread(self._number)
        late.cancel()
        self.pid = None
        return code

    def _number(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it, and the bot if it still runs."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(DEADLINE_S)


class Live(Moderated):
    """A bot that is a process. `begin` and `stop` or `kill` may be repeated."""

    def __init__(
        self, forker: Forker, homeserver: FakeHomeserver, front: PublicFront, directory: Path
    ) -> None:
        super().__init__(homeserver, front, directory)
        self.database = directory / "policybot.db"
        self._forker = forker
        self.config = directory / "config.yaml"
        self._log = directory / "log"
        self._read_from = 0
        self._token = homeserver.token(BOT)

    @property
    def pid(self) -> int:
        """The process ID."""
        assert self._forker.pid is not None
        return self._forker.pid

    def log(self) -> str:
        """What this run has logged."""
        return self._log.read_bytes()[self._read_from :].decode() if self._log.exists() else ""

    def _account(self) -> dict[str, Any]:
        return {"url": self.homeserver.url, "user_id": BOT, "access_token": self._token}

    async def begin(self) -> None:
        """Start the process and wait until it listens."""
        await self.launch()
        await eventually(lambda: LISTENING in self.log())
        line = next(line for line in self.log().splitlines() if LISTENING in line)
        self.front.behind = line.rpartition(" ")[2]

    async def launch(self) -> None:
        """Start the process."""
        standalone = {"homeserver": self._account(), "database": self.database_url}
        config = {**self.settings, "listen": {"port": 0}, "standalone": standalone}
        self.config.write_text(json.dumps(config))
        self._read_from = self._log.stat().st_size if self._log.exists() else 0
        self._forker.start(self.config, self._log)

    async def start(self) -> None:
        """Start the process and wait until it obeys."""
        await self.begin()
        await self.ask("!policy help")

    async def refusal(self) -> str:
        """Start the process, which does not start: the sentence that it ends with."""
        await self.launch()
        assert await self._forker.ended() == 1, self.log()
        *before, last = self.log().splitlines()
        assert not [line for line in before if "Traceback" in line or "policybot: " in line]
        assert last.startswith("policybot: ")
        return last.removeprefix("policybot: ")

    async def stop(self) -> None:
        """End the process in order, if it runs."""
        if self._forker.pid is not None:
            os.kill(self.pid, signal.SIGTERM)
            assert await self._forker.ended() == 0

    async def kill(self) -> None:
        """End the process by `kill -9`."""
        os.kill(self.pid, signal.SIGKILL)
        assert await self._forker.ended() == -signal.SIGKILL

    async def killed_in(self, text: str, step: Step) -> str:
        """Say a command and kill the process in that step of it; the event ID."""
        self.homeserver.fault(
            step.method,
            step.path_part,
            Fault.hang(after_the_deed=step.done, skip=step.skip),
        )
        event_id = await self.say(text)
        await self.homeserver.wait_for(lambda: self.homeserver.faults_left() == 0)
        await self.kill()
        return event_id
