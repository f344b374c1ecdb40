import asyncio
import os
import signal
from pathlib import Path

import pytest

from policybot.demo.child_process import ChildProcess
from policybot.demo.requirements import what_is_missing
from tests.command import STRICT

_DEMO = "import sys; from policybot.demo.story import main; sys.exit(main(keep=False))"
_BROKEN_BOT = "import policybot.demo.bot_process as b; b._COMMAND = (b.sys.executable, '-c', {!r})"
_DEADLINE = 120.0


@pytest.fixture(autouse=True)
def synapse_is_there() -> None:
    if (sentence := what_is_missing()) is not None:
        pytest.fail(sentence)


async def _start(code: str, directory: Path) -> ChildProcess:
    """A demonstration whose temporary files are in ``directory``."""
    process = ChildProcess("demonstration")
    command = [*STRICT, "-c", code]
    await process.start(command, {**os.environ, "TMPDIR": str(directory)})
    return process


def _processes_using(directory: Path) -> list[str]:
    """The command lines of all processes that name the directory (Linux)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = entry.read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        if str(directory) in text:
            found.append(text.replace("\0", " "))
    return found


async def test_an_interrupted_demonstration_leaves_nothing(tmp_path: Path) -> None:
    demo = await _start(_DEMO, tmp_path)
    await demo.wait_for_line("Two Synapse homeservers run", _DEADLINE)
    assert demo.pid is not None
    assert os.listdir(tmp_path)
    os.kill(demo.pid, signal.SIGINT)
    os.kill(demo.pid, signal.SIGINT)
    await demo.wait_for_line("nothing is left behind", _DEADLINE)
    await demo.wait_for_end(_DEADLINE)
    assert await demo.stop() == 130
    assert os.listdir(tmp_path) == []
    assert await asyncio.to_thread(_processes_using, tmp_path) == []


async def test_a_step_that_does_not_happen_is_explained(tmp_path: Path) -> None:
    broken = _BROKEN_BOT.format("raise SystemExit('the bot is broken')")
    demo = await _start(f"{broken}; {_DEMO}", tmp_path)
    await demo.wait_for_end(_DEADLINE)
    assert await demo.stop() == 1
    log = "\n".join(demo.log)
    assert "It did not happen: start policybot: policybot ended by itself with exit code 1" in log
    assert "--- last lines of policybot\n" in log
    assert "the bot is broken" in log
    assert "--- last lines of Synapse hs1\n" in log
    assert "--- last lines of Synapse hs2\n" in log
    assert os.listdir(tmp_path) == []
