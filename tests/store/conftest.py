"""A database for each test, which runs once on SQLite and once on PostgreSQL."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from mautrix.util.async_db import Database

from policybot.store.database import open_database
from policybot.store.verdicts import VerdictStore

from .samples import Clock


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that ask for ``sqlite_file`` are about SQLite alone."""
    if "database_url" in metafunc.fixturenames:
        kinds = ["sqlite"] if "sqlite_file" in metafunc.fixturenames else ["sqlite", "postgres"]
        metafunc.parametrize("database_url", kinds, indirect=True)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/policybot.db"
    url: str = request.getfixturevalue("postgres_url")
    # As short as the time that SQLite waits for a lock, so that a lock makes statements fail.
    return f"{url}&lock_timeout=100ms"


@pytest.fixture
def sqlite_file(database_url: str) -> Path:
    """The database's file."""
    return Path(database_url.removeprefix("sqlite://"))


@pytest_asyncio.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    database = await open_database(database_url)
    yield database
    await database.stop()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def store(db: Database, clock: Clock) -> AsyncIterator[VerdictStore]:
    verdicts = VerdictStore(db, clock=clock)
    await verdicts.start()
    yield verdicts
    await verdicts.stop()
