"""Invitations of the policy user: what is signed, and that nothing else ever is."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.event_hash import reference_hash, signing_bytes
from policybot.protocol.room_version import ROOM_VERSIONS, RoomVersion
from policybot.protocol.signing import SigningKey
from policybot.protocol.unpadded_base64 import encode_base64_urlsafe

from ..protocol.events import NAME, bare_event
from .federated import INVITER, USER, FederatedScene, invitation, invite_path, scene
from .scene import (
    CALLER,
    ROOM,
    SERVER_KEY_ID,
    V10,
    V11,
    V12,
    Reply,
    eventually,
    in_time,
    protected,
    server_key,
    sign_as,
)

__all__ = ["scene"]

V1, V2, V3 = (ROOM_VERSIONS[name] for name in ("1", "2", "3"))


def room_of(version: RoomVersion, creator: str = INVITER) -> tuple[str, list[Any]]:
    """A room's ID, and the state that comes with an invitation into it."""
    content = {"room_version": version.name}
    create = bare_event(version, type="m.room.create", state_key="", sender=creator)
    create |= {"content": content, "room_id": ROOM, "auth_events": [], "prev_events": []}
    if version.room_id_is_create_hash:
        del create["room_id"]
    create = sign_as(create, version, CALLER)
    if not version.room_id_is_create_hash:
        return ROOM, [create]
    return "!" + encode_base64_urlsafe(reference_hash(create, version)), [create]


def own_room(scene: FederatedScene, version: RoomVersion) -> tuple[str, list[Any]]:
    """A protected room of that version, into which the inviter may invite us."""
    room_id, state = room_of(version)
    scene.rooms[room_id] = protected(room_id, version)
    scene.invited.welcome.add((room_id, INVITER))
    return room_id, state


def is_signed(scene: FederatedScene, event: JsonObject, signed: Any, version: RoomVersion) -> bool:
    """Whether it is the same event with our federation signature beside those that were there."""
    own = signed["signatures"][NAME]
    key = scene.own_keys.signing_key.verify_key
    return (
        {**signed, "signatures": {**signed["signatures"], NAME: None}}
        == {**event, "signatures": {**event["signatures"], NAME: None}}
        and list(own) == [scene.own_keys.key_id]
        and key.verify(signing_bytes(event, version), own[scene.own_keys.key_id])
    )


@pytest.mark.parametrize("version", ROOM_VERSIONS.values(), ids=list(ROOM_VERSIONS))
async def test_an_invitation_is_signed(scene: FederatedScene, version: RoomVersion) -> None:
    room_id, state = own_room(scene, version)
    event = invitation(version, room_id=room_id, unsigned={"age": 3})
    reply = await scene.invite(event, version, invite_room_state=state)
    assert reply.status == 200
    assert list(reply.json) == ["event"]
    assert is_signed(scene, event, reply.json["event"], version)
    assert scene.invited.taken == [room_id]


@pytest.mark.parametrize("version", [V1, V2])
async def test_the_first_form_is_for_old_rooms(
    scene: FederatedScene, version: RoomVersion
) -> None:
    own_room(scene, version)
    event = invitation(version)
    reply = await scene.call("PUT", invite_path(event, version, "v1"), event)
    status, answer = reply.json
    assert (reply.status, status) == (200, 200)
    assert is_signed(scene, event, answer["event"], version)
    assert scene.invited.taken == [ROOM]


@pytest.mark.parametrize("version", [V3, V10, V12])
async def test_the_first_form_is_not_for_newer_rooms(
    scene: FederatedScene, version: RoomVersion
) -> None:
    room_id, _ = own_room(scene, version)
    event = invitation(version, room_id=room_id)
    reply = await scene.call("PUT", invite_path(event, version, "v1"), event)
    assert refused(scene, reply) == (400, "M_INCOMPATIBLE_ROOM_VERSION")
    # In the format of the old ones neither.
    event = invitation(V1, room_id=room_id)
    reply = await scene.call("PUT", invite_path(event, V1, "v1"), event)
    assert refused(scene, reply) == (400, "M_INCOMPATIBLE_ROOM_VERSION")


def refused(scene: FederatedScene, reply: Reply) -> tuple[int, str]:
    """How it was refused: nothing was signed, and nobody joins."""
    assert scene.invited.taken == []
    assert "event" not in reply.json
    return reply.status, reply.json["errcode"]


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({"type": "m.room.message"}, (400, "M_INVALID_PARAM")),
        ({"content": {"membership": "join"}}, (400, "M_INVALID_PARAM")),
        ({"content": {"membership": "ban"}}, (400, "M_INVALID_PARAM")),
        ({"content": {}}, (400, "M_INVALID_PARAM")),
        ({"content": {"membership": ["invite"]}}, (400, "M_INVALID_PARAM")),
        ({"state_key": INVITER}, (403, "M_FORBIDDEN")),
        ({"state_key": f"@other:{NAME}"}, (403, "M_FORBIDDEN")),
        ({"state_key": f"@POLICY:{NAME}"}, (403, "M_FORBIDDEN")),
        ({"state_key": ""}, (403, "M_FORBIDDEN")),
        ({"sender": USER, "content": {"membership": "invite"}}, (403, "M_FORBIDDEN")),
        ({"sender": "@a:good.example"}, (403, "M_FORBIDDEN")),
        ({"sender": f"@other:{CALLER}"}, (403, "M_FORBIDDEN")),
        ({"room_id": "!unknown:example.org"}, (403, "M_FORBIDDEN")),
        (
            {"content": {"membership": "invite", "third_party_invite": {"signed": {}}}},
            (403, "M_FORBIDDEN"),
        ),
        ({"content": {"membership": "invite", "n": 1.5}}, (400, "M_BAD_JSON")),
        ({"content": {"membership": "invite", "n": 2**53}}, (400, "M_BAD_JSON")),
        ({"content": {"membership": "invite", "text": "x" * 66_000}}, (400, "M_BAD_JSON")),
        ({"depth": -1}, (400, "M_BAD_JSON")),
        ({"auth_events": ["$a"] * 11}, (400, "M_BAD_JSON")),
        ({"prev_events": ["$a"] * 21}, (400, "M_BAD_JSON")),
        ({"event_id": f"$a:{CALLER}"}, (400, "M_BAD_JSON")),
    ],
    ids=lambda value: repr(value)[:60],
)
async def test_what_is_no_invitation_of_ours(
    scene: FederatedScene, fields: Any, answer: tuple[int, str]
) -> None:
    assert refused(scene, await scene.invite(invitation(**fields))) == answer


Change = Callable[[JsonObject], JsonObject]


def resigned(key: SigningKey, key_id: str = SERVER_KEY_ID, server: str = CALLER) -> Change:
    """Another signature in place of the good one."""

    def change(event: JsonObject) -> JsonObject:
        signature = key.sign(signing_bytes(event, V11))
        return {**event, "signatures": {server: {key_id: signature}}}

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda event: {**event, "content": {"membership": "invite", "other": True}},
        lambda event: {**event, "origin_server_ts": 5},
        lambda event: {**event, "hashes": {"sha256": "A" * 43}},
        lambda event: {**event, "signatures": {}},
        resigned(SigningKey(b"x" * 32)),
        resigned(SigningKey(b"x" * 32), "ed25519:other"),
        resigned(SigningKey(b"x" * 32), "ed25519:policy_server"),
        resigned(SigningKey(b"x" * 32), server="good.example"),
    ],
    ids=range(8),
)
async def test_a_damaged_or_forged_invitation(scene: FederatedScene, change: Change) -> None:
    reply = await scene.invite(change(invitation()))
    assert refused(scene, reply) == (400, "M_FORBIDDEN")


@pytest.mark.parametrize(
    "path",
    [
        invite_path(invitation(depth=8), V11),
        invite_path({**invitation(), "room_id": "!other:example.org"}, V11),
        "/_matrix/federation/v2/invite/%FF/%00",
        "/_matrix/federation/v2/invite//",
    ],
)
async def test_a_path_that_names_something_else(scene: FederatedScene, path: str) -> None:
    status, errcode = refused(scene, await scene.invite(invitation(), path=path))
    assert (status, errcode) in ((400, "M_INVALID_PARAM"), (400, "M_BAD_JSON"))


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({"room_version": "99"}, (400, "M_INCOMPATIBLE_ROOM_VERSION")),
        ({"room_version": "x" * 10_000}, (400, "M_INCOMPATIBLE_ROOM_VERSION")),
        ({"room_version": ""}, (400, "M_INCOMPATIBLE_ROOM_VERSION")),
        ({"room_version": 11}, (400, "M_MISSING_PARAM")),
        ({"room_version": None}, (400, "M_MISSING_PARAM")),
        ({"event": None}, (400, "M_BAD_JSON")),
        ({"event": []}, (400, "M_BAD_JSON")),
        ({"event": {}}, (400, "M_BAD_JSON")),
    ],
    ids=lambda value: repr(value)[:60],
)
async def test_a_request_of_a_wrong_form(
    scene: FederatedScene, fields: Any, answer: tuple[int, str]
) -> None:
    content = {"room_version": "11", "event": invitation(), **fields}
    reply = await scene.call("PUT", invite_path(invitation(), V11), content)
    assert refused(scene, reply) == answer
    assert len(reply.json.get("room_version", "")) <= 32


async def test_a_version_that_is_not_the_rooms(scene: FederatedScene) -> None:
    # Signing bytes differ from one version to another, so the one that is said matters.
    event = invitation(V10)
    assert refused(scene, await scene.invite(event, V10)) == (400, "M_INVALID_PARAM")


async def test_an_event_id_of_another_server(scene: FederatedScene) -> None:
    own_room(scene, V1)
    event = invitation(V1, event_id="$a:good.example")
    assert refused(scene, await scene.invite(event, V1)) == (400, "M_INVALID_PARAM")


@pytest.mark.parametrize("server", [CALLER, "good.example"])
async def test_the_sender_is_of_the_calling_server(scene: FederatedScene, server: str) -> None:
    sender = f"@a:{server}"
    scene.invited.welcome.add((ROOM, sender))
    event = invitation(sender=sender)
    reply = await scene.invite(event)
    if server == CALLER:
        assert is_signed(scene, event, reply.json["event"], V11)
    else:
        assert refused(scene, reply) == (403, "M_FORBIDDEN")


@pytest.mark.parametrize(
    ("state", "errcode"),
    [
        (None, "M_MISSING_PARAM"),
        ([], "M_MISSING_PARAM"),
        ("text", "M_MISSING_PARAM"),
        ([None, [], {"type": []}], "M_MISSING_PARAM"),
        ([{"type": "m.room.create", "state_key": "", "content": {}}], "M_INVALID_PARAM"),
        (room_of(V12, f"@other:{CALLER}")[1], "M_INVALID_PARAM"),
        (room_of(V11)[1], "M_INVALID_PARAM"),
    ],
    ids=range(7),
)
async def test_a_room_that_is_its_create_event(
    scene: FederatedScene, state: Any, errcode: str
) -> None:
    room_id, _ = own_room(scene, V12)
    event = invitation(V12, room_id=room_id)
    reply = await scene.invite(event, V12, invite_room_state=state)
    assert refused(scene, reply) == (400, errcode)


async def test_who_is_not_wanted_is_turned_away(scene: FederatedScene) -> None:
    scene.invited.welcome.clear()
    assert refused(scene, await scene.invite(invitation())) == (403, "M_FORBIDDEN")


async def test_a_room_that_is_dropped_while_a_key_is_waited_for(scene: FederatedScene) -> None:
    key_id = "ed25519:new"
    scene.keys.arriving[CALLER, key_id] = server_key(CALLER).verify_key
    scene.keys.hold()
    asking = asyncio.create_task(scene.invite(resigned(server_key(CALLER), key_id)(invitation())))
    await eventually(lambda: scene.keys.fetched)
    scene.rooms.clear()
    scene.keys.release()
    assert refused(scene, await in_time(asking)) == (403, "M_FORBIDDEN")


async def test_junk_under_our_name_stays_junk(scene: FederatedScene) -> None:
    event = invitation()
    event["signatures"][NAME] = {"ed25519:junk": "junk"}
    reply = await scene.invite(event)
    own = reply.json["event"]["signatures"][NAME]
    assert own.pop("ed25519:junk") == "junk"
    assert list(own) == [scene.own_keys.key_id]
