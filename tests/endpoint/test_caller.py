"""Who asks: the X-Matrix headers of a request, and what of them is checked when."""

import asyncio
import json

import pytest

from policybot.endpoint.sign import Waits
from policybot.protocol.paths import SIGN
from policybot.protocol.pdu import room_id_of
from policybot.protocol.xmatrix import request_bytes

from ..protocol.events import NAME
from .conftest import Open
from .scene import (
    ALICE,
    CALLER,
    DEADLINE_S,
    ROOM,
    SERVER_KEY_ID,
    V12,
    Reply,
    Scene,
    authorization,
    event_of,
    eventually,
    protected,
    server_key,
    sign_as,
    verifies,
)

NEW_KEY_ID = "ed25519:new"


def unauthorized(reply: Reply) -> bool:
    return (
        reply.status == 401 and reply.json["errcode"] == "M_UNAUTHORIZED" and reply.verdict is None
    )


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer token",
        "Basic dXNlcjpwYXNz",
        "X-Matrix",
        "X-Matrix nonsense",
        f'X-Matrix origin="{CALLER}",key="ed25519:k1"',
        f'X-Matrix origin="{CALLER}",key="ed25519:k1",sig="a",sig="b"',
        'X-Matrix origin="no server",key="ed25519:k1",sig="a"',
        f'X-Matrix origin="{CALLER}",key="ed25519:k1",sig="{"a" * 5000}"',
        f'X-Matrix origin="{CALLER}",key="ed25519:k1",sig="\\"',
    ],
)
async def test_a_header_that_cannot_be_read(scene: Scene, header: str | None) -> None:
    body = json.dumps(event_of(ALICE)).encode()
    reply = await scene.post(body, authorization=[] if header is None else [header])
    assert unauthorized(reply)
    assert scene.keys.fetched == []


@pytest.mark.parametrize("signature", ["", "a", "é", "A" * 86, "!" * 86, "A" * 3000])
async def test_a_signature_that_is_none(scene: Scene, signature: str) -> None:
    header = f'X-Matrix origin="{CALLER}",key="{SERVER_KEY_ID}",sig="{signature}"'
    reply = await scene.post(json.dumps(event_of(ALICE)).encode(), authorization=[header])
    assert unauthorized(reply)
    assert scene.keys.fetched == []


async def test_a_signature_by_another_key(scene: Scene) -> None:
    event = event_of(ALICE)
    header = authorization(event, key=server_key("other.example"))
    assert unauthorized(await scene.post(json.dumps(event).encode(), authorization=[header]))
    assert scene.keys.fetched == []
    assert scene.use_case.counts["caller not authentic"] == 1


async def test_a_signature_of_another_request(scene: Scene) -> None:
    event, other = event_of(ALICE), event_of(ALICE, depth=8)
    body = json.dumps(event).encode()
    assert unauthorized(await scene.post(body, authorization=[authorization(other)]))
    path = SIGN + "?a=b"
    assert unauthorized(await scene.post(body, path, [authorization(event)]))


async def test_the_request_target_is_taken_as_sent(scene: Scene) -> None:
    event = event_of(ALICE)
    for path in (SIGN + "?a=%2f&b", SIGN.replace("sign", "%73ign"), SIGN.replace("v1", "%76%31")):
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
        body = json.dumps(event).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        head += f"Authorization: {authorization(event, path=path)}\r\n\r\n"
        writer.write(head.encode() + body)
        async with asyncio.timeout(DEADLINE_S):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_a_request_for_another_server(scene: Scene) -> None:
    event = event_of(ALICE)
    header = authorization(event, destination="other.example")
    reply = await scene.post(json.dumps(event).encode(), authorization=[header])
    assert unauthorized(reply)
    # The destination is looked at before the body.
    assert unauthorized(await scene.post(b"{", authorization=[header]))


async def test_an_old_caller_names_no_destination(scene: Scene) -> None:
    event = event_of(ALICE)
    message = request_bytes("POST", SIGN, CALLER, None, event)
    signature = server_key(CALLER).sign(message)
    header = f'X-Matrix origin={CALLER},key="{SERVER_KEY_ID}",sig="{signature}"'
    reply = await scene.post(json.dumps(event).encode(), authorization=[header])
    assert verifies(reply, event)


async def test_one_good_header_of_several_is_enough(scene: Scene) -> None:
    event = event_of(ALICE)
    good = authorization(event)
    bad = authorization(event, key=server_key("other.example"))
    unknown = authorization(event, key_id="ed25519:unknown")
    body = json.dumps(event).encode()
    for headers in ([bad, good], ["Bearer x", good], [unknown, good], [bad, unknown, good]):
        assert verifies(await scene.post(body, authorization=headers), event)
    assert scene.keys.fetched == []


async def test_headers_of_two_servers_contradict_each_other(scene: Scene) -> None:
    event = event_of(ALICE)
    headers = [authorization(event), authorization(event, "good.example")]
    assert unauthorized(await scene.post(json.dumps(event).encode(), authorization=headers))


async def test_an_unknown_key_is_fetched_within_the_bound(open_scene: Open) -> None:
    scene = await open_scene(servers=("good.example",), waits=Waits(keys=17.0))
    event = event_of(ALICE)
    reply = await scene.ask(event)
    assert unauthorized(reply)
    assert reply.json["error"] == f"The key of {CALLER} could not be fetched or has expired."
    assert scene.keys.fetched == [(CALLER, SERVER_KEY_ID)]
    assert 0 < scene.keys.waits[0] <= 17.0


async def test_the_wait_for_an_unknown_key_ends(open_scene: Open) -> None:
    scene = await open_scene(servers=("good.example",), waits=Waits(keys=0.05))
    scene.keys.hold()
    assert unauthorized(await scene.ask(event_of(ALICE)))


async def test_a_key_that_comes_during_the_wait(open_scene: Open) -> None:
    scene = await open_scene(servers=("good.example",))
    scene.keys.arriving[CALLER, SERVER_KEY_ID] = server_key(CALLER).verify_key
    scene.keys.hold()
    event = event_of(ALICE)
    asking = asyncio.create_task(scene.ask(event))
    await eventually(lambda: scene.keys.fetched)
    scene.keys.release()
    assert verifies(await asking, event)


async def test_a_fetched_key_that_did_not_sign(open_scene: Open) -> None:
    scene = await open_scene(servers=("good.example",))
    scene.keys.arriving[CALLER, SERVER_KEY_ID] = server_key("other.example").verify_key
    reply = await scene.ask(event_of(ALICE))
    assert unauthorized(reply)
    assert reply.json["error"] == f"The request is not signed by the key of {CALLER}."


async def test_the_unknown_of_two_keys_is_fetched(scene: Scene) -> None:
    # As after a change of keys: what is known has not signed, what has signed is not known.
    scene.keys.arriving[CALLER, NEW_KEY_ID] = server_key("new").verify_key
    event = event_of(ALICE)
    headers = [
        authorization(event, key=server_key("retired")),
        authorization(event, key_id=NEW_KEY_ID, key=server_key("new")),
    ]
    reply = await scene.post(json.dumps(event).encode(), authorization=headers)
    assert verifies(reply, event)
    assert scene.keys.fetched == [(CALLER, NEW_KEY_ID)]


async def test_an_unknown_room_is_told_before_authentication(open_scene: Open) -> None:
    scene = await open_scene(servers=())
    event = {**event_of(ALICE), "room_id": "!other:example.org"}
    reply = await scene.ask(event)
    assert (reply.status, reply.json["errcode"]) == (404, "M_NOT_FOUND")
    assert reply.headers["Policybot-Instance"]
    assert scene.keys.fetched == []
    # Nothing else of the event is looked at.
    reply = await scene.ask({"room_id": "!other:example.org"})
    assert (reply.status, reply.json["errcode"]) == (404, "M_NOT_FOUND")


async def test_the_format_is_checked_before_authentication(open_scene: Open) -> None:
    scene = await open_scene(servers=())
    reply = await scene.ask({"room_id": ROOM})
    assert (reply.status, reply.json["errcode"]) == (400, "M_BAD_JSON")
    assert scene.keys.fetched == []


async def test_a_create_event_is_asked_about_by_its_hash(scene: Scene) -> None:
    event = event_of(ALICE, V12, type="m.room.create", state_key="", content={})
    del event["room_id"]
    event = sign_as(event, V12, "good.example")
    assert (await scene.ask(event)).status == 404
    room_id = room_id_of(event)
    scene.rooms[room_id] = protected(room_id, V12)
    reply = await scene.ask(event)
    assert verifies(reply, event, V12)
    assert list(reply.json) == [NAME]
