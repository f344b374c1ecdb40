"""From one database into another, of the same or of the other kind, with everything in it."""

import asyncio
import hashlib
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from mautrix.util.async_db import Database

from policybot.store.archive import export_database
from policybot.store.archive_file import (
    ArchiveHeader,
    ArchiveNewer,
    ArchiveReader,
    ArchiveUnusable,
    ArchiveWriter,
)
from policybot.store.archive_import import import_archive
from policybot.store.bare_database import bare_database
from policybot.store.database import DatabaseUnusable, close_database, open_database
from policybot.store.migrations import upgrade_table
from policybot.store.schema import LATEST, steps_to, table_names, tables_of
from policybot.store.settings import Setting, Settings
from policybot.store.transaction import connection, transaction
from policybot.store.verdict_writer import VerdictWriter
from tests.postgres import Postgres

from .rows import Contents, contents, fill
from .samples import eventually, key, refusal

BOT = "@policybot:example.org"
IN_USE = "The database is in use already, and was left as it is: import into a new one."


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    db = await open_database(url)
    try:
        yield db
    finally:
        await close_database(db)


@pytest.fixture
async def full_url(tmp_path: Path) -> str:
    """A SQLite database with rows in every table."""
    url = f"sqlite://{tmp_path}/full.db"
    async with opened(url) as db:
        await fill(db)
    return url


async def exported(url: str, account: str | None = None) -> bytes:
    file = BytesIO()
    async with bare_database(url) as db:
        await export_database(db, file, account)
    return file.getvalue()


async def imported(url: str, data: bytes, account: str | None = None) -> dict[str, int]:
    async with bare_database(url) as db:
        return await import_archive(ArchiveReader(BytesIO(data)), db, account)


async def contents_of(url: str) -> Contents:
    async with opened(url) as db:
        return await contents(db)


async def names_in(url: str) -> set[str]:
    async with bare_database(url) as db, connection(db) as conn:
        return await table_names(conn)


# -- there and back ------------------------------------------------------------------------------


async def test_everything_arrives_and_comes_back(
    full_url: str, database_url: str, tmp_path: Path
) -> None:
    there = await imported(database_url, await exported(full_url))
    back_url = f"sqlite://{tmp_path}/back.db"
    back = await imported(back_url, await exported(database_url))
    everything = await contents_of(full_url)
    assert all(everything.values())
    assert await contents_of(database_url) == everything
    assert await contents_of(back_url) == everything
    assert there == back == {name: len(rows) for name, rows in everything.items()}


async def test_numbering_goes_on_after_the_imported(full_url: str, database_url: str) -> None:
    async with opened(full_url) as db:
        await db.execute("UPDATE decision SET number = 5000 WHERE number = 3")
    await imported(database_url, await exported(full_url))
    async with opened(database_url) as db:
        await VerdictWriter(db, keep_text=True).write_decisions([refusal("new")], 20_000)
        number = await db.fetchval("SELECT number FROM decision WHERE key = $1", key("new"))
    assert number == 5001


async def test_text_that_only_sqlite_takes(full_url: str, postgres_url: str) -> None:
    async with opened(full_url) as db:
        await db.execute("UPDATE policy_rule SET reason = $1", "a\0b")
    await imported(postgres_url, await exported(full_url))
    assert {row[7] for row in (await contents_of(postgres_url))["policy_rule"]} == {"a\ufffdb"}


class Meddling(BytesIO):
    """A file at whose first bytes somebody else writes into the database."""

    def __init__(self, meddle: Callable[[], object]) -> None:
        super().__init__()
        self._meddle = meddle
        self.meddled = False

    def write(self, data: Any) -> int:
        if not self.meddled:
            self.meddled = True
            self._meddle()
        return super().write(data)


async def test_an_export_shows_one_moment(full_url: str, tmp_path: Path) -> None:
    def meddle() -> None:
        with closing(sqlite3.connect(full_url.removeprefix("sqlite://"), timeout=0)) as conn:
            conn.execute("DELETE FROM verdict")
            conn.execute("UPDATE setting SET value = 'another'")
            conn.commit()

    await _exported_while(meddle, full_url, f"sqlite://{tmp_path}/new.db")


async def test_an_export_shows_one_moment_of_postgres(
    full_url: str, postgres: Postgres, postgres_url: str, tmp_path: Path
) -> None:
    await imported(postgres_url, await exported(full_url))

    def meddle() -> None:
        postgres.execute("DELETE FROM verdict", "UPDATE setting SET value = 'another'")

    await _exported_while(meddle, postgres_url, f"sqlite://{tmp_path}/new.db")


async def _exported_while(meddle: Callable[[], object], url: str, new_url: str) -> None:
    before = await contents_of(url)
    file = Meddling(meddle)
    async with bare_database(url) as db:
        await export_database(db, file, None)
    assert file.meddled
    assert (await contents_of(url))["verdict"] == []
    await imported(new_url, file.getvalue())
    assert await contents_of(new_url) == before


# -- the login -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("from_account", "to_account", "arrives"),
    [
        (BOT, BOT, True),
        (BOT, "@another:example.org", False),
        (BOT, None, False),
        (None, BOT, False),
        (None, None, False),
    ],
)
async def test_the_login_arrives_where_it_is_of_use(
    from_account: str | None, to_account: str | None, arrives: bool, tmp_path: Path
) -> None:
    login = {Setting.ACCESS_TOKEN, Setting.DEVICE_ID, Setting.SYNC_POSITION}
    old, new = f"sqlite://{tmp_path}/old.db", f"sqlite://{tmp_path}/new.db"
    async with opened(old) as db:
        for name in Setting:
            await Settings(db).set(name, "moved")
    await imported(new, await exported(old, from_account), to_account)
    async with opened(new) as db:
        found = {name for name in Setting if await Settings(db).get(name) == "moved"}
    travel = set(Setting) - {Setting.CONFIGURATION}
    assert found == (travel if arrives else travel - login)


async def test_what_a_check_has_left_is_replaced_but_for_its_login(
    full_url: str, database_url: str
) -> None:
    async with opened(database_url) as db:
        settings = Settings(db)
        await settings.instance_id()
        await settings.set(Setting.ACCESS_TOKEN, "of the check")
        await settings.set(Setting.DEVICE_ID, "of the check")
    await imported(database_url, await exported(full_url))
    async with opened(database_url) as db:
        settings = Settings(db)
        assert await settings.get(Setting.INSTANCE_ID) == "the instance ID"
        assert await settings.get(Setting.ACCESS_TOKEN) == "of the check"
        assert await settings.get(Setting.DEVICE_ID) == "of the check"


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO setting (name, value) VALUES ('signing key', 'seed')",
        "INSERT INTO setting (name, value) VALUES ('sync position', 's1')",
        "INSERT INTO moderation_room (room_id, join_rule, members) VALUES ('!a', 'invite', '[]')",
        "INSERT INTO report_cursor (room_id, number) VALUES ('!a', 0)",
    ],
)
async def test_a_database_in_use_is_left_as_it_is(
    full_url: str, database_url: str, statement: str
) -> None:
    async with opened(database_url) as db:
        await db.execute(statement)
        before = await contents(db)
    with pytest.raises(DatabaseUnusable) as refused:
        await imported(database_url, await exported(full_url))
    assert str(refused.value) == IN_USE
    assert await contents_of(database_url) == before


async def test_a_database_without_policybot_is_not_exported(database_url: str) -> None:
    for make in (names_in, open_and_close):
        await make(database_url)
    async with bare_database(database_url) as db:
        for table in await tables_of(LATEST):
            await db.execute(f"DROP TABLE {table}")
    with pytest.raises(DatabaseUnusable, match="nothing to export: policybot never ran"):
        await exported(database_url)


async def open_and_close(url: str) -> None:
    async with opened(url):
        pass


async def test_a_newer_database(full_url: str, database_url: str) -> None:
    data = await exported(full_url)
    await open_and_close(database_url)
    async with bare_database(database_url) as db:
        await db.execute("UPDATE version SET version = $1", LATEST + 1)
    for work in (exported(database_url), imported(database_url, data)):
        with pytest.raises(DatabaseUnusable, match="was written by a newer version of policybot"):
            await work


async def test_an_older_database(full_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policybot.store.archive.LATEST", LATEST + 1)
    with pytest.raises(
        DatabaseUnusable, match="older version of policybot: run `policybot check`"
    ):
        await exported(full_url)


async def test_another_programs_database(full_url: str, postgres_url: str) -> None:
    data = await exported(full_url)
    async with bare_database(postgres_url) as db:
        await db.execute("CREATE TABLE version (version INTEGER)")
        await db.execute("CREATE TABLE plugin (id TEXT)")
    await _refuses_foreign(postgres_url, data)
    assert await names_in(postgres_url) == {"version", "plugin"}


async def test_a_database_without_its_version(full_url: str, database_url: str) -> None:
    data = await exported(full_url)
    await open_and_close(database_url)
    async with bare_database(database_url) as db:
        await db.execute("DELETE FROM version")
    await _refuses_foreign(database_url, data)


async def _refuses_foreign(url: str, data: bytes) -> None:
    for work in (exported(url), imported(url, data)):
        with pytest.raises(DatabaseUnusable, match="belongs to another program"):
            await work


async def test_a_newer_file(full_url: str, database_url: str) -> None:
    file = BytesIO()
    ArchiveWriter(file, ArchiveHeader(LATEST + 1, "9.0", "", None)).finish()
    with pytest.raises(ArchiveNewer, match="written by policybot 9.0, which is newer"):
        await imported(database_url, file.getvalue())
    assert await names_in(database_url) == set()


GOOD: dict[str, list[list[object]]] = {
    "setting": [["a", "b"]],
    "verdict": [["AAAA", 1, True]],
}


def archive_of(tables: dict[str, list[list[object]]], **columns: list[str]) -> bytes:
    file = BytesIO()
    writer = ArchiveWriter(file, ArchiveHeader(1, "0.1.0", "", None))
    names = {"setting": ["name", "value"], "verdict": ["key", "day", "signed"], **columns}
    for name, rows in tables.items():
        writer.begin_table(name, names[name])
        writer.add(rows)
    writer.finish()
    return file.getvalue()


async def test_an_archive_made_by_hand_is_taken(database_url: str) -> None:
    assert (await imported(database_url, archive_of(GOOD)))["verdict"] == 1
    rows = await contents_of(database_url)
    assert (rows["setting"], rows["verdict"]) == ([("a", "b")], [(b"\0\0\0", 1, True)])


BAD = (
    archive_of({"setting": [["a", "b"], ["a", "c"]]}),
    archive_of({"setting": [["a", None]]}),
    archive_of({"setting": [["a", 5]]}),
    archive_of({"setting": [["a"]]}),
    archive_of({"setting": [["a", "b", "c"]]}),
    archive_of({"verdict": [["AAA", 1, True]]}),
    archive_of({"verdict": [["\N{SNOWMAN}AAA", 1, True]]}),
    archive_of({"verdict": [[5, 1, True]]}),
    archive_of({"verdict": [["AAAA", True, True]]}),
    archive_of({"verdict": [["AAAA", 1.5, True]]}),
    archive_of({"verdict": [["AAAA", 1 << 63, True]]}),
    archive_of({"verdict": [["AAAA", 1, 1]]}),
    archive_of({"setting": GOOD["setting"]}, setting=["name", "value) --"]),
    archive_of({"setting": GOOD["setting"]}, setting=["value", "name"]),
    archive_of({"setting": GOOD["setting"], "version": [[5]]}, version=["version"]),
    archive_of(GOOD)[:-40],
)


async def test_after_a_failed_import_nothing_is_there(database_url: str) -> None:
    for data in BAD:
        with pytest.raises(ArchiveUnusable):
            await imported(database_url, data)
        assert await names_in(database_url) == set()


async def test_after_a_failed_import_all_is_as_before(full_url: str, database_url: str) -> None:
    async with opened(database_url) as db:
        await Settings(db).set(Setting.ACCESS_TOKEN, "of the check")
        before = await contents(db)
    data = await exported(full_url)
    with pytest.raises(ArchiveUnusable):
        await imported(database_url, data[:-100])
    assert await contents_of(database_url) == before
    await imported(database_url, data)


# -- versions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(1, LATEST))
async def test_a_file_of_an_older_version_is_brought_up_to_date(
    version: int, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the database itself would have been."""
    old_url = f"sqlite://{tmp_path}/old.db"
    old = Database.create(old_url, upgrade_table=steps_to(version))
    await old.start()
    try:
        await fill(old, await tables_of(version))
    finally:
        await close_database(old)
    with monkeypatch.context() as patch:
        patch.setattr("policybot.store.archive.LATEST", version)
        data = await exported(old_url)
    await open_and_close(database_url)
    await imported(database_url, data)
    assert await contents_of(database_url) == await contents_of(old_url)


# -- a process that is killed --------------------------------------------------------------------


async def test_an_import_that_is_killed_has_changed_nothing(
    full_url: str, database_url: str, request: pytest.FixtureRequest
) -> None:
    # More than gzip reads at once, which on Python 3.12 is 128 KiB.
    async with opened(full_url) as db, transaction(db) as conn:
        await conn.executemany(
            "INSERT INTO verdict (key, day, signed) VALUES ($1, 1, TRUE)",
            [(hashlib.sha256(b"%d" % number).digest(),) for number in range(10_000)],
        )
    data = await exported(full_url)
    await open_and_close(database_url)
    before = await contents_of(database_url)
    command = (sys.executable, "-m", "policybot", "import", "--database", database_url, "-")
    child = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE)
    assert child.stdin is not None
    try:
        child.stdin.write(data[: len(data) * 3 // 4])
        if database_url.startswith("sqlite:"):
            await eventually(lambda: _is_held(database_url), 60)
        else:
            server = request.getfixturevalue("postgres")
            await eventually(lambda: _is_written(server), 60)
    finally:
        child.kill()
        await child.wait()
    assert await contents_of(database_url) == before
    await imported(database_url, data)
    assert await contents_of(database_url) == await contents_of(full_url)


def _is_held(url: str) -> bool:
    """Whether another process is writing."""
    with closing(sqlite3.connect(url.removeprefix("sqlite://"), timeout=0)) as conn:
        try:
            conn.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
    return False


def _is_written(server: Postgres) -> bool:
    """Whether another session has begun to insert, and waits for more."""
    rows = server.execute(
        """SELECT count(*) FROM pg_stat_activity
        WHERE state = 'idle in transaction' AND query LIKE 'INSERT INTO%'"""
    )
    return "1" in rows.split()


# -- where maubot keeps its instances ------------------------------------------------------------


async def test_the_schema_of_a_maubot_instance(
    full_url: str, postgres: Postgres, postgres_url: str, tmp_path: Path
) -> None:
    from maubot.lib.plugin_db import ProxyPostgresDatabase
    from mautrix.util.async_db import PostgresDatabase

    data = await exported(full_url)
    postgres.execute("CREATE TABLE version (version INTEGER)", "CREATE TABLE plugin (id TEXT)")
    url = f"{postgres_url}&search_path=mbp_policy-bot"
    for work in (exported(url), imported(url, data)):
        with pytest.raises(DatabaseUnusable, match="schema that search_path names"):
            await work
    pool = Database.create(postgres_url)
    assert isinstance(pool, PostgresDatabase)
    await pool.start()
    instance = ProxyPostgresDatabase(pool, "policy-bot", 3, upgrade_table)
    try:
        await instance.start()
        await imported(url, data)
        assert await contents(instance) == await contents_of(full_url)
        await instance.execute("DELETE FROM verdict")
        data = await exported(url)
    finally:
        await instance.delete()
        await pool.stop()
    back_url = f"sqlite://{tmp_path}/back.db"
    await imported(back_url, data)
    assert await contents_of(back_url) == {**await contents_of(full_url), "verdict": []}
