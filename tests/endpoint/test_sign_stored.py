"""The endpoint on a real database: a verdict stands, whatever happens in between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from policybot.endpoint.sign import Waits
from policybot.store.database import open_database
from policybot.store.verdicts import VerdictStore

from ..postgres import Postgres
from ..store.samples import locked, locked_tables
from .conftest import Open
from .scene import (
    ALICE,
    DEADLINE_S,
    MODS,
    NOW,
    SPAMMER,
    Scene,
    event_of,
    eventually,
    verifies,
)

SHORT = Waits(keys=DEADLINE_S, sender_key=DEADLINE_S, store=0.02)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/policybot.db"
    address: str = request.getfixturevalue("postgres_url")
    return address


@asynccontextmanager
async def store_in(url: str) -> AsyncIterator[VerdictStore]:
    """A running store on a database."""
    db = await open_database(url)
    store = VerdictStore(db, clock=lambda: NOW)
    await store.start()
    try:
        yield store
    finally:
        await store.stop()
        await db.stop()


async def test_verdicts_stand_after_a_restart(open_scene: Open, url: str) -> None:
    accepted, refused = event_of(ALICE), event_of(SPAMMER)
    async with store_in(url) as store:
        scene = await open_scene(verdicts=store)
        assert verifies(await scene.ask(accepted), accepted)
        before = await scene.ask(refused)
        assert before.refused and before.verdict == "stored"
        await scene.ask(refused)
        code = before.json["error"].partition("Reference: ")[2][:9]
        (found,) = await store.find_by_reference(code, MODS)
        assert found.details.sender == SPAMMER
    async with store_in(url) as store:
        scene = await open_scene(verdicts=store)
        scene.unban_all()
        scene.ban(ALICE)
        assert verifies(await scene.ask(accepted), accepted)
        after = await scene.ask(refused)
        assert (after.status, after.json) == (before.status, before.json)
        assert await store.refusals.latest_number() == 1


async def test_many_asks_about_many_events(open_scene: Open, url: str) -> None:
    events = [event_of(sender, depth=depth) for depth in range(10) for sender in (ALICE, SPAMMER)]
    async with store_in(url) as store:
        scene = await open_scene(verdicts=store)
        asking = [(event, scene.ask(event)) for event in events for _ in range(5)]
        async with asyncio.timeout(DEADLINE_S):
            replies = await asyncio.gather(*[ask for _, ask in asking])
        for (event, _), reply in zip(asking, replies, strict=True):
            assert reply.verdict == "stored"
            assert verifies(reply, event) if event["sender"] == ALICE else reply.refused
        assert await store.refusals.latest_number() == 10


async def test_a_locked_database(open_scene: Open, url: str) -> None:
    accepted, refused = event_of(ALICE), event_of(SPAMMER)
    async with store_in(url) as store:
        scene: Scene = await open_scene(verdicts=store, waits=SHORT)
        async with locked(url):
            for _ in range(2):
                first, second = await scene.ask(accepted), await scene.ask(refused)
                assert verifies(first, accepted) and first.verdict == "memory"
                assert second.refused and second.verdict == "memory"
                scene.unban_all()
        await eventually(lambda: not store.waiting_count)
        first, second = await scene.ask(accepted), await scene.ask(refused)
        assert verifies(first, accepted) and first.verdict == "stored"
        assert second.refused and second.verdict == "stored"
        assert scene.faults == []


async def test_a_statement_that_hangs(open_scene: Open, postgres_url: str) -> None:
    """While somebody alters the table nothing can be read either."""
    events = [event_of(ALICE, depth=depth) for depth in range(3)]
    async with store_in(postgres_url) as store:
        scene: Scene = await open_scene(verdicts=store, waits=SHORT)
        async with locked_tables(postgres_url, "ACCESS EXCLUSIVE"):
            for event in (*events, *events):
                reply = await scene.ask(event)
                assert verifies(reply, event) and reply.verdict == "memory"
            assert not store.failing
        await eventually(lambda: not store.waiting_count)
        assert (await scene.ask(events[0])).verdict == "stored"
        assert scene.faults == []


async def test_a_server_that_stops_and_starts(
    open_scene: Open, postgres: Postgres, postgres_url: str
) -> None:
    accepted, refused = event_of(ALICE), event_of(SPAMMER)
    async with store_in(postgres_url) as store:
        scene: Scene = await open_scene(verdicts=store, waits=SHORT)
        await asyncio.to_thread(postgres.stop)
        for _ in range(2):
            first, second = await scene.ask(accepted), await scene.ask(refused)
            assert verifies(first, accepted) and first.verdict == "memory"
            assert second.refused and second.verdict == "memory"
            scene.unban_all()
        await asyncio.to_thread(postgres.start)
        await eventually(lambda: not store.waiting_count)
        first, second = await scene.ask(accepted), await scene.ask(refused)
        assert verifies(first, accepted) and first.verdict == "stored"
        assert second.refused and second.verdict == "stored"
        assert scene.faults == []


async def test_asked_while_the_store_stops(open_scene: Open, url: str) -> None:
    event = event_of(ALICE)
    async with store_in(url) as store:
        scene = await open_scene(verdicts=store)
        await store.stop()
        reply = await scene.ask(event)
        assert verifies(reply, event) and reply.verdict == "memory"
