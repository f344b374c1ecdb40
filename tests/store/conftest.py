"""A database for each test. Another kind is one more parameter here."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from mautrix.util.async_db import Database

from policybot.store.database import open_database
from policybot.store.verdicts import VerdictStore

from .samples import Clock


@pytest.fixture(params=["sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    assert request.param == "sqlite"
    return f"sqlite://{tmp_path}/policybot.db"


@pytest.fixture
def sqlite_file(database_url: str) -> Path:
    """The database's file; the test is about SQLite alone."""
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
