"""The command `policybot` as a child process, and a configuration for it."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policybot.demo.child_process import ChildProcess, child_environment

DEADLINE_S = 60.0
STRICT = (sys.executable, "-W", "error", "-W", "ignore:Binding:DeprecationWarning")
"""Python with warnings as errors, but for what mautrix's SQLite layer does on Python 3.12."""

COMMAND = (*STRICT, "-m", "policybot")
BOT = "@policybot:example.org"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


async def policybot(
    *arguments: str, directory: Path, stdin: str = "", **environment: str
) -> Ended:
    """Run the command to its end, with nothing but ``stdin`` to read."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        cwd=directory,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=child_environment(environment),
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            out, err = await process.communicate(stdin.encode())
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


@asynccontextmanager
async def running(
    file: Path, *, command: tuple[str, ...] = COMMAND
) -> AsyncIterator[tuple[ChildProcess, str]]:
    """`policybot run` and the URL on which it listens; killed at the end if it still runs."""
    process = ChildProcess("policybot")
    await process.start((*command, "run", "-c", str(file)), child_environment({}))
    try:
        line = await process.wait_for_line("Listening on http", DEADLINE_S)
        yield process, line.rsplit(" ", 1)[1]
    finally:
        await process.kill()


async def terminated(process: ChildProcess) -> int | None:
    """Send SIGTERM and return the exit code."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGTERM)
    await process.wait_for_end(DEADLINE_S)
    return process.exit_code


def write_config(
    directory: Path, homeserver: Mapping[str, Any], **sections: Mapping[str, Any]
) -> Path:
    """Write a configuration; ``homeserver`` and ``sections`` add to what is needed.

    Quiet, so that a refusal is the only line on stderr; ``level="INFO"`` is needed by `running`.
    """
    config: dict[str, Any] = {
        "moderation_rooms": ["!mods:example.org"],
        "policy_server": {"name": "example.org"},
        "listen": {"port": 0},
        "standalone": {
            "homeserver": {"user_id": BOT, **homeserver},
            "database": f"sqlite://{directory / 'policybot.db'}",
            "logging": {"level": "WARNING"},
        },
    }
    for name, section in sections.items():
        config[name] = {**config.get(name, {}), **section}
    file = directory / "config.yaml"
    file.touch(0o600)
    file.write_text(json.dumps(config))
    return file
