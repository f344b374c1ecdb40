"""A damaged database: one sentence, exit code 1, and every byte is left as it was."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from policybot.demo.child_process import child_environment
from tests.bot.moderated import DEADLINE_S, SPAMMER

from .live import Live

PAGE = 4_096
WITHOUT_POWERS = () if os.geteuid() else ("setpriv", "--bounding-set=-dac_override")


def flipped(content: bytes, page: int) -> bytes:
    """The content with one page of nonsense."""
    return content[: page * PAGE] + b"\xa5" * PAGE + content[(page + 1) * PAGE :]


def page_of(file: Path, table: str) -> int:
    """The first page of a table."""
    with closing(sqlite3.connect(file)) as conn:
        row = conn.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,))
        return int(row.fetchone()[0]) - 1


async def used(live: Live) -> Path:
    """The file of a bot that was used and has ended."""
    room_id = live.room()
    await live.start()
    await live.ask(f"!policy enable {room_id}")
    await live.ask(f"!policy ban {SPAMMER} spam")
    await live.sign(room_id)
    await live.stop()
    return live.database


def files(file: Path) -> dict[str, bytes]:
    """The database and what lies beside it, but for the index that any reader makes anew."""
    return {
        path.name: path.read_bytes()
        for path in file.parent.glob(f"{file.name}*")
        if not path.name.endswith("-shm")
    }


@pytest.mark.parametrize("table", ["sqlite_master", "verdict", "decision", "setting"])
async def test_a_page_of_nonsense(live: Live, table: str) -> None:
    file = await used(live)
    page = 0 if table == "sqlite_master" else page_of(file, table)
    file.write_bytes(flipped(file.read_bytes(), page))
    before = files(file)
    text = await live.refusal()
    assert "is damaged or not a database" in text and "was left as it is" in text
    assert files(file) == before


@pytest.mark.parametrize(
    "cut",
    [
        pytest.param(lambda size: 50, id="within its header"),
        pytest.param(lambda size: PAGE, id="to its first page"),
        pytest.param(lambda size: size // 2, id="in the middle"),
        pytest.param(lambda size: size - 1, id="by a byte"),
    ],
)
async def test_a_file_that_was_cut_off(live: Live, cut: Callable[[int], int]) -> None:
    file = await used(live)
    content = file.read_bytes()
    file.write_bytes(content[: cut(len(content))])
    before = files(file)
    text = await live.refusal()
    assert "is damaged or not a database" in text
    assert files(file) == before


async def test_a_file_that_is_damaged_under_a_log_not_written_back(live: Live) -> None:
    """As after `kill -9` and a fault of the disk."""
    file = await used(live)
    await live.start()
    await live.kill()
    file.write_bytes(file.read_bytes()[: 3 * PAGE])
    before = files(file)
    assert f"{file.name}-wal" in before
    assert "is damaged or not a database" in await live.refusal()
    assert files(file) == before


async def test_an_empty_file_is_a_new_database(live: Live) -> None:
    """As `touch` makes it. Rooms that carry the old key are told."""
    file = await used(live)
    file.write_bytes(b"")
    for event in live.homeserver.rooms[live.mods].since(0):
        event["origin_server_ts"] -= 3_600_000  # else the old commands would be carried out anew
    del live.settings["policy_server"]["signing_key"]
    await live.begin()
    await live.notice("carries another key than mine", "policy_server.signing_key")


async def test_a_file_or_directory_that_may_not_be_written(live: Live) -> None:
    """For root the right to write everywhere is taken away first."""
    file = await used(live)
    before = files(file)
    command = [*WITHOUT_POWERS, sys.executable, "-m", "policybot", "run", "-c", str(live.config)]
    for path, mode in ((file, 0o400), (file.parent, 0o500)):
        usual = path.stat().st_mode
        path.chmod(mode)
        ended = await asyncio.to_thread(
            subprocess.run,
            command,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            env=child_environment({}),
        )
        path.chmod(usual)
        assert ended.returncode == 1, ended.stderr
        assert "cannot be written" in ended.stderr.splitlines()[-1]
        assert files(file) == before
