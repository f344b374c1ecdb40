"""Opening the database, and what is said when that cannot be done."""

import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from mautrix.util.async_db import Database

from policybot.store import database
from policybot.store.database import DatabaseUnusable, adjust, open_database
from policybot.store.migrations import upgrade_table
from policybot.store.settings import Settings
from tests.postgres import Postgres

from .samples import eventually, locked


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    db = await open_database(url)
    try:
        yield db
    finally:
        await db.stop()


async def refused(url: str) -> str:
    """Why the database is not opened. No thread may be left: it would keep the process alive."""
    before = set(threading.enumerate())
    with pytest.raises(DatabaseUnusable) as caught:
        await open_database(url)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    pools = {thread for thread in threading.enumerate() if "asyncio_" in thread.name}
    await eventually(lambda: set(threading.enumerate()) <= before | pools)
    return text


def modes(directory: Path) -> dict[str, int]:
    """The access rights of each file."""
    return {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}


async def test_values_are_there_after_reopening(database_url: str) -> None:
    async with opened(database_url) as db:
        await Settings(db).set("instance ID", "abc")
    async with opened(database_url) as db:
        assert await Settings(db).get("instance ID") == "abc"


async def test_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened("sqlite:bot.db"):
        assert (tmp_path / "bot.db").is_file()


async def test_new_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    async with opened(f"sqlite://{tmp_path}/bot.db") as db:
        await Settings(db).set("signing key", "secret")
        assert set(modes(tmp_path).values()) == {0o600}


async def test_sqlite_settings(tmp_path: Path) -> None:
    async with opened(f"sqlite://{tmp_path}/bot.db") as db:
        assert await db.fetchval("PRAGMA journal_mode") == "wal"
        assert await db.fetchval("PRAGMA synchronous") == 1
        assert await db.fetchval("PRAGMA busy_timeout") == 100


async def test_a_database_that_somebody_else_opened_is_set_up_alike(tmp_path: Path) -> None:
    db = Database.create(f"sqlite://{tmp_path}/bot.db", upgrade_table=upgrade_table)
    await db.start()
    try:
        await adjust(db)
        assert await db.fetchval("PRAGMA journal_mode") == "wal"
        assert await db.fetchval("PRAGMA cache_size") == -16000
        assert await db.fetchval("PRAGMA busy_timeout") == 100
        await Settings(db).set("a", "b")
    finally:
        await db.stop()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://localhost/policybot", "sqlite:policybot.db"),
        ("policybot.db", "sqlite:policybot.db"),
        ("sqlite:", "names no database file"),
        ("sqlite://policybot.db", "names no database file"),
        ("sqlite:bot.db?mode=ro", "names no database file"),
        ("sqlite::memory:", "name a file"),
        ("sqlite:///nowhere/at/all/bot.db", "no directory /nowhere/at/all"),
        ("postgres://user:secret@localhost:port/name", "percent-encoded"),
    ],
)
async def test_unusable_url(url: str, words: str) -> None:
    text = await refused(url)
    assert words in text
    assert "secret" not in text


async def test_path_is_a_directory(tmp_path: Path) -> None:
    assert "cannot be written" in await refused(f"sqlite://{tmp_path}")


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Without the powers of root, who may write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    nobody = 65534
    os.setresuid(nobody, nobody, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.mark.parametrize("protect", ["file", "directory"])
async def test_not_writable(protect: str) -> None:
    # Not in tmp_path, whose parents only root may enter.
    with TemporaryDirectory() as name:
        directory = Path(name)
        file = directory / "bot.db"
        async with opened(f"sqlite://{file}"):
            pass
        file.chmod(0o444 if protect == "file" else 0o666)
        directory.chmod(0o777 if protect == "file" else 0o555)
        with ordinary_user():
            assert "cannot be written" in await refused(f"sqlite://{file}")
        directory.chmod(0o700)


@pytest.mark.parametrize(
    "content", [b"this is no database at all, just text" * 100, b"SQLite format 3\0" + bytes(5000)]
)
async def test_damaged_file_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "bot.db"
    file.write_bytes(content)
    assert "damaged or not a database" in await refused(f"sqlite://{file}")
    assert file.read_bytes() == content
    assert list(modes(tmp_path)) == ["bot.db"]


async def test_truncated_file_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "bot.db"
    async with opened(f"sqlite://{file}"):
        pass
    content = file.read_bytes()[:-10_000]
    file.write_bytes(content)
    assert "damaged or not a database" in await refused(f"sqlite://{file}")
    assert file.read_bytes() == content


async def test_file_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "bot.db"
    with closing(sqlite3.connect(file)) as conn:
        conn.execute("CREATE TABLE recipes (title TEXT)")
    content = file.read_bytes()
    assert "belongs to another program" in await refused(f"sqlite://{file}")
    assert file.read_bytes() == content


async def test_database_of_another_owner(database_url: str) -> None:
    async with opened(database_url) as db:
        await db.execute("UPDATE database_owner SET owner = 'otherbot'")
    assert "belongs to another program" in await refused(database_url)


async def test_version_without_our_tables(database_url: str) -> None:
    async with opened(database_url) as db:
        await db.execute("DROP TABLE verdict")
        for table in ("decision", "policy_rule", "subscription", "protected_room"):
            await db.execute(f"DROP TABLE {table}")
    assert "belongs to another program" in await refused(database_url)


async def test_tables_in_another_schema_are_not_ours(
    postgres: Postgres, postgres_url: str
) -> None:
    """Such as those of an instance, in the database of a maubot."""
    postgres.execute("CREATE SCHEMA mbp_other", "CREATE TABLE mbp_other.verdict (key BYTEA)")
    try:
        async with opened(postgres_url) as db:
            await db.execute("DROP TABLE verdict")
        assert "belongs to another program" in await refused(postgres_url)
    finally:
        postgres.execute("DROP SCHEMA mbp_other CASCADE")


async def test_newer_version(database_url: str) -> None:
    async with opened(database_url) as db:
        await db.execute("UPDATE version SET version = 99")
    text = await refused(database_url)
    assert "newer version" in text
    assert "backup" in text


async def test_interrupted_first_start_is_continued(tmp_path: Path) -> None:
    file = tmp_path / "bot.db"
    with closing(sqlite3.connect(file)) as conn:
        conn.execute("CREATE TABLE version (version INTEGER PRIMARY KEY)")
    async with opened(f"sqlite://{file}") as db:
        assert await db.table_exists("verdict")


async def test_locked_file(
    database_url: str, sqlite_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_LOCK_PATIENCE_S", 0.1)
    async with opened(database_url):
        pass
    async with locked(database_url):
        assert "in use by another process" in await refused(database_url)
    async with opened(database_url):
        pass


async def test_postgres_not_there() -> None:
    text = await refused("postgres://policybot:secret@127.0.0.1:1/policybot")
    assert "PostgreSQL database policybot at 127.0.0.1" in text
    assert "secret" not in text


async def test_postgres_without_asyncpg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(Database.schemes, "postgres")
    assert "policybot[postgres]" in await refused("postgres://policybot@127.0.0.1/policybot")
