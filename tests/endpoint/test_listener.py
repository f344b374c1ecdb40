"""The listener: its address, and that it lets requests under way end."""

import asyncio
import json
import logging
import socket
from collections.abc import Callable

import pytest
from aiohttp import ClientSession

from policybot.endpoint.exchange import Endpoint
from policybot.endpoint.http_server import HttpServer
from policybot.endpoint.listener import Listener, Server, server_for, url_of
from policybot.protocol.paths import HEALTH, SIGN

from ..protocol.events import KEY_ID, NAME
from .both_servers import make_server
from .scene import (
    ALICE,
    CALLER,
    DEADLINE_S,
    SERVER_KEY_ID,
    Scene,
    authorization,
    event_of,
    eventually,
    server_key,
)

__all__ = ["make_server"]

MakeServer = Callable[[Endpoint], Server]


def listener_of(scene: Scene, make_server: MakeServer, port: int = 0) -> Listener:
    return Listener(scene.routes, "127.0.0.1", port, make_server(scene.routes))


def test_the_fast_server_is_taken_where_it_can_be() -> None:
    assert isinstance(server_for(Scene().routes), HttpServer)


async def test_its_url_leads_to_it(
    make_server: MakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "policybot")
    listener = listener_of(Scene(), make_server)
    await listener.start()
    try:
        assert listener.url.startswith("http://127.0.0.1:")
        assert not listener.url.endswith(":0")
        assert f"Listening on {listener.url}" in caplog.text
        async with ClientSession() as session, session.get(listener.url + HEALTH) as response:
            assert await response.text() == "ok"
    finally:
        await listener.stop()


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert url_of("::1", 8090) == "http://[::1]:8090"


async def test_an_address_in_use(make_server: MakeServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listener = listener_of(Scene(), make_server, taken.getsockname()[1])
        with pytest.raises(OSError):
            await listener.start()


async def test_stopping_lets_a_request_under_way_end(make_server: MakeServer) -> None:
    scene = Scene(servers=(CALLER,))
    scene.keys.arriving["good.example", SERVER_KEY_ID] = server_key("good.example").verify_key
    scene.keys.hold()
    listener = listener_of(scene, make_server)
    await listener.start()
    event = event_of(ALICE)
    async with ClientSession() as session, asyncio.timeout(DEADLINE_S):
        # One more connection that is only kept open must not hold up the end.
        async with session.get(listener.url + HEALTH) as response:
            await response.text()
        asking = asyncio.create_task(
            session.post(
                listener.url + SIGN,
                data=json.dumps(event),
                headers={"Authorization": authorization(event)},
            )
        )
        await eventually(lambda: scene.keys.fetched)
        stopping = asyncio.create_task(listener.stop())
        await eventually(lambda: not _is_open(listener.url))
        assert not stopping.done()
        scene.keys.release()
        async with await asking as response:
            assert response.status == 200
            assert KEY_ID in (await response.json())[NAME]
        await stopping
    assert len(scene.verdicts.submitted) == 1


async def test_stopping_twice_and_without_start(make_server: MakeServer) -> None:
    await listener_of(Scene(), make_server).stop()
    listener = listener_of(Scene(), make_server)
    await listener.start()
    await listener.stop()
    await listener.stop()


def _is_open(url: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))).close()
    except OSError:
        return False
    return True
