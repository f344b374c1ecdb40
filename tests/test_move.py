"""`policybot export` and `policybot import` as they are typed."""

import asyncio
import gzip
import sqlite3
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest
from mautrix.util.async_db import Database

from policybot.cli import main
from policybot.store.database import close_database, open_database
from policybot.store.settings import Setting, Settings
from tests.store.rows import contents, fill

from .command import BOT, COMMAND, policybot, write_config

KEY = "YSBrZXkgdGhhdCBoYXMgMzIgYnl0ZXMgZXhhY3RseS4"
OTHER_KEY = "c29tZSBvdGhlciBrZXkgb2YgMzIgYnl0ZXMgLi4uLi4"


async def with_database(url: str, work: Callable[[Database], Awaitable[object]]) -> object:
    db = await open_database(url)
    try:
        return await work(db)
    finally:
        await close_database(db)


def url_of(directory: Path) -> str:
    return f"sqlite://{directory}/policybot.db"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The directory of a policybot with a configuration and rows in every table."""
    directory = tmp_path / "old"
    directory.mkdir()
    write_config(directory, {"url": "http://127.0.0.1:1", "access_token": "token"})

    async def prepare(db: Database) -> None:
        await fill(db)
        await Settings(db).set(Setting.SYNC_POSITION, "s5")

    asyncio.run(with_database(url_of(directory), prepare))
    return directory


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """The directory of a policybot with a configuration that never ran."""
    directory = tmp_path / "new"
    directory.mkdir()
    write_config(directory, {"url": "http://127.0.0.1:1", "access_token": "token"})
    return directory


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def same(old: Path, new: Path) -> bool:
    async def read(url: str) -> object:
        return await with_database(url, contents)

    return asyncio.run(read(url_of(old))) == asyncio.run(read(url_of(new)))


def line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("policybot: ")
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix("policybot: ").rstrip("\n")


def test_from_one_configuration_to_another(
    old: Path, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "moved.gz"
    assert run("export", "-c", old / "config.yaml", file) == 0
    told = capsys.readouterr()
    assert told.out.startswith("Exported: ")
    assert "verdict 1,203" in told.out
    assert (told.out.count("\n"), told.err) == (1, "")
    assert file.stat().st_mode & 0o777 == 0o600
    assert run("import", "-c", new / "config.yaml", file) == 0
    assert capsys.readouterr().out.startswith("Imported, as of 20")
    assert same(old, new)


async def test_through_a_pipe_and_from_the_current_directory(old: Path, new: Path) -> None:
    out = await asyncio.create_subprocess_exec(
        *COMMAND, "export", "-", cwd=old, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    data, told = await out.communicate()
    assert (out.returncode, told[:10]) == (0, b"Exported: ")
    into = await asyncio.create_subprocess_exec(
        *COMMAND, "import", "-", cwd=new, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    told, _ = await into.communicate(data)
    assert (into.returncode, told[:10]) == (0, b"Imported, ")
    assert await asyncio.to_thread(same, old, new)


def test_a_database_named_by_its_url_takes_no_login(old: Path, new: Path, tmp_path: Path) -> None:
    file = tmp_path / "moved.gz"

    def position(directory: Path) -> object:
        async def read(db: Database) -> str | None:
            return await Settings(db).get(Setting.SYNC_POSITION)

        return asyncio.run(with_database(url_of(directory), read))

    assert run("export", "-c", old / "config.yaml", file) == 0
    assert BOT in gzip.decompress(file.read_bytes()).decode()
    assert run("import", "--database", url_of(tmp_path), file) == 0
    assert position(tmp_path) is None
    assert run("export", "--database", url_of(old), tmp_path / "without.gz") == 0
    assert run("import", "-c", new / "config.yaml", tmp_path / "without.gz") == 0
    assert position(new) is None


def test_a_key_that_stays_in_the_configuration_is_spoken_of(
    new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "policybot.db"
    asyncio.run(with_database(url_of(tmp_path), lambda db: Settings(db).instance_id()))
    assert run("export", "--database", f"sqlite://{old}", tmp_path / "moved.gz") == 0
    assert "policy key is not in the file" in capsys.readouterr().out
    assert run("import", "-c", new / "config.yaml", tmp_path / "moved.gz") == 0
    assert "policy key is not in the file" in capsys.readouterr().out


@pytest.mark.parametrize("key", [OTHER_KEY, KEY])
def test_another_key_in_the_configuration_is_spoken_of(
    old: Path, new: Path, tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(
        new,
        {"url": "http://127.0.0.1:1", "access_token": "token"},
        policy_server={"signing_key": OTHER_KEY},
    )
    asyncio.run(with_database(url_of(old), lambda db: Settings(db).set(Setting.SIGNING_KEY, key)))
    assert run("export", "-c", old / "config.yaml", tmp_path / "moved.gz") == 0
    assert run("import", "-c", new / "config.yaml", tmp_path / "moved.gz") == 0
    assert ("is not the imported key" in capsys.readouterr().out) is (key == KEY)


def test_a_file_that_is_there_is_not_written_over(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "moved.gz"
    file.write_text("mine")
    assert run("export", "--database", url_of(old), file) == 1
    assert line(capsys) == f"{file} is there already: name a new file."
    assert file.read_text() == "mine"


def test_a_failed_export_leaves_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", "--database", url_of(tmp_path), tmp_path / "moved.gz") == 1
    assert line(capsys) == f"There is no database {tmp_path}/policybot.db."
    assert run("export", "--database", "sqlite:", tmp_path / "moved.gz") == 1
    assert "names no database file" in line(capsys)
    assert list(tmp_path.iterdir()) == []
    assert run("export", "--database", url_of(tmp_path), tmp_path / "away" / "moved.gz") == 1
    assert "moved.gz cannot be written (No such file or directory)." in line(capsys)


def test_another_programs_file_is_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(tmp_path / "policybot.db")) as conn:
        conn.execute("CREATE TABLE plugin (id TEXT)")
    before = (tmp_path / "policybot.db").read_bytes()
    assert run("export", "--database", url_of(tmp_path), tmp_path / "moved.gz") == 1
    assert "belongs to another program" in line(capsys)
    assert (tmp_path / "policybot.db").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:-20], "is cut off: export or copy it again."),
        (lambda data: data[:-5] + b"\0" + data[-4:], "is damaged or was changed"),
        (lambda data: b"moderation_rooms: []\n", "was not written by `policybot export`."),
        (lambda data: gzip.decompress(data), "was not written by `policybot export`."),
        (
            lambda data: gzip.compress(
                gzip.decompress(data).replace(b'"format_version":1', b'"format_version":2', 1)
            ),
            "was written by policybot",
        ),
    ],
)
def test_a_bad_file_leaves_nothing_behind(
    old: Path,
    new: Path,
    change: Callable[[bytes], bytes],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = old / "moved.gz"
    assert run("export", "-c", old / "config.yaml", file) == 0
    capsys.readouterr()
    file.write_bytes(change(file.read_bytes()))
    assert run("import", "-c", new / "config.yaml", file) == 1
    assert line(capsys).startswith(f"{file} {reason}")
    assert [path.name for path in new.iterdir()] == ["config.yaml"]


def test_what_cannot_be_read(
    new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "moved.gz"
    assert run("import", "-c", new / "config.yaml", file) == 1
    assert line(capsys) == f"{file} cannot be read (No such file or directory)."
    assert run("import", "-c", new / "config.yaml", tmp_path) == 1
    assert line(capsys) == f"{tmp_path} cannot be read (Is a directory)."


def test_a_database_in_use_takes_no_import(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", "-c", old / "config.yaml", tmp_path / "moved.gz") == 0
    capsys.readouterr()
    assert run("import", "-c", old / "config.yaml", tmp_path / "moved.gz") == 1
    assert line(capsys).startswith("The database is in use already")


def test_a_disk_that_is_full(old: Path) -> None:
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [*COMMAND, "export", "-"], cwd=old, stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert ended.returncode == 1
    assert ended.stderr == (
        b"policybot: Standard output cannot be written (No space left on device).\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["export"],
        ["import"],
        ["export", "-c", "config.yaml", "--database", "sqlite:a.db", "file"],
        ["import", "file", "another"],
    ],
)
async def test_wrong_usage(tmp_path: Path, arguments: list[str]) -> None:
    ended = await policybot(*arguments, directory=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("usage: policybot")
