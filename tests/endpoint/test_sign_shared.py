"""Many asks about one event, and what the answer owes to the store."""

import asyncio
import json
from functools import partial

import pytest

from policybot.endpoint.exchange import Request
from policybot.endpoint.sign import Waits
from policybot.policy.room import RoomMode
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.paths import SIGN
from policybot.protocol.redaction import redact

from ..protocol.events import NAME
from .conftest import Open
from .scene import (
    ALICE,
    CALLER,
    DEADLINE_S,
    ROOM,
    SERVER_KEY_ID,
    SPAMMER,
    V11,
    Reply,
    Scene,
    authorization,
    event_of,
    eventually,
    key_of,
    protected,
    server_key,
    verifies,
)

SHORT = Waits(keys=DEADLINE_S, sender_key=DEADLINE_S, store=0.02)

Asking = asyncio.Task[Reply]


@pytest.fixture
async def waiting(open_scene: Open) -> Scene:
    """A scene in which the keys of senders are not known and fetching them is held up."""
    scene = await open_scene(servers=(CALLER,))
    for server in ("good.example", "bad.example"):
        scene.keys.arriving[server, SERVER_KEY_ID] = server_key(server).verify_key
    scene.keys.hold()
    return scene


async def ask_and_wait(scene: Scene, *events: JsonObject) -> list[Asking]:
    """Ask one after the other; returns when each has come as far as it gets."""
    tasks = []
    for event in events:
        wanted = scene.keys.lookups + 1
        tasks.append(asyncio.create_task(scene.ask(event)))
        await eventually(partial(_has_come, scene, wanted))
    return tasks


def _has_come(scene: Scene, lookups: int) -> bool:
    return scene.keys.lookups >= lookups


async def answers(tasks: list[Asking]) -> list[Reply]:
    async with asyncio.timeout(DEADLINE_S):
        return await asyncio.gather(*tasks)


def corrupted(event: JsonObject) -> JsonObject:
    """A copy that another server's signature stands on."""
    (server,) = event["signatures"]
    return {**event, "signatures": {server: {SERVER_KEY_ID: "A" * 86}}}


@pytest.mark.parametrize("sender", [ALICE, SPAMMER])
async def test_many_asks_at_once_are_one_evaluation(waiting: Scene, sender: str) -> None:
    event = event_of(sender)
    asking = await ask_and_wait(waiting, *[event] * 20)
    waiting.keys.release()
    replies = await answers(asking)
    for reply in replies:
        assert verifies(reply, event) if sender == ALICE else reply.refused
        assert reply.verdict == "stored"
    assert len({str(reply.json) for reply in replies}) == 1
    assert len(waiting.keys.fetched) == 1
    assert len(waiting.verdicts.submitted) == 1


async def test_an_evaluation_without_a_decision_decides_for_nobody_else(waiting: Scene) -> None:
    event = event_of(ALICE)
    asking = await ask_and_wait(waiting, corrupted(event), event, event, corrupted(event))
    assert len(waiting.keys.fetched) == 1
    waiting.keys.release()
    first, second, third, fourth = await answers(asking)
    assert first.check_failed and fourth.check_failed
    assert verifies(second, event) and verifies(third, event)
    assert waiting.verdicts.stored == {key_of(event): True}


async def test_a_fault_in_a_shared_evaluation(waiting: Scene) -> None:
    event = event_of(SPAMMER)
    asking = await ask_and_wait(waiting, event, event)
    waiting.verdicts.broken = True
    waiting.keys.release()
    assert all(verifies(reply, event) for reply in await answers(asking))
    waiting.verdicts.broken = False
    assert (await waiting.ask(event)).refused


async def test_who_waited_long_enough_goes_on_alone(open_scene: Open) -> None:
    scene = await open_scene(
        servers=(CALLER,), waits=Waits(keys=0.05, sender_key=0.05, store=DEADLINE_S)
    )
    scene.keys.hold(patient=True)
    event = event_of(ALICE)
    (slow,) = await ask_and_wait(scene, event)
    await eventually(lambda: scene.keys.fetched)
    scene.keys.held = False
    assert verifies(await scene.ask(event), event)
    # The slow one comes to another decision, but the first that was stored stands.
    scene.ban(ALICE)
    scene.keys.release()
    assert verifies((await answers([slow]))[0], event)
    assert scene.verdicts.stored == {key_of(event): True}
    assert scene.faults == []


async def test_going_on_alone_while_the_first_is_not_committed(open_scene: Open) -> None:
    scene = await open_scene(
        servers=(CALLER,), waits=Waits(keys=0.05, sender_key=0.05, store=0.05)
    )
    scene.verdicts.held = True
    scene.keys.hold(patient=True)
    event = event_of(ALICE)
    (slow,) = await ask_and_wait(scene, event)
    await eventually(lambda: scene.keys.fetched)
    scene.keys.held = False
    first = await scene.ask(event)
    assert verifies(first, event) and first.verdict == "memory"
    scene.ban(ALICE)
    scene.keys.release()
    (second,) = await answers([slow])
    assert verifies(second, event) and second.verdict == "memory"
    assert len(scene.verdicts.submitted) == 1
    assert scene.faults == []


@pytest.mark.parametrize("abort", [True, False])
async def test_a_caller_that_goes_away_takes_nobody_with_him(waiting: Scene, abort: bool) -> None:
    event = event_of(ALICE)
    body = json.dumps(event).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", waiting.port)
    head = f"POST {SIGN} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}Authorization: {authorization(event)}\r\n\r\n".encode() + body)
    await eventually(lambda: waiting.keys.fetched)
    asking = await ask_and_wait(waiting, event)
    if abort:
        writer.transport.abort()
    else:
        writer.close()
    asking += await ask_and_wait(waiting, event)
    waiting.keys.release()
    assert all(verifies(reply, event) for reply in await answers(asking))
    assert len(waiting.verdicts.submitted) == 1


@pytest.mark.parametrize("cancelled", [0, 1])
async def test_a_request_that_is_cancelled_takes_nobody_with_it(
    waiting: Scene, cancelled: int
) -> None:
    # As a web server does it that ends the handlers of lost connections.
    event = event_of(ALICE)
    request = Request("POST", SIGN, [authorization(event)], json.dumps(event).encode())
    tasks = [asyncio.create_task(waiting.use_case.sign(request)) for _ in range(3)]
    await eventually(lambda: waiting.keys.lookups == 3)
    tasks[cancelled].cancel()
    await asyncio.wait(tasks[cancelled : cancelled + 1])
    waiting.keys.release()
    del tasks[cancelled]
    async with asyncio.timeout(DEADLINE_S):
        for answer in await asyncio.gather(*tasks):
            assert answer.signatures is not None
    assert len(waiting.verdicts.submitted) == 1


# -- what changes during a wait ------------------------------------------------------------------


async def test_the_room_is_dropped_during_a_wait(waiting: Scene) -> None:
    asking = await ask_and_wait(waiting, event_of(ALICE))
    waiting.rooms.clear()
    waiting.keys.release()
    (reply,) = await answers(asking)
    assert (reply.status, reply.json["errcode"]) == (404, "M_NOT_FOUND")
    assert waiting.verdicts.submitted == []


async def test_rules_changed_during_a_wait_count(waiting: Scene) -> None:
    good, bad = event_of(ALICE), event_of(SPAMMER)
    asking = await ask_and_wait(waiting, good, bad)
    waiting.unban_all()
    waiting.ban(ALICE)
    waiting.keys.release()
    first, second = await answers(asking)
    assert first.refused
    assert verifies(second, bad)


async def test_lists_and_room_changed_during_a_wait_count(waiting: Scene) -> None:
    bad, other = event_of(SPAMMER), event_of(SPAMMER, depth=8)
    asking = await ask_and_wait(waiting, bad)
    waiting.moderation_rooms.clear()
    waiting.keys.release()
    assert verifies((await answers(asking))[0], bad)
    waiting.keys.known.pop(("bad.example", SERVER_KEY_ID))
    asking = await ask_and_wait(waiting, other)
    waiting.rooms[ROOM] = protected(mode=RoomMode.DISABLED)
    waiting.keys.release()
    assert verifies((await answers(asking))[0], other)


# -- the commit ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sender", [ALICE, SPAMMER])
async def test_a_commit_that_takes_long(open_scene: Open, sender: str) -> None:
    scene = await open_scene(waits=SHORT)
    scene.verdicts.held = True
    event = event_of(sender)
    first = await scene.ask(event)
    assert first.verdict == "memory"
    assert verifies(first, event) if sender == ALICE else first.refused
    # It stands already, though nothing is written and the rules have changed.
    scene.unban_all()
    scene.ban(ALICE)
    second = await scene.ask(event)
    assert (second.status, second.json, second.verdict) == (first.status, first.json, "memory")
    assert scene.use_case.counts["answered before the commit"] == 2
    scene.verdicts.commit()
    third = await scene.ask(event)
    assert (third.status, third.json, third.verdict) == (first.status, first.json, "stored")
    assert len(scene.verdicts.submitted) == 1


async def test_a_verdict_counts_for_a_corrupted_copy_that_comes_later(open_scene: Open) -> None:
    scene = await open_scene(waits=SHORT)
    scene.verdicts.held = True
    event = event_of(ALICE)
    for verdict in ("memory", "stored"):
        assert verifies(await scene.ask(event), event)
        reply = await scene.ask(corrupted(event))
        assert verifies(reply, event) and reply.verdict == verdict
        scene.verdicts.commit()


async def test_the_answer_waits_for_the_commit(scene: Scene) -> None:
    scene.verdicts.held = True
    event = event_of(ALICE)
    asking = await ask_and_wait(scene, event, event)
    await eventually(lambda: scene.verdicts.submitted)
    assert not any(task.done() for task in asking)
    scene.verdicts.commit()
    assert [reply.verdict for reply in await answers(asking)] == ["stored", "stored"]


async def test_what_the_commit_brings_stands(open_scene: Open) -> None:
    scene = await open_scene(waits=SHORT)
    event = event_of(ALICE)
    # It is in the database, which could not be read in time.
    scene.verdicts.stored[key_of(event)] = False
    scene.verdicts.held = True
    assert verifies(await scene.ask(event), event)
    scene.verdicts.commit()
    assert (await scene.ask(event)).refused


async def test_a_verdict_that_is_dropped(scene: Scene) -> None:
    scene.verdicts.held = True
    event = event_of(ALICE)
    asking = await ask_and_wait(scene, event, event)
    await eventually(lambda: scene.verdicts.submitted)
    scene.verdicts.drop()
    for reply in await answers(asking):
        assert verifies(reply, event) and reply.verdict == "memory"
    # Nothing stands, so the next ask is judged anew.
    scene.verdicts.held = False
    scene.ban(ALICE)
    assert (await scene.ask(event)).refused


async def test_a_redacted_copy_meets_a_verdict_that_is_not_committed(open_scene: Open) -> None:
    scene = await open_scene(waits=SHORT)
    scene.verdicts.held = True
    event = event_of(SPAMMER, type="m.room.topic", state_key="", content={"topic": "x"})
    assert (await scene.ask(event)).refused
    scene.unban_all()
    copy = {**redact(event, V11), "signatures": event["signatures"]}
    assert (await scene.ask(copy)).refused
    assert scene.verdicts.looked_up == []


async def test_a_redacted_copy_is_overtaken_by_the_full_event(open_scene: Open) -> None:
    scene = await open_scene(servers=(CALLER,), waits=SHORT)
    scene.keys.hold()
    scene.verdicts.held = True
    event = event_of(SPAMMER, type="m.room.topic", state_key="", content={"topic": "x"})
    copy = {**redact(event, V11), "signatures": event["signatures"]}
    asking = await ask_and_wait(scene, copy)
    await eventually(lambda: scene.keys.fetched)
    scene.keys.held = False
    assert (await scene.ask(event)).refused
    scene.unban_all()
    scene.keys.release()
    assert (await answers(asking))[0].refused
    assert list(asking[0].result().json) == ["errcode", "error"]
    assert NAME not in asking[0].result().json
