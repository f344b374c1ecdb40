"""A child process with a log that is read all the time, and an end that is certain."""

import asyncio
import os
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress

_LOG_LINES = 2000
_LINE_LENGTH = 2000
_PROXY_VARIABLES = frozenset({"http_proxy", "https_proxy", "all_proxy", "ftp_proxy", "no_proxy"})


class ProcessFailed(Exception):
    """A child process ended, or did not get ready in time.

    The text is one sentence. ``name`` is the process and ``log`` its last lines.
    """

    def __init__(self, name: str, what: str, log: Sequence[str]) -> None:
        super().__init__(f"{name} {what}")
        self.name = name
        self.log = tuple(log)


def child_environment(additions: Mapping[str, str]) -> dict[str, str]:
    """Our environment without proxy variables, unbuffered, with ``additions``.

    A proxy would be asked for the other homeserver, which only exists on loopback.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.lower() not in _PROXY_VARIABLES and not name.startswith("POLICYBOT_")
    }
    return kept | {"PYTHONUNBUFFERED": "1"} | dict(additions)


class ChildProcess:
    """One child process in a process group of its own.

    A Ctrl-C in the terminal therefore reaches only us, and we end the child in order. Both of its
    output streams are kept line by line in ``log`` (the last 2,000 lines).
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.log: deque[str] = deque(maxlen=_LOG_LINES)
        self._exit_code: int | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._start_mark = f"--- {name} started ---"

    @property
    def pid(self) -> int | None:
        """The process ID while the process runs, else None."""
        if self._process is None or self._process.returncode is not None:
            return None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code of the last run once it ended; negative = ended by that signal."""
        return self._exit_code if self._process is None else self._process.returncode

    async def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Run the command. May be called again after the process ended; the log goes on."""
        if self._process is not None:
            raise RuntimeError(f"{self.name} was started before and not stopped")
        self.log.append(self._start_mark)
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(environment),
            process_group=0,
        )
        assert self._process.stdout is not None
        self._reader = asyncio.create_task(self._read(self._process.stdout))

    async def wait_for_line(self, fragment: str, deadline: float) -> str:
        """The newest line of this run with ``fragment`` in it; waits ``deadline`` seconds.

        Raises:
            ProcessFailed: the process ended, or the line did not come.
        """
        try:
            async with asyncio.timeout(deadline):
                while True:
                    for line in reversed(self.log):
                        if line == self._start_mark:
                            break
                        if fragment in line:
                            return line
                    if self._reader is None or self._reader.done():
                        raise await self.ended()
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise self.not_ready(deadline) from None

    async def wait_for_end(self, deadline: float) -> None:
        """Return once the process ended by itself; ``exit_code`` then tells how.

        Raises:
            ProcessFailed: it still runs after ``deadline`` seconds.
        """
        if self._process is not None:
            try:
                async with asyncio.timeout(deadline):
                    await self._process.wait()
            except TimeoutError:
                raise ProcessFailed(
                    self.name, f"still ran after {deadline:g} s", self.log_tail()
                ) from None

    async def ended(self) -> ProcessFailed:
        """The error that tells that the process ended though it should not have."""
        if self._process is not None:
            # Its output ends a moment before its exit code is known.
            with suppress(ProcessFailed):
                await self.wait_for_end(2)
        return ProcessFailed(
            self.name, f"ended by itself with exit code {self.exit_code}", self.log_tail()
        )

    def not_ready(self, deadline: float) -> ProcessFailed:
        """The error that tells that the process did not get ready within ``deadline`` seconds."""
        return ProcessFailed(self.name, f"was not ready within {deadline:g} s", self.log_tail())

    async def stop(self, grace: float = 15.0) -> int | None:
        """Ask the process to end (SIGTERM), after ``grace`` seconds end it (SIGKILL).

        Returns the exit code, None if it was never started. Being cancelled shortens the grace;
        the process is gone afterwards in any case.
        """
        if self._process is None:
            return None
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                await self._process.wait()
        except TimeoutError:
            pass
        finally:
            code = await self.kill()
        return code

    async def kill(self) -> int | None:
        """End the process at once (SIGKILL) and wait until it is gone."""
        if self._process is None:
            return None
        self._signal(signal.SIGKILL)
        code = await self._process.wait()
        if self._reader is not None:
            # The end of the output normally follows at once; a grandchild could hold it open.
            await asyncio.wait([self._reader], timeout=1)
            self._reader.cancel()
        self._process, self._reader = None, None
        self._exit_code = code
        return code

    def log_tail(self, lines: int = 30) -> list[str]:
        """The last lines of the log."""
        return list(self.log)[-lines:]

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            # Not Process.send_signal(): it looks first whether the child has ended, and if so
            # takes the exit code away from asyncio.
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    async def _read(self, stream: asyncio.StreamReader) -> None:
        # Not readline(): a line longer than the stream's limit would end it.
        rest = b""
        while chunk := await stream.read(65536):
            *whole, rest = (rest + chunk).split(b"\n")
            self._keep(whole)
            if len(rest) > _LINE_LENGTH:
                self._keep([rest])
                rest = b""
        if rest:
            self._keep([rest])
        self._changed.set()

    def _keep(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            self.log.append(line[:_LINE_LENGTH].decode("utf-8", "replace").rstrip())
        self._changed.set()
