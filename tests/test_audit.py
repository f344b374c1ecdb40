"""`.ci/audit`: never "audited" without an answer, and a failure only for a known vulnerability."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

AUDIT = Path(__file__).parent.parent / ".ci" / "audit"

# In place of pip-audit: says what the test wants of each package that it is asked about.
STAND_IN = """
import json, pathlib, sys
file = pathlib.Path(sys.argv[sys.argv.index("-r") + 1])
asked = [line.split("==") for line in file.read_text().splitlines()]
said = json.loads(pathlib.Path(__file__).with_name("said.json").read_text())
if said is None:
    sys.exit("could not connect")
print(json.dumps({"dependencies": [
    {"name": name, "version": version, **said.get(name, said["*"])} for name, version in asked
]}))
"""

GOOD: dict[str, Any] = {"vulns": []}
UNKNOWN = {"skip_reason": "Dependency not found on PyPI and could not be audited: x (1)"}
BAD = {"vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["9.1"]}]}


def audited(directory: Path, said: dict[str, Any] | None) -> subprocess.CompletedProcess[str]:
    (directory / "pip_audit.py").write_text(STAND_IN)
    (directory / "said.json").write_text(json.dumps(said))
    environment = {**os.environ, "PYTHONPATH": str(directory)}
    return subprocess.run(
        [sys.executable, AUDIT], capture_output=True, text=True, timeout=60, env=environment
    )


@pytest.mark.parametrize(
    ("said", "code", "printed", "not_printed"),
    [
        ({"*": GOOD}, 0, "AUDITED: ", "NOT"),
        ({"*": UNKNOWN}, 0, "NOT AUDITED: ", "\nAUDITED"),
        ({"*": GOOD, "mautrix": UNKNOWN}, 0, "NOT AUDITED: 1 of the ", "VULNERABLE"),
        (None, 0, "NOT AUDITED: could not connect", "\nAUDITED"),
        ({"*": UNKNOWN, "aiohttp": BAD}, 1, " has PYSEC-1, fixed in 9.1", "all"),
    ],
)
def test_the_audit(
    tmp_path: Path, said: dict[str, Any] | None, code: int, printed: str, not_printed: str
) -> None:
    ended = audited(tmp_path, said)
    output = "\n" + ended.stdout + ended.stderr
    assert ended.returncode == code, output
    assert printed in output
    assert not_printed not in output


def test_what_is_needed_to_run_is_asked_about_and_nothing_else(tmp_path: Path) -> None:
    ended = audited(tmp_path, {"*": BAD})
    names = {line.split()[1] for line in ended.stderr.splitlines()}
    assert {"aiohttp", "mautrix", "pynacl", "orjson", "asyncpg", "yarl"} <= names
    assert not names & {"matrix-synapse", "pytest", "policybot"}
