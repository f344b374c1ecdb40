"""What a policy server with a name of its own answers to other servers: documents, its user."""

from typing import Any

import pytest

from policybot import __version__
from policybot.endpoint.federation_routes import DISPLAY_NAME
from policybot.endpoint.http_server import HttpServer
from policybot.endpoint.paths import (
    FEDERATION_VERSION,
    SERVER_KEYS,
    SERVER_WELL_KNOWN,
    SIGN,
    SUPPORT_WELL_KNOWN,
    WELL_KNOWN,
)
from policybot.endpoint.web_app import WebServer
from policybot.protocol.server_keys import parse_server_keys
from policybot.protocol.signing import SigningKey

from ..protocol.events import NAME
from .conftest import Serve
from .federated import (
    DEVICES,
    PROFILE,
    SEND,
    USER,
    FederatedScene,
    invitation,
    signed_request,
    state_event,
)
from .scene import ALICE, INSTANCE, ROOM, SERVER_KEY_ID, Scene, event_of, server_key, verifies

HOUR_MS = 3_600_000
DEVICE_KEYS = "/_matrix/federation/v1/user/keys/query"
ONE_TIME_KEYS = "/_matrix/federation/v1/user/keys/claim"


@pytest.fixture(params=[HttpServer, WebServer], ids=["httptools", "aiohttp"])
def make_server(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def scene(serve: Serve) -> FederatedScene:
    made = FederatedScene()
    await serve(made)
    return made


# -- documents ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [SERVER_KEYS, f"{SERVER_KEYS}/auto", f"{SERVER_KEYS}/ed25519%3Aa"]
)
async def test_the_federation_key_is_published(scene: FederatedScene, path: str) -> None:
    reply = await scene.get(path)
    keys = parse_server_keys(reply.json, NAME)
    assert dict(keys.verify_keys) == {scene.own_keys.key_id: scene.own_keys.signing_key.verify_key}
    assert keys.valid_until_ts == scene.now + 24 * HOUR_MS
    assert reply.headers["Policybot-Instance"] == INSTANCE


async def test_the_published_keys_never_end_soon(scene: FederatedScene) -> None:
    for _ in range(10):
        reply = await scene.get(SERVER_KEYS)
        assert parse_server_keys(reply.json, NAME).valid_until_ts >= scene.now + 12 * HOUR_MS
        scene.now += 5 * HOUR_MS


async def test_version(scene: FederatedScene) -> None:
    reply = await scene.get(FEDERATION_VERSION)
    assert reply.json == {"server": {"name": "policybot", "version": __version__}}


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("policy.example.org", {"m.server": "policy.example.org:443"}),
        ("policy.example.org:8448", None),
        ("192.0.2.1", None),
        ("[2001:db8::1]", None),
    ],
)
async def test_where_servers_find_us(serve: Serve, name: str, document: Any) -> None:
    scene = FederatedScene(names=(name,))
    await serve(scene)
    reply = await scene.get(SERVER_WELL_KNOWN, host=name)
    if document is None:
        assert (reply.status, reply.json["errcode"]) == (404, "M_UNRECOGNIZED")
    else:
        assert (reply.status, reply.json) == (200, document)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("policy.example.org", "policy.example.org"),
        ("old.example.org", "old.example.org"),
        ("OLD.example.org:443", "old.example.org"),
        ("older.example.org:8448", "older.example.org:8448"),
        ("older.example.org", "older.example.org:8448"),
        ("elsewhere.example.org", "policy.example.org"),
        ("", "policy.example.org"),
        ("\u00ff:\u00ff", "policy.example.org"),
    ],
)
async def test_each_of_our_names_has_its_documents(serve: Serve, host: str, name: str) -> None:
    """While a room carries a former name, servers must find us under it."""
    scene = FederatedScene(
        names=("policy.example.org", "old.example.org", "older.example.org:8448")
    )
    await serve(scene)
    keys = parse_server_keys((await scene.get(SERVER_KEYS, host)).json, name)
    assert list(keys.verify_keys) == [scene.own_keys.key_id]
    place = await scene.get(SERVER_WELL_KNOWN, host)
    assert place.json.get("m.server") == (None if ":" in name else f"{name}:443")


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


async def test_whom_to_ask(serve: Serve) -> None:
    scene = FederatedScene(contact="@admin:example.org")
    await serve(scene)
    reply = await scene.get(SUPPORT_WELL_KNOWN)
    assert reply.json == {
        "contacts": [{"matrix_id": "@admin:example.org", "role": "m.role.admin"}]
    }
    assert reply.headers["Access-Control-Allow-Origin"] == "*"


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


# -- who asks ----------------------------------------------------------------------------------


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


@pytest.mark.parametrize("path", [DEVICES, PROFILE, PROFILE + "&field=displayname"])
async def test_a_path_that_was_decoded_on_its_way(scene: FederatedScene, path: str) -> None:
    """As inside maubot's web server; the server has signed what it sent."""

    def as_sent(origin: str, method: str, _: str, content: Any) -> str:
        return signed_request(origin, method, path, content)

    decoded = path.replace("%40", "@").replace("%3A", ":")
    assert (await scene.call("GET", decoded, signed=as_sent)).status == 200
    other = decoded.replace("policy", "other")
    assert (await scene.call("GET", other, signed=as_sent)).status == 401


async def test_an_unknown_key_is_fetched_before_the_body_is_read(scene: FederatedScene) -> None:
    reply = await scene.call("PUT", SEND, {}, body=b"{", origin="new.example")
    assert (reply.status, reply.json["errcode"]) == (401, "M_UNAUTHORIZED")
    assert scene.keys.fetched == [("new.example", SERVER_KEY_ID)]
    scene.keys.arriving["new.example", SERVER_KEY_ID] = server_key("new.example").verify_key
    assert (await scene.call("GET", DEVICES, origin="new.example")).status == 200
