"""Bodies larger than one event: where they are taken, and how much of them at once."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from policybot.endpoint.body import Body, LargeBodies
from policybot.endpoint.errors import TooLarge, TooManyLargeBodies
from policybot.endpoint.exchange import MAX_BODY_BYTES
from policybot.endpoint.federation_routes import MAX_INVITE_BYTES, MAX_TRANSACTION_BYTES
from policybot.endpoint.http_server import HttpServer
from policybot.endpoint.listener import Server
from policybot.endpoint.web_app import WebServer
from policybot.protocol.paths import SIGN

from .federated import SEND, FederatedScene, invitation, scene, state_event, transaction
from .scene import ALICE, ROOM, event_of, eventually, verifies

__all__ = ["scene"]

M = MAX_BODY_BYTES


@pytest.fixture
def large_bodies() -> LargeBodies:
    return LargeBodies(2 * MAX_TRANSACTION_BYTES)


@pytest.fixture(params=[HttpServer, WebServer], ids=["httptools", "aiohttp"])
def make_server(request: pytest.FixtureRequest, large_bodies: LargeBodies) -> Any:
    def make(endpoint: Any) -> Server:
        server: Server = request.param(endpoint, large_bodies=large_bodies)
        return server

    return make


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


def largest() -> dict[str, Any]:
    """Fifty events of the largest size."""
    text = "x" * 64_500
    pdus = [event_of(ALICE, content={"body": text}) for _ in range(49)]
    return transaction(*pdus, state_event("m.room.policy", content={"text": text}))


async def test_fifty_of_the_largest_events(scene: FederatedScene) -> None:
    content = largest()
    body = json.dumps(content).encode()
    assert len(body) > 30 * MAX_BODY_BYTES
    assert (await scene.call("PUT", SEND, content)).status == 200
    assert (await scene.call("PUT", SEND, content, body=chunks(body))).status == 200
    assert scene.hinted == [ROOM, ROOM]


async def test_a_larger_body_is_refused(scene: FederatedScene) -> None:
    reply = await scene.call("PUT", SEND, body=chunks(b" " * (MAX_TRANSACTION_BYTES + 1)))
    assert (reply.status, reply.json["errcode"]) == (413, "M_TOO_LARGE")
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
    length = MAX_TRANSACTION_BYTES + 1
    writer.write(f"PUT {SEND} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
    async with asyncio.timeout(20):
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
    writer.close()


async def test_a_large_body_elsewhere_is_refused(scene: FederatedScene) -> None:
    body = b" " * (MAX_BODY_BYTES + 1)
    for method, path in (
        ("POST", SIGN),
        ("GET", "/_matrix/federation/v1/version"),
        ("PUT", "/_matrix/federation/v1/sender/a"),
    ):
        reply = await scene.call(method, path, body=body)
        assert (reply.status, reply.json["errcode"]) == (413, "M_TOO_LARGE")


@pytest.mark.parametrize("part", [b"1,", b"[],", b'{"a":1},', b"1.5,"])
async def test_a_body_of_very_many_parts_is_refused_unread(
    scene: FederatedScene, part: bytes
) -> None:
    body = b'{"pdus":[' + part * 250_000 + b"0]}"
    reply = await scene.call("PUT", SEND, {}, body=body)
    assert (reply.status, reply.json["errcode"]) == (413, "M_TOO_LARGE")


async def test_an_invitation_with_much_state(scene: FederatedScene) -> None:
    state = [{"type": "m.room.topic", "content": {"topic": "x" * MAX_BODY_BYTES}}]
    assert (await scene.invite(invitation(), invite_room_state=state)).status == 200
    state *= MAX_INVITE_BYTES // MAX_BODY_BYTES + 1
    assert (await scene.invite(invitation(), invite_room_state=state)).status == 413


# -- how much at once --------------------------------------------------------------------------


def padded(size: int) -> bytes:
    """A transaction with white space behind it."""
    return json.dumps(transaction()).encode().ljust(size)


def head_of(length: int) -> bytes:
    """The head of an unsigned transaction."""
    return f"PUT {SEND} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()


@pytest.mark.parametrize("whole", [bytes, chunks], ids=["length", "chunked"])
async def test_what_has_no_room_is_to_come_again(
    scene: FederatedScene, large_bodies: LargeBodies, whole: Any
) -> None:
    large_bodies.left = 5 * M
    _, writer = await asyncio.open_connection("127.0.0.1", scene.port)
    writer.write(head_of(4 * M))
    writer.write(b" " * (3 * M))
    await eventually(lambda: large_bodies.left == 2 * M)

    reply = await scene.call("PUT", SEND, transaction(), body=whole(padded(3 * M)))
    assert (reply.status, reply.json["errcode"]) == (503, "M_LIMIT_EXCEEDED")
    # What is smaller has room, and what is asked at /sign needs none.
    assert (await scene.call("PUT", SEND, transaction(), body=padded(2 * M))).status == 200
    assert verifies(await scene.ask(event := event_of(ALICE)), event)
    assert large_bodies.left == 2 * M

    writer.transport.abort()
    await eventually(lambda: large_bodies.left == 5 * M)
    assert (await scene.call("PUT", SEND, transaction(), body=whole(padded(3 * M)))).status == 200
    assert large_bodies.left == 5 * M


async def test_who_only_announces_much_takes_no_room(
    scene: FederatedScene, large_bodies: LargeBodies
) -> None:
    large_bodies.left = 3 * M
    _, writer = await asyncio.open_connection("127.0.0.1", scene.port)
    writer.write(head_of(3 * M) + b" " * 100)
    assert (await scene.call("PUT", SEND, transaction(), body=padded(3 * M))).status == 200
    writer.transport.abort()


@pytest.mark.parametrize("stays", [True, False], ids=["stays", "goes away"])
async def test_it_counts_until_it_is_answered(
    scene: FederatedScene, large_bodies: LargeBodies, stays: bool
) -> None:
    before = large_bodies.left
    scene.keys.hold()
    sending = asyncio.create_task(
        scene.call("PUT", SEND, transaction(), body=padded(2 * M), origin="new.example")
    )
    await eventually(lambda: scene.keys.fetched)
    assert large_bodies.left == before - 2 * M
    if not stays:
        sending.cancel()
    scene.keys.release()
    await eventually(lambda: large_bodies.left == before)
    await asyncio.wait({sending})


async def test_all_room_is_given_back(scene: FederatedScene, large_bodies: LargeBodies) -> None:
    before = large_bodies.left
    for body in (padded(2 * M), b"{" * 2 * M, b" " * (MAX_TRANSACTION_BYTES + 1)):
        await scene.call("PUT", SEND, {"other": 1}, body=body)
        await scene.call("PUT", SEND, {"other": 1}, body=chunks(body))
    assert large_bodies.left == before


def test_the_bounds_of_a_body() -> None:
    large = LargeBodies(10 * M)
    body = Body(lambda: 3 * M, large)
    body.announce(3 * M)
    with pytest.raises(TooLarge, match=f"larger than {3 * M} bytes"):
        body.announce(3 * M + 1)
    body.add(b"a" * M)
    assert large.left == 10 * M
    body.add(b"b")
    assert large.left == 9 * M - 1
    body.add(b"c" * (2 * M - 1))
    assert large.left == 7 * M
    with pytest.raises(TooLarge):
        body.add(b"d")
    body.release()
    body.release()
    assert large.left == 10 * M

    large.left = 2 * M
    with pytest.raises(TooManyLargeBodies):
        Body(lambda: 3 * M, large).announce(3 * M)
    other = Body(lambda: 3 * M, large)
    other.add(b"a" * 2 * M)
    with pytest.raises(TooManyLargeBodies):
        other.add(b"b")
    other.release()
    assert large.left == 2 * M
    whole = Body(lambda: 3 * M, large)
    whole.add(b"a")
    whole.add(b"b")
    assert whole.complete() == b"ab"
