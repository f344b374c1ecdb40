"""Whatever a server sends, properly signed: it is answered, and never by a fault of ours."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policybot.endpoint.exchange import Request
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.room_version import ROOM_VERSIONS

from ..protocol.events import json_values
from .federated import (
    DEVICE_KEYS,
    SEND,
    FederatedScene,
    invitation,
    invite_path,
    signed_request,
    state_event,
    transaction,
)
from .scene import CALLER, ROOM, V11, protected

INVITE = invite_path(invitation(), V11)
V1 = ROOM_VERSIONS["1"]
OLD_INVITE = invite_path(invitation(V1), V1, "v1")

REQUESTS: list[tuple[str, str, JsonObject]] = [
    ("PUT", SEND, transaction(state_event("m.room.policy"), edus=[{"edu_type": "m.typing"}])),
    ("PUT", INVITE, {"room_version": "11", "event": invitation(), "invite_room_state": []}),
    ("PUT", OLD_INVITE, invitation(V1)),
    ("POST", DEVICE_KEYS, {"device_keys": {}}),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something else can be put in a JSON value."""
    found = [path] if path else []
    items = list(value) if isinstance(value, dict) else range(len(value))
    for key in items:
        inner = (*path, key)
        is_leaf = not isinstance(value[key], (dict, list))
        found += [inner] if is_leaf else places(value[key], inner)
    return found


def replaced(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    """A copy with something else at that place."""
    key, *rest = path
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[key] = replaced(value[key], tuple(rest), other) if rest else other
    return copy


@pytest.mark.parametrize(
    ("method", "path", "content"), REQUESTS, ids=["send", "invite v2", "invite v1", "keys"]
)
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_request(method: str, path: str, content: JsonObject, data: Any) -> None:
    scene = FederatedScene()
    if path == OLD_INVITE:
        scene.rooms[ROOM] = protected(version=V1)
    other = data.draw(json_values(strict=False))
    place = data.draw(st.sampled_from(places(content)))
    damaged = replaced(content, place, other)
    header = signed_request(CALLER, method, path, damaged)
    request = Request(method, path, [header], json.dumps(damaged).encode())
    response = asyncio.run(scene.routes.answer(request))
    assert response.status in (200, 400, 403)
    if "/invite/" in path and response.status == 200:
        # Nothing that is signed was changed.
        assert place[0] == "invite_room_state" or damaged == content
