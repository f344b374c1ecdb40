"""What goes over HTTP: paths, bodies, headers and the form of each answer."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from policybot.endpoint.exchange import MAX_BODY_BYTES
from policybot.policy.verdict import reference_code
from policybot.protocol.paths import HEALTH, SIGN, UNSTABLE_SIGN, UNSTABLE_WELL_KNOWN, WELL_KNOWN

from ..protocol.events import KEY_ID, NAME
from .both_servers import make_server
from .conftest import Open
from .scene import (
    ALICE,
    INSTANCE,
    POLICY_KEY,
    SPAMMER,
    Scene,
    authorization,
    event_of,
    key_of,
    verifies,
)

__all__ = ["make_server"]


CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "X-Requested-With, Content-Type, Authorization",
}


@pytest.mark.parametrize("path", [SIGN, UNSTABLE_SIGN])
async def test_an_accepted_event_is_signed(scene: Scene, path: str) -> None:
    event = event_of(ALICE)
    reply = await scene.ask(event, path=path)
    assert reply.status == 200
    assert list(reply.json) == [NAME]
    assert list(reply.json[NAME]) == [KEY_ID]
    assert len(reply.json[NAME][KEY_ID]) == 86
    assert verifies(reply, event)
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Policybot-Instance"] == INSTANCE
    assert reply.verdict == "stored"


async def test_a_refusal_says_where_to_ask(open_scene: Open) -> None:
    scene = await open_scene(contact="#help:example.org")
    event = event_of(SPAMMER)
    reply = await scene.ask(event)
    assert reply.status == 400
    assert reply.json == {
        "errcode": "M_FORBIDDEN",
        "error": "This was not accepted by the moderation of this room. "
        f"Reference: {reference_code(key_of(event))}. If this is a mistake, ask: "
        "#help:example.org",
    }
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Policybot-Instance"] == INSTANCE
    assert reply.verdict == "stored"


async def test_a_refusal_shows_no_rule(scene: Scene) -> None:
    reply = await scene.ask(event_of(SPAMMER))
    assert reply.refused
    assert "ask" not in reply.json["error"]
    for secret in ("spam", "list", "rule"):
        assert secret not in reply.json["error"]


async def test_an_unstable_refusal_is_an_empty_object(scene: Scene) -> None:
    reply = await scene.ask_unstable(event_of(SPAMMER))
    assert (reply.status, reply.json) == (200, {})
    assert reply.headers["Policybot-Instance"] == INSTANCE
    assert reply.verdict == "stored"


@pytest.mark.parametrize(
    "contact",
    [
        '"},\r\n\r\n{"m":"<script>&amp;',
        "Füße \N{GRINNING FACE} \u202e \u2028 \x00 \x1b[31m",
        "x" * 5000,
    ],
)
async def test_any_contact_text_stays_inside_its_string(open_scene: Open, contact: str) -> None:
    scene = await open_scene(contact=contact)
    reply = await scene.ask(event_of(SPAMMER))
    assert reply.refused
    assert list(reply.json) == ["errcode", "error"]
    assert reply.json["error"].endswith(contact)


@pytest.mark.parametrize(
    ("path", "document"),
    [
        (WELL_KNOWN, {"public_keys": {"ed25519": POLICY_KEY.public_key}}),
        (UNSTABLE_WELL_KNOWN, {"public_key": POLICY_KEY.public_key}),
    ],
)
async def test_well_known_documents(scene: Scene, path: str, document: dict[str, Any]) -> None:
    reply = await scene.request("GET", path)
    assert (reply.status, reply.json) == (200, document)
    assert CORS.items() <= reply.headers.items()
    assert reply.headers["Policybot-Instance"] == INSTANCE
    preflight = await scene.request("OPTIONS", path)
    assert preflight.status == 204
    assert CORS.items() <= preflight.headers.items()


async def test_health(scene: Scene) -> None:
    scene.keys.broken = scene.verdicts.broken = True
    reply = await scene.request("GET", HEALTH)
    assert (reply.status, reply.json) == (200, "ok")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/_matrix/key/v2/server", 404),
        ("POST", "/_matrix/policy/v2/sign", 404),
        ("POST", SIGN + "/", 404),
        ("POST", "/_matrix/policy/unstable/org.matrix.msc4284/event/$a/check", 404),
        ("GET", SIGN, 405),
        ("PUT", SIGN, 405),
        ("OPTIONS", UNSTABLE_SIGN, 405),
        ("POST", WELL_KNOWN, 405),
        ("DELETE", HEALTH, 405),
    ],
)
async def test_unknown_paths_and_methods(
    scene: Scene, method: str, path: str, status: int
) -> None:
    reply = await scene.request(method, path)
    assert reply.status == status
    assert reply.json == {"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}
    assert reply.headers["Policybot-Instance"] == INSTANCE
    assert ("Allow" in reply.headers) == (status == 405)


async def test_the_probe_of_enable_gets_401_and_our_instance(scene: Scene) -> None:
    reply = await scene.post(b"")
    assert (reply.status, reply.json["errcode"]) == (401, "M_UNAUTHORIZED")
    assert reply.headers["Policybot-Instance"] == INSTANCE
    assert reply.verdict is None


# -- bodies ------------------------------------------------------------------------------------


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 10_000):
        yield data[start : start + 10_000]


async def test_a_large_body_is_refused_by_its_stated_length(scene: Scene) -> None:
    # Nothing of it is sent: the answer must not wait for it.
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
    length = MAX_BODY_BYTES + 1
    writer.write(f"POST {SIGN} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
    async with asyncio.timeout(20):
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readuntil(b"}")
    writer.close()
    assert head.startswith(b"HTTP/1.1 413 ")
    assert json.loads(body)["errcode"] == "M_TOO_LARGE"


async def test_a_large_chunked_body_is_refused(scene: Scene) -> None:
    reply = await scene.post(chunks(b" " * (2 * MAX_BODY_BYTES)))
    assert (reply.status, reply.json["errcode"]) == (413, "M_TOO_LARGE")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "identity, gzip"])
async def test_a_compressed_body_is_refused_unread(scene: Scene, coding: str) -> None:
    event = event_of(ALICE)
    reply = await scene.post(
        gzip.compress(json.dumps(event).encode()),
        authorization=[authorization(event)],
        headers=[("Content-Encoding", coding)],
    )
    assert (reply.status, reply.json["errcode"]) == (415, "M_UNRECOGNIZED")


async def test_a_body_that_says_it_is_plain(scene: Scene) -> None:
    event = event_of(ALICE)
    reply = await scene.ask(event, headers=[("Content-Encoding", "identity")])
    assert verifies(reply, event)


async def test_the_largest_body_is_read(scene: Scene) -> None:
    event = event_of(ALICE)
    body = json.dumps(event).encode().ljust(MAX_BODY_BYTES)
    reply = await scene.post(chunks(body), authorization=[authorization(event)])
    assert verifies(reply, event)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"a":1}{"b":2}',
        b'{"room_id":NaN}',
        b'{"room_id":Infinity}',
        b'{"room_id":1e400}',
        b'{"room_id":"\\ud800"}',
        b"[" * 90_000,
        b'{"a":' * 15_000,
        b"[" * 40_000 + b"]" * 40_000,
        b"9" * 90_000,
    ],
    ids=lambda body: repr(body[:24]),
)
async def test_what_is_not_json(scene: Scene, body: bytes) -> None:
    reply = await scene.post(body, authorization=[authorization({})])
    assert (reply.status, reply.json["errcode"]) == (400, "M_NOT_JSON")
    assert len(reply.json["error"]) < 200


@pytest.mark.parametrize("body", [b"null", b"[]", b"7", b'"text"', b"true"])
async def test_what_is_no_object(scene: Scene, body: bytes) -> None:
    reply = await scene.post(body, authorization=[authorization({})])
    assert (reply.status, reply.json["errcode"]) == (400, "M_BAD_JSON")


@pytest.mark.parametrize(
    "change",
    [
        {"room_id": None},
        {"room_id": 5},
        {"room_id": "#alias:example.org"},
        {"type": 5},
        {"type": "x" * 256},
        {"sender": "alice"},
        {"sender": None},
        {"state_key": 0},
        {"state_key": None},
        {"content": None},
        {"content": []},
        {"content": {"float": 1.5}},
        {"content": {"large": 2**53}},
        {"content": {"body": "x" * 66_000}},
        {"depth": True},
        {"depth": -1},
        {"origin_server_ts": "now"},
        {"origin_server_ts": 1.0},
        {"hashes": {}},
        {"hashes": {"sha256": 5}},
        {"signatures": None},
        {"signatures": {"good.example": None}},
        {"signatures": {"good.example": {"ed25519:k1": 5}}},
        {"auth_events": [["$id", {}]]},
        {"prev_events": ["$id"] * 21},
        {"event_id": "$id:example.org"},
    ],
    ids=lambda change: repr(change)[:40],
)
async def test_what_is_no_event_of_the_room_version(scene: Scene, change: dict[str, Any]) -> None:
    reply = await scene.ask({**event_of(ALICE), **change})
    assert (reply.status, reply.json["errcode"]) == (400, "M_BAD_JSON")
    assert reply.verdict is None
    assert scene.verdicts.submitted == []


@pytest.mark.parametrize(
    "field",
    ["type", "sender", "content", "depth", "origin_server_ts", "hashes", "signatures"],
)
async def test_a_missing_field(scene: Scene, field: str) -> None:
    event = event_of(ALICE)
    del event[field]
    reply = await scene.ask(event)
    assert (reply.status, reply.json["errcode"]) == (400, "M_BAD_JSON")
    assert field in reply.json["error"]


async def test_unsigned_data_may_hold_anything(scene: Scene) -> None:
    event = event_of(ALICE)
    # The caller's signature covers `unsigned` as well, in whatever form it is encoded.
    unsigned = {"age": -5, "prev_content": {"deep": [[[]]]}, "text": "\u2028\x00"}
    reply = await scene.ask({**event, "unsigned": unsigned})
    assert verifies(reply, event)


@pytest.mark.parametrize("abort", [True, False])
async def test_a_caller_that_goes_away_in_the_middle_of_the_body(
    scene: Scene, caplog: pytest.LogCaptureFixture, abort: bool
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", scene.port)
    writer.write(f"POST {SIGN} HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{{".encode())
    await writer.drain()
    if abort:
        writer.transport.abort()
    else:
        writer.close()
    assert verifies(await scene.ask(event := event_of(ALICE)), event)
    assert caplog.records == []
