"""The endpoint on a real database: a verdict stands, whatever happens in between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from policybot.endpoint.sign import Waits
from policybot.store.database import open_database
from policybot.store.verdicts import VerdictStore

from ..store.samples import locked
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


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "policybot.db"


@asynccontextmanager
async def store_in(file: Path) -> AsyncIterator[VerdictStore]:
    """A running store on a database file."""
    db = await open_database(f"sqlite://{file}")
    store = VerdictStore(db, clock=lambda: NOW)
    await store.start()
    try:
        yield store
    finally:
        await store.stop()
        await db.stop()


async def test_verdicts_stand_after_a_restart(open_scene: Open, file: Path) -> None:
    accepted, refused = event_of(ALICE), event_of(SPAMMER)
    async with store_in(file) as store:
        scene = await open_scene(verdicts=store)
        assert verifies(await scene.ask(accepted), accepted)
        before = await scene.ask(refused)
        assert before.refused and before.verdict == "stored"
        await scene.ask(refused)
        code = before.json["error"].partition("Reference: ")[2][:9]
        (found,) = await store.find_by_reference(code, MODS)
        assert found.details.sender == SPAMMER
    async with store_in(file) as store:
        scene = await open_scene(verdicts=store)
        scene.unban_all()
        scene.ban(ALICE)
        assert verifies(await scene.ask(accepted), accepted)
        after = await scene.ask(refused)
        assert (after.status, after.json) == (before.status, before.json)
        assert await store.refusals.latest_number() == 1


async def test_many_asks_about_many_events(open_scene: Open, file: Path) -> None:
    events = [event_of(sender, depth=depth) for depth in range(10) for sender in (ALICE, SPAMMER)]
    async with store_in(file) as store:
        scene = await open_scene(verdicts=store)
        asking = [(event, scene.ask(event)) for event in events for _ in range(5)]
        async with asyncio.timeout(DEADLINE_S):
            replies = await asyncio.gather(*[ask for _, ask in asking])
        for (event, _), reply in zip(asking, replies, strict=True):
            assert reply.verdict == "stored"
            assert verifies(reply, event) if event["sender"] == ALICE else reply.refused
        assert await store.refusals.latest_number() == 10


async def test_a_locked_database(open_scene: Open, file: Path) -> None:
    accepted, refused = event_of(ALICE), event_of(SPAMMER)
    async with store_in(file) as store:
        scene: Scene = await open_scene(verdicts=store, waits=SHORT)
        async with locked(file):
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


async def test_asked_while_the_store_stops(open_scene: Open, file: Path) -> None:
    event = event_of(ALICE)
    async with store_in(file) as store:
        scene = await open_scene(verdicts=store)
        await store.stop()
        reply = await scene.ask(event)
        assert verifies(reply, event) and reply.verdict == "memory"
