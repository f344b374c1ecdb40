"""What other servers send of the rooms: only a hint to read the state again."""

import asyncio
from typing import Any

import pytest

from policybot.policy.room import ROOM_STATE

from .both_servers import make_server
from .conftest import Serve
from .federated import INVITER, SEND, USER, FederatedScene, state_event, transaction
from .scene import ALICE, ROOM, event_of, eventually, in_time, protected, verifies

__all__ = ["make_server"]

OTHER_ROOM = "!other:example.org"


@pytest.fixture
async def scene(serve: Serve) -> FederatedScene:
    made = FederatedScene()
    made.rooms[OTHER_ROOM] = protected(OTHER_ROOM)
    await serve(made)
    return made


@pytest.mark.parametrize(
    "pdu",
    [
        *(state_event(*state) for state in ROOM_STATE),
        state_event("m.room.member", USER, content={"membership": "leave"}),
        {"room_id": ROOM, "type": "m.room.policy", "state_key": ""},
    ],
    ids=lambda pdu: str(pdu["type"]),
)
async def test_state_that_is_read_is_a_hint(scene: FederatedScene, pdu: Any) -> None:
    reply = await scene.send(pdu)
    assert (reply.status, reply.json) == (200, {"pdus": {}})
    assert scene.hinted == [ROOM]


@pytest.mark.parametrize(
    "pdu",
    [
        event_of(ALICE),
        event_of(INVITER, type="m.room.policy"),
        state_event("m.room.member", INVITER, content={"membership": "join"}),
        state_event("m.room.policy", "other"),
        state_event("m.room.topic"),
        state_event("m.room.policy", room_id="!unknown:example.org"),
        None,
        "text",
        [],
        {},
        {"room_id": [ROOM], "type": {}, "state_key": 0},
        {"room_id": {}, "type": "m.room.policy", "state_key": ""},
        {"room_id": ROOM, "type": "m.room.policy", "state_key": None},
    ],
    ids=lambda pdu: repr(pdu)[:40],
)
async def test_what_is_no_hint_spoils_none(scene: FederatedScene, pdu: Any) -> None:
    reply = await scene.send(pdu)
    assert (reply.status, reply.json) == (200, {"pdus": {}})
    assert scene.hinted == []
    reply = await scene.send(pdu, state_event("m.room.policy"), pdu)
    assert (reply.status, reply.json) == (200, {"pdus": {}})
    assert scene.hinted == [ROOM]


async def test_one_hint_for_a_room(scene: FederatedScene) -> None:
    rooms = [ROOM, OTHER_ROOM] * 25
    await scene.send(*(state_event("m.room.power_levels", room_id=room) for room in rooms))
    assert scene.hinted == [ROOM, OTHER_ROOM]


async def test_typing_and_receipts_are_nothing_to_us(scene: FederatedScene) -> None:
    edu = {"edu_type": "m.typing", "content": {"room_id": ROOM, "user_id": ALICE, "typing": True}}
    reply = await scene.send(edus=[edu] * 100)
    assert (reply.status, reply.json) == (200, {"pdus": {}})
    assert scene.hinted == []


@pytest.mark.parametrize(
    "fields",
    [
        {"pdus": [state_event("m.room.policy")] * 51},
        {"edus": [{}] * 101},
        {"pdus": {}},
        {"pdus": None},
        {"edus": "text"},
    ],
    ids=["51 PDUs", "101 EDUs", "object", "null", "text"],
)
async def test_what_is_no_transaction(scene: FederatedScene, fields: Any) -> None:
    reply = await scene.send(**fields)
    assert (reply.status, reply.json["errcode"]) == (400, "M_BAD_JSON")
    assert scene.hinted == []


@pytest.mark.parametrize(
    ("body", "errcode"), [(b"", "M_NOT_JSON"), (b"{", "M_NOT_JSON"), (b"[]", "M_BAD_JSON")]
)
async def test_what_is_no_object(scene: FederatedScene, body: bytes, errcode: str) -> None:
    reply = await scene.call("PUT", SEND, {}, body=body)
    assert (reply.status, reply.json["errcode"]) == (400, errcode)


async def test_a_stranger_gives_no_hint(scene: FederatedScene) -> None:
    content = transaction(state_event("m.room.policy"))
    reply = await scene.call("PUT", SEND, content, signed=lambda *_: "")
    assert (reply.status, reply.json["errcode"]) == (401, "M_UNAUTHORIZED")
    assert scene.hinted == []


async def test_a_transaction_that_waits_delays_no_answer(scene: FederatedScene) -> None:
    scene.keys.hold()
    content = transaction(state_event("m.room.policy"))
    sending = asyncio.create_task(scene.call("PUT", SEND, content, origin="new.example"))
    await eventually(lambda: scene.keys.fetched)
    assert verifies(await scene.ask(event := event_of(ALICE)), event)
    assert not sending.done()
    scene.keys.release()
    assert (await in_time(sending)).status == 401
