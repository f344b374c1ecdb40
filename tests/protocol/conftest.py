"""Synapse as the oracle, one process for the whole run."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.room_version import RoomVersion

from .events import KEY_ID, NAME, SEED


class Synapse:
    """A running oracle."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, event: JsonObject, version: RoomVersion) -> dict[str, Any]:
        """What Synapse makes of the event; fails the test if it refuses it."""
        question = {
            "version": version.name,
            "event": event,
            "name": NAME,
            "key_id": KEY_ID,
            "seed": SEED,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self.read_line()
        assert "error" not in answer, f"Synapse refused the event: {answer['error']}"
        return answer

    def read_line(self) -> dict[str, Any]:
        """The next line of the process."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            pytest.fail(f"The Synapse process ended with status {self._process.wait()}.")
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer


@pytest.fixture(scope="session")
def synapse() -> Iterator[Synapse]:
    """The oracle, in an interpreter where Synapse is installed: this one, unless the environment
    variable POLICYBOT_TEST_SYNAPSE_PYTHON names another."""
    python = os.environ.get("POLICYBOT_TEST_SYNAPSE_PYTHON", sys.executable)
    script = Path(__file__).with_name("synapse_oracle.py")
    with subprocess.Popen(
        [python, "-W", "ignore", str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
    ) as process:
        oracle = Synapse(process)
        first = oracle.read_line()
        if "error" in first:
            pytest.fail(
                f"Synapse cannot be imported by {python}, but these tests compare with it: "
                f"{first['error']}. Install the extra 'test'."
            )
        yield oracle
