"""Runs `policybot run` again and again, each a process of its own, without loading Python anew.

It reads a configuration and a log file from each line of its input, forks, and carries out the
command in the child. It prints the child's process ID, and when the child has ended how.
"""

import json
import os
import resource
import sys

import uvloop  # noqa: F401

from policybot import app, standalone  # noqa: F401
from policybot.cli import main


def carry_out(config: str, log: str) -> None:
    """Be the command; does not return."""
    code = 70
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        code = main(["run", "-c", config])
    finally:
        sys.stderr.flush()
        os._exit(code)


def run() -> None:
    """Carry out the command as often as told to."""
    # As under systemd.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1_024, hard), hard))
    for line in iter(sys.stdin.readline, ""):
        config, log = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.close(0)
            carry_out(config, log)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    run()
