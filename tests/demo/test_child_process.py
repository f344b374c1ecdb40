import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from policybot.demo.child_process import ChildProcess, ProcessFailed, child_environment

_STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""
_POLITE = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("ready", flush=True)
time.sleep(600)
"""


async def _run(process: ChildProcess, code: str) -> None:
    await process.start([sys.executable, "-c", code], child_environment({}))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def _environment(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Iterator[None]:
    with monkeypatch.context() as context:
        for name, value in variables.items():
            context.setenv(name, value)
        yield


async def test_a_polite_process_ends_by_itself() -> None:
    process = ChildProcess("child")
    await _run(process, _POLITE)
    await process.wait_for_line("ready", deadline=20)
    pid = process.pid
    assert pid is not None
    assert os.getpgid(pid) == pid
    assert await process.stop() == 7
    assert not _is_alive(pid)
    assert process.pid is None
    assert process.exit_code == 7


async def test_a_stubborn_process_is_killed() -> None:
    process = ChildProcess("child")
    await _run(process, _STUBBORN)
    await process.wait_for_line("ready", deadline=20)
    pid = process.pid
    assert pid is not None
    assert await process.stop(grace=0.1) == -signal.SIGKILL
    assert not _is_alive(pid)


async def test_being_cancelled_while_stopping_still_ends_it() -> None:
    process = ChildProcess("child")
    await _run(process, _STUBBORN)
    await process.wait_for_line("ready", deadline=20)
    pid = process.pid
    assert pid is not None
    stopping = asyncio.create_task(process.stop(grace=600))
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert not _is_alive(pid)


async def test_a_process_that_ends_is_told_with_its_log() -> None:
    process = ChildProcess("child")
    await _run(process, "import sys; print('out'); sys.exit('cannot do it')")
    with pytest.raises(ProcessFailed, match="child ended by itself with exit code 1") as failure:
        await process.wait_for_line("ready", deadline=20)
    assert "cannot do it" in failure.value.log
    assert "out" in failure.value.log
    assert await process.stop() == 1


async def test_a_line_that_does_not_come_is_told() -> None:
    process = ChildProcess("child")
    await _run(process, _POLITE)
    with pytest.raises(ProcessFailed, match="was not ready within 0.05 s"):
        await process.wait_for_line("never", deadline=0.05)
    await process.kill()


async def test_a_line_of_an_earlier_run_does_not_count() -> None:
    process = ChildProcess("child")
    await _run(process, _POLITE)
    await process.wait_for_line("ready", deadline=20)
    await process.kill()
    await _run(process, "pass")
    with pytest.raises(ProcessFailed):
        await process.wait_for_line("ready", deadline=20)
    assert "ready" in process.log
    await process.stop()


async def test_long_lines_and_broken_text_are_kept_in_part() -> None:
    process = ChildProcess("child")
    await _run(
        process,
        "import sys; sys.stdout.buffer.write(b'x' * 300000 + b'\\nbad \\xff\\nlast'); "
        "sys.stdout.flush()",
    )
    await process.wait_for_line("last", deadline=20)
    assert max(map(len, process.log)) <= 2000
    assert "bad \ufffd" in process.log
    await process.stop()


async def test_stopping_what_was_never_started_does_nothing() -> None:
    process = ChildProcess("child")
    assert await process.stop() is None
    assert await process.kill() is None


def test_proxies_and_our_own_settings_are_kept_from_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with _environment(
        monkeypatch,
        HTTPS_PROXY="http://proxy.example",
        https_proxy="http://proxy.example",
        POLICYBOT_COMMAND_PREFIX="!x",
        OTHER="kept",
    ):
        environment = child_environment({"SSL_CERT_FILE": "/ca.pem"})
    assert {"HTTPS_PROXY", "https_proxy", "POLICYBOT_COMMAND_PREFIX"}.isdisjoint(environment)
    assert environment["OTHER"] == "kept"
    assert environment["SSL_CERT_FILE"] == "/ca.pem"


async def test_waiting_for_an_end_has_a_deadline() -> None:
    process = ChildProcess("child")
    await _run(process, _POLITE)
    with pytest.raises(ProcessFailed, match="child still ran after 0.05 s"):
        await process.wait_for_end(0.05)
    await process.kill()
    await process.wait_for_end(0.05)
    assert process.exit_code == -signal.SIGKILL
