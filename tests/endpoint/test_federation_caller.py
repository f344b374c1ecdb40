"""Who asks: only servers, with a signature for exactly what they ask."""

from typing import Any

import pytest

from policybot.protocol.signing import SigningKey

from .both_servers import make_server
from .federated import (
    DEVICE_KEYS,
    DEVICES,
    ONE_TIME_KEYS,
    PROFILE,
    SEND,
    FederatedScene,
    scene,
    signed_request,
)
from .scene import SERVER_KEY_ID, server_key

__all__ = ["make_server", "scene"]


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("GET", DEVICES, None),
        ("GET", PROFILE, None),
        ("POST", DEVICE_KEYS, {"device_keys": {}}),
        ("POST", ONE_TIME_KEYS, {"one_time_keys": {}}),
        ("PUT", SEND, {"pdus": []}),
        ("PUT", "/_matrix/federation/v2/invite/!a:b/$c", {"event": {}}),
        ("PUT", "/_matrix/federation/v1/invite/!a:b/$c", {}),
    ],
)
async def test_only_servers_may_ask(
    scene: FederatedScene, method: str, path: str, content: Any
) -> None:
    def other_key(*request: Any) -> str:
        return signed_request(*request, key=SigningKey(b"x" * 32))

    def other_name(*request: Any) -> str:
        return signed_request(*request, destination="other.example")

    def other_path(origin: str, method: str, path: str, content: Any) -> str:
        return signed_request(origin, method, path + "?a=b", content)

    def other_content(origin: str, method: str, path: str, content: Any) -> str:
        return signed_request(origin, method, path, {"a": 1})

    def nothing(*_: Any) -> str:
        return ""

    for signed in (other_key, other_name, other_path, other_content, nothing):
        reply = await scene.call(method, path, content, signed=signed)
        assert (reply.status, reply.json["errcode"]) == (401, "M_UNAUTHORIZED"), signed
    assert scene.keys.fetched == []


async def test_an_unknown_key_is_fetched_before_the_body_is_read(scene: FederatedScene) -> None:
    reply = await scene.call("PUT", SEND, {}, body=b"{", origin="new.example")
    assert (reply.status, reply.json["errcode"]) == (401, "M_UNAUTHORIZED")
    assert scene.keys.fetched == [("new.example", SERVER_KEY_ID)]
    scene.keys.arriving["new.example", SERVER_KEY_ID] = server_key("new.example").verify_key
    assert (await scene.call("GET", DEVICES, origin="new.example")).status == 200
