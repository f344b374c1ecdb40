"""The paths of a policy server with a name of its own, and what it answers about its user."""

from typing import Any

import pytest

from policybot.endpoint.federation_routes import DISPLAY_NAME
from policybot.protocol.paths import (
    FEDERATION_VERSION,
    SERVER_KEYS,
    SERVER_WELL_KNOWN,
    SIGN,
    SUPPORT_WELL_KNOWN,
    WELL_KNOWN,
)

from ..protocol.events import NAME
from .both_servers import make_server
from .conftest import Serve
from .federated import (
    DEVICE_KEYS,
    DEVICES,
    ONE_TIME_KEYS,
    PROFILE,
    SEND,
    USER,
    FederatedScene,
    invitation,
    scene,
    state_event,
)
from .scene import ALICE, INSTANCE, ROOM, Scene, event_of, verifies

__all__ = ["make_server", "scene"]


# -- which paths there are -------------------------------------------------------------------


async def test_the_policy_server_is_there_as_ever(scene: FederatedScene) -> None:
    assert (await scene.get(WELL_KNOWN)).status == 200
    assert verifies(await scene.ask(event := event_of(ALICE)), event)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", SUPPORT_WELL_KNOWN, 404),  # there is no contact
        ("GET", "/", 404),
        ("GET", "/_matrix/client/versions", 404),
        ("GET", "/_matrix/key/v2/query/example.org", 404),
        ("GET", f"{SERVER_KEYS}/a/b", 404),
        ("GET", "/_matrix/federation/v1/event/$a", 404),
        ("GET", "/_matrix/federation/v1/backfill/!a:b?v=$a&limit=10", 404),
        ("GET", "/_matrix/federation/v1/state_ids/!a:b", 404),
        ("POST", "/_matrix/federation/v1/get_missing_events/!a:b", 404),
        ("PUT", "/_matrix/federation/v1/send/", 404),
        ("PUT", "/_matrix/federation/v1/send/a/b", 404),
        ("PUT", "/_matrix/federation/v3/invite/!a:b/$c", 404),
        ("GET", "/_matrix/federation/v1/user/devices/", 401),
        ("POST", SERVER_KEYS, 405),
        ("PUT", FEDERATION_VERSION, 405),
        ("POST", SEND, 405),
        ("GET", "/_matrix/federation/v2/invite/!a:b/$c", 405),
        ("PUT", DEVICES, 405),
        ("POST", PROFILE, 405),
        ("GET", SIGN, 405),
    ],
)
async def test_unknown_paths_and_methods(
    scene: FederatedScene, method: str, path: str, status: int
) -> None:
    reply = await scene.request(method, path)
    assert reply.status == status
    assert reply.json["errcode"] == ("M_UNAUTHORIZED" if status == 401 else "M_UNRECOGNIZED")
    assert reply.headers["Policybot-Instance"] == INSTANCE
    assert ("Allow" in reply.headers) == (status == 405)
    assert scene.keys.lookups == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", SERVER_KEYS),
        ("GET", FEDERATION_VERSION),
        ("GET", SERVER_WELL_KNOWN),
        ("GET", SUPPORT_WELL_KNOWN),
        ("PUT", SEND),
        ("PUT", "/_matrix/federation/v2/invite/!a:b/$c"),
        ("PUT", "/_matrix/federation/v1/invite/!a:b/$c"),
        ("GET", DEVICES),
        ("GET", PROFILE),
    ],
)
async def test_the_homeservers_name_is_the_homeservers(
    serve: Serve, method: str, path: str
) -> None:
    shared = Scene(contact="@admin:example.org")
    await serve(shared)
    reply = await shared.request(method, path)
    assert (reply.status, reply.json["errcode"]) == (404, "M_UNRECOGNIZED")


@pytest.mark.parametrize("what", ["make_join", "make_leave", "make_knock"])
async def test_who_wants_to_join_by_way_of_us_is_sent_on(scene: FederatedScene, what: str) -> None:
    """Synapse asks the next server only after M_NOT_FOUND; else its user cannot join."""
    reply = await scene.request("GET", f"/_matrix/federation/v1/{what}/!a:b/@u:b?ver=11")
    assert (reply.status, reply.json["errcode"]) == (404, "M_NOT_FOUND")
    assert scene.keys.lookups == 0


# -- our user ----------------------------------------------------------------------------------


async def test_the_user_has_no_devices(scene: FederatedScene) -> None:
    reply = await scene.call("GET", DEVICES)
    assert (reply.status, reply.json) == (200, {"user_id": USER, "stream_id": 1, "devices": []})


@pytest.mark.parametrize(
    ("asked", "known"),
    [
        ({USER: []}, {USER: {}}),
        ({USER: ["DEVICE"], f"@other:{NAME}": [], "@a:b": []}, {USER: {}}),
        ({}, {}),
        (None, {}),
        ([[USER]], {}),
        (USER, {}),
    ],
)
async def test_the_user_has_no_keys(scene: FederatedScene, asked: Any, known: Any) -> None:
    reply = await scene.call("POST", DEVICE_KEYS, {"device_keys": asked})
    assert (reply.status, reply.json) == (200, {"device_keys": known})
    reply = await scene.call("POST", ONE_TIME_KEYS, {"one_time_keys": asked})
    assert (reply.status, reply.json) == (200, {"one_time_keys": {}})


@pytest.mark.parametrize(
    ("field", "profile"),
    [
        ("", {"displayname": DISPLAY_NAME}),
        ("&field=displayname", {"displayname": DISPLAY_NAME}),
        ("&field=avatar_url", {}),
        ("&field=%00%ff", {}),
    ],
)
async def test_the_profile(scene: FederatedScene, field: str, profile: Any) -> None:
    reply = await scene.call("GET", PROFILE + field)
    assert (reply.status, reply.json) == (200, profile)


@pytest.mark.parametrize(
    ("path", "status", "errcode"),
    [
        ("/_matrix/federation/v1/user/devices/%40other%3Apolicy.example.org", 404, "M_NOT_FOUND"),
        ("/_matrix/federation/v1/user/devices/%FF", 404, "M_NOT_FOUND"),
        ("/_matrix/federation/v1/query/profile?user_id=%40a%3Ab", 404, "M_NOT_FOUND"),
        ("/_matrix/federation/v1/query/profile", 400, "M_MISSING_PARAM"),
        ("/_matrix/federation/v1/query/profile?user_id=", 400, "M_MISSING_PARAM"),
        ("/_matrix/federation/v1/query/profile?" + "a=b&" * 100, 400, "M_INVALID_PARAM"),
    ],
)
async def test_other_users(scene: FederatedScene, path: str, status: int, errcode: str) -> None:
    reply = await scene.call("GET", path)
    assert (reply.status, reply.json["errcode"]) == (status, errcode)


async def test_what_is_asked_under_a_former_name(serve: Serve) -> None:
    """The name of now is the homeserver's, and rooms still carry the one before."""
    scene = FederatedScene(user_id=None)
    await serve(scene)
    assert (await scene.get(SERVER_WELL_KNOWN)).status == 200
    assert (await scene.call("GET", DEVICES)).json["user_id"] == USER
    assert (await scene.send(state_event("m.room.policy"))).status == 200
    assert scene.hinted == [ROOM]
    reply = await scene.invite(invitation())
    assert (reply.status, reply.json["errcode"]) == (403, "M_FORBIDDEN")
