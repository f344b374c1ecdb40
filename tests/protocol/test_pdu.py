from typing import Any

import pytest

from policybot.protocol.canonical_json import MAX_SAFE_INTEGER, JsonObject
from policybot.protocol.event_hash import event_id
from policybot.protocol.pdu import MAX_PDU_BYTES, InvalidPdu, Pdu, parse_pdu, room_id_of
from policybot.protocol.room_version import ROOM_VERSIONS, RoomVersion

from .events import VERSIONS, bare_event, signed_event

ROOM = "!room:example.org"
STRICT = [version for version in VERSIONS if version.strict_json]
LENIENT = [version for version in VERSIONS if not version.strict_json]
HASH_IDS = [version for version in VERSIONS if not version.event_id_in_event]
OWN_IDS = [version for version in VERSIONS if version.event_id_in_event]
V11, V12 = ROOM_VERSIONS["11"], ROOM_VERSIONS["12"]


def parse(event: JsonObject, version: RoomVersion) -> Pdu:
    return parse_pdu(event, version, room_id_of(event))


def refused(event: JsonObject, versions: list[RoomVersion] | tuple[RoomVersion, ...]) -> set[str]:
    """Refused in all of these versions; the distinct reasons."""
    reasons = set()
    for version in versions:
        with pytest.raises(InvalidPdu) as caught:
            parse_pdu(event, version, ROOM)
        reasons.add(str(caught.value))
    return reasons


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_a_message(version: RoomVersion) -> None:
    event = signed_event(version)
    pdu = parse(event, version)
    assert pdu == Pdu(
        event=event,
        version=version,
        room_id=ROOM,
        type="m.room.message",
        sender="@user:example.org",
        state_key=None,
        content={"msgtype": "m.text", "body": "hello"},
        origin_server_ts=1700000000000,
    )
    assert pdu.event is event


@pytest.mark.parametrize("state_key", ["", "@user:example.org", "é" * 127])
def test_state(state_key: str) -> None:
    assert parse(signed_event(V11, state_key=state_key), V11).state_key == state_key


@pytest.mark.parametrize(
    ("sender", "server"),
    [
        ("@a:example.org", "example.org"),
        ("@a:example.org:8448", "example.org:8448"),
        ("@a:b:c", None),
        ("@:example.org", "example.org"),
        ("@a:[::1]:80", "[::1]:80"),
        ("@Übel mit Leerzeichen:x", "x"),
    ],
)
def test_sender_server(sender: str, server: str | None) -> None:
    event = signed_event(V11, sender=sender)
    if server is None:
        refused(event, VERSIONS)
    else:
        assert parse(event, V11).sender_server == server


@pytest.mark.parametrize(
    "field",
    [
        "type",
        "sender",
        "content",
        "origin_server_ts",
        "depth",
        "hashes",
        "signatures",
        "auth_events",
        "prev_events",
        "room_id",
    ],
)
def test_a_missing_or_null_field_is_named(field: str) -> None:
    for version in VERSIONS:
        event = signed_event(version)
        (reason,) = refused({**event, field: None}, [version])
        assert f"field {field} " in reason
        del event[field]
        assert refused(event, [version]) == {reason}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("type", 1),
        ("type", "a" * 256),
        ("type", "é" * 128),
        ("sender", "user:example.org"),
        ("sender", "@user"),
        ("sender", "@user:"),
        ("sender", "@user:exa mple.org"),
        ("sender", "@user:example.org:99999"),
        ("sender", "@a\0:example.org"),
        ("sender", "@" + "a" * 250 + ":example.org"),
        ("sender", ["@user:example.org"]),
        ("state_key", None),
        ("state_key", 1),
        ("state_key", "a" * 256),
        ("state_key", "\U0001f600" * 64),
        ("content", []),
        ("content", "x"),
        ("origin_server_ts", True),
        ("origin_server_ts", "1700000000000"),
        ("origin_server_ts", 1.5),
        ("origin_server_ts", 2**63),
        ("origin_server_ts", -(2**63)),
        ("depth", True),
        ("depth", -1),
        ("depth", 1.0),
        ("depth", 2**63),
        ("hashes", []),
        ("hashes", {}),
        ("hashes", {"sha256": None}),
        ("hashes", {"sha256": 1}),
        ("hashes", "x"),
        ("signatures", []),
        ("signatures", {"example.org": None}),
        ("signatures", {"example.org": "x"}),
        ("signatures", {"example.org": {"ed25519:a": 1}}),
        ("signatures", {"example.org": {"ed25519:a": ["x"]}}),
        ("auth_events", {}),
        ("auth_events", [1]),
        ("auth_events", [None]),
        ("auth_events", ["$" + "a" * 255]),
        ("prev_events", "x"),
        ("prev_events", [[]]),
        ("prev_events", [["$a:x"]]),
        ("prev_events", [["$a:x", {}, {}]]),
        ("prev_events", [["$a:x", "x"]]),
        ("prev_events", [[1, {}]]),
        ("room_id", "!other:example.org"),
        ("room_id", 1),
    ],
)
def test_a_wrong_field_is_named(field: str, value: Any) -> None:
    for version in VERSIONS:
        (reason,) = refused(signed_event(version) | {field: value}, [version])
        assert f"field {field} " in reason


@pytest.mark.parametrize(("field", "most"), [("auth_events", 10), ("prev_events", 20)])
@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_number_of_references(field: str, most: int, version: RoomVersion) -> None:
    reference = signed_event(version)[field][0]
    parse(signed_event(version, **{field: []}), version)
    parse(signed_event(version, **{field: [reference] * most}), version)
    refused(signed_event(version, **{field: [reference] * (most + 1)}), [version])


def test_form_of_references() -> None:
    pair: Any = ["$a:example.org", {"sha256": "x"}]
    for field in ("auth_events", "prev_events"):
        for version in HASH_IDS:
            parse(signed_event(version, **{field: ["$a"]}), version)
            refused(signed_event(version, **{field: [pair]}), [version])
        for version in OWN_IDS:
            parse(signed_event(version, **{field: [pair]}), version)
            refused(signed_event(version, **{field: ["$a:example.org"]}), [version])


@pytest.mark.parametrize(
    "own_id",
    [None, 1, "", "$", "$a", "a:example.org", "$a:", "$a:b c", "$" + "a" * 43, "$a:" + "b" * 255],
)
def test_event_id_of_old_versions(own_id: Any) -> None:
    for version in OWN_IDS:
        event = signed_event(version)
        (reason,) = refused({**event, "event_id": own_id}, [version])
        assert "field event_id " in reason
        del event["event_id"]
        refused(event, [version])


def test_event_id_is_absent_later() -> None:
    for version in HASH_IDS:
        refused(signed_event(version, event_id="$x:example.org"), [version])


@pytest.mark.parametrize(
    "change",
    [
        {"content": {"a": 1.5}},
        {"content": {"a": [{"b": 1.0}]}},
        {"content": {"a": 2**53}},
        {"content": {"a": [-(2**53)]}},
        {"content": {"a": 2**64}},
        {"extra": 0.5},
        {"extra": {"a": [2**53]}},
        {"redacts": 1.5},
        {"prev_state": [1e10]},
        {"hashes": {"sha256": "x", "other": 1.5}},
        {"depth": 2**53},
        {"origin_server_ts": 2**53},
        {"origin_server_ts": -(2**53)},
    ],
    ids=str,
)
def test_numbers(change: JsonObject) -> None:
    for version in LENIENT:
        parse(signed_event(version) | change, version)
    for version in STRICT:
        refused(signed_event(version) | change, [version])


def test_numbers_at_their_limits() -> None:
    for version in VERSIONS:
        limit = MAX_SAFE_INTEGER if version.strict_json else 2**63 - 1
        content = {"a": [MAX_SAFE_INTEGER, -MAX_SAFE_INTEGER, True, None]}
        event = signed_event(version, depth=limit, origin_server_ts=limit, content=content)
        parse(event, version)
        parse({**event, "depth": 0, "origin_server_ts": -limit}, version)


def test_unsigned_is_free() -> None:
    for version in VERSIONS:
        for unsigned in ({"a": [1.5, 2**70]}, None, "x" * MAX_PDU_BYTES):
            parse(signed_event(version, unsigned=unsigned), version)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_size(version: RoomVersion) -> None:
    from policybot.protocol.canonical_json import canonical_json

    event = signed_event(version, content={"body": ""})
    room_left = MAX_PDU_BYTES - len(canonical_json(event))
    event["content"] = {"body": "a" * room_left}
    parse(event, version)
    event["content"] = {"body": "a" * (room_left + 1)}
    refused(event, [version])
    event["content"] = {"body": "é" * (room_left // 2 + 1)}
    refused(event, [version])


def create_event(**fields: Any) -> JsonObject:
    event = bare_event(V12, type="m.room.create", state_key="", content={"room_version": "12"})
    del event["room_id"]
    return {**event, "hashes": {"sha256": "x"}, "signatures": {}, **fields}


def test_create_event_of_version_12_makes_the_room_id() -> None:
    event = create_event()
    room_id = room_id_of(event)
    assert room_id == "!" + event_id(event, V12)[1:]
    assert parse_pdu(event, V12, room_id).room_id == room_id
    assert room_id_of(create_event(depth=8)) != room_id
    assert room_id_of(create_event(signatures={"a": {"b": "c"}}, unsigned={})) == room_id


def test_create_event_of_version_12_with_a_room_id() -> None:
    event = create_event(room_id=ROOM)
    assert room_id_of(event) == ROOM
    refused(event, [V12])
    parse_pdu(event, V11, ROOM)


def test_create_event_without_room_id_in_older_versions() -> None:
    event = create_event()
    with pytest.raises(InvalidPdu):
        parse_pdu(event, V11, room_id_of(event))


@pytest.mark.parametrize("state_key", ["x", None, 1, []])
def test_create_event_with_another_state_key(state_key: Any) -> None:
    event = create_event(state_key=state_key)
    with pytest.raises(InvalidPdu):
        room_id_of(event)
    refused(event, VERSIONS)
    del event["state_key"]
    with pytest.raises(InvalidPdu):
        room_id_of(event)


def test_other_events_of_version_12_need_a_room_id() -> None:
    event = signed_event(V12)
    assert room_id_of(event) == ROOM
    del event["room_id"]
    with pytest.raises(InvalidPdu):
        room_id_of(event)


@pytest.mark.parametrize("room_id", [None, 1, [], {}, "", "room", "#a:b", "!" + "a" * 255])
def test_room_id_that_is_none(room_id: Any) -> None:
    with pytest.raises(InvalidPdu, match="room_id"):
        room_id_of({"type": "m.room.message", "room_id": room_id})


def test_reasons_are_short_sentences_without_the_value() -> None:
    hostile = "<script>" * 1000
    for field in signed_event(V11):
        event = signed_event(V11) | {field: hostile}
        for reason in refused(event, [V11]):
            assert "script" not in reason
            assert len(reason) < 120
            assert reason.endswith(".")
