"""What servers propose as our join or leave, and what we make of it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.event_hash import content_hash_matches, sign_event, signing_bytes
from policybot.protocol.member_event import (
    Change,
    InvalidTemplate,
    MemberEvent,
    finish_member_event,
)
from policybot.protocol.pdu import MAX_PDU_BYTES, parse_pdu
from policybot.protocol.room_version import ROOM_VERSIONS, RoomVersion, UnknownRoomVersion
from policybot.protocol.signing import SigningKey, signature_of

from .conftest import Synapse
from .events import (
    KEY_ID,
    NAME,
    SEED,
    SENDER_KEY,
    SENDER_KEY_ID,
    VERSIONS,
    bare_event,
    contents,
    json_values,
    signed_event,
    steady,
)

KEY = SigningKey.from_base64(SEED)
USER = f"@policy:{NAME}"
ROOM = "!room:example.org"
NOW_MS = 1_800_000_000_000

each_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
each_change = pytest.mark.parametrize("change", Change)


def proposal(version: RoomVersion, change: Change = Change.JOIN, **fields: Any) -> JsonObject:
    """A good answer to make_join or make_leave, apart from the fields."""
    event = bare_event(version, type="m.room.member", sender=USER, state_key=USER)
    event["content"] = {"membership": change.value}
    event.pop("event_id", None)
    event.update(fields)
    return {"room_version": version.name, "event": event}


def finished(answer: Any, change: Change = Change.JOIN) -> MemberEvent:
    return finish_member_event(answer, change, ROOM, USER, NOW_MS, KEY_ID, KEY)


@each_version
@each_change
def test_the_same_hash_id_and_signature_as_synapse(
    version: RoomVersion, change: Change, synapse: Synapse
) -> None:
    event, made_for, event_id = finished(proposal(version, change), change)
    theirs = synapse.ask(event, version)
    assert made_for is version
    assert event_id == theirs["event_id"]
    assert event["hashes"] == {"sha256": theirs["content_hash"]}
    assert event["signatures"] == {NAME: {KEY_ID: theirs["signature"]}}


@each_version
@each_change
def test_the_event_is_made_of_known_fields(version: RoomVersion, change: Change) -> None:
    extra: JsonObject = {
        "content": {
            "membership": change.value,
            "displayname": "somebody else",
            "third_party_invite": {"signed": {}},
            "is_direct": 1.5,
        },
        "event_id": "$chosen:evil.example",
        "hashes": {"sha256": "chosen", "md5": 1.5},
        "membership": "ban",
        "origin": "evil.example",
        "origin_server_ts": 1,
        "prev_state": [1.5],
        "redacts": "$other",
        "signatures": {NAME: {KEY_ID: "chosen"}, "evil.example": {"ed25519:1": "chosen"}},
        "unsigned": {"age": 1.5},
    }
    event = finished(proposal(version, change, **extra), change).event
    template = bare_event(version)
    expected = {
        "type": "m.room.member",
        "room_id": ROOM,
        "sender": USER,
        "state_key": USER,
        "content": {"membership": change.value},
        "origin": NAME,
        "origin_server_ts": NOW_MS,
        "depth": template["depth"],
        "auth_events": template["auth_events"],
        "prev_events": template["prev_events"],
    }
    made = {"hashes", "signatures"}
    if version.event_id_in_event:
        made.add("event_id")
        assert event["event_id"].endswith(f":{NAME}")
        assert event["event_id"] != finished(proposal(version, change), change).event["event_id"]
    assert {key: value for key, value in event.items() if key not in made} == expected
    assert event.keys() == expected.keys() | made
    assert event["signatures"].keys() == {NAME}
    assert content_hash_matches(parse_pdu(event, version, ROOM))


@each_version
def test_who_lets_the_user_in_is_kept_where_rooms_know_of_it(version: RoomVersion) -> None:
    content = {"membership": "join", "join_authorised_via_users_server": "@mod:example.org"}
    event = finished(proposal(version, content=content)).event
    assert event["content"] == (content if version.restricted_joins else {"membership": "join"})
    content["membership"] = "leave"
    event = finished(proposal(version, Change.LEAVE, content=content), Change.LEAVE).event
    assert event["content"] == {"membership": "leave"}


@pytest.mark.parametrize(
    "authoriser", [None, "", "mod", "@mod", 7, ["@mod:example.org"], "@" + "m" * 300 + ":e.org"]
)
def test_an_odd_authoriser_is_refused(authoriser: Any) -> None:
    content = {"membership": "join", "join_authorised_via_users_server": authoriser}
    with pytest.raises(InvalidTemplate, match="no user"):
        finished(proposal(ROOM_VERSIONS["11"], content=content))


@each_version
@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"room_id": "!other:example.org"}, "another room_id"),
        ({"sender": f"@other:{NAME}"}, "another sender"),
        ({"sender": "@policy:example.org"}, "another sender"),
        ({"sender": None}, "another sender"),
        ({"state_key": f"@other:{NAME}"}, "another state_key"),
        ({"state_key": ""}, "another state_key"),
        ({"type": "m.room.power_levels"}, "another type"),
        ({"type": ["m.room.member"]}, "another type"),
        ({"content": {"membership": "ban"}}, "another membership"),
        ({"content": {"membership": "leave"}}, "another membership"),
        ({"content": {"membership": True}}, "another membership"),
        ({"content": {}}, "another membership"),
        ({"content": "join"}, "another membership"),
        ({"depth": 7.0}, "depth must be an integer"),
        ({"depth": -1}, "depth is out of range"),
        ({"depth": 2**64}, "depth is out of range"),
        ({"depth": True}, "depth must be an integer"),
        ({"depth": {"a": 1.5}}, "depth must be an integer"),
        ({"depth": None}, "depth must be an integer"),
        ({"prev_events": None}, "prev_events must be an array"),
        ({"auth_events": {}}, "auth_events must be an array"),
        ({"prev_events": [7]}, "wrong form|must hold event IDs"),
        ({"prev_events": [["$a:b.org"]]}, "wrong form|must hold event IDs"),
        ({"prev_events": [["$a:b.org", "hash"]]}, "wrong form|must hold event IDs"),
        ({"auth_events": ["$" + "a" * 300]}, "wrong form|must hold event IDs"),
    ],
)
def test_another_or_a_malformed_event_is_refused(
    version: RoomVersion, fields: JsonObject, text: str
) -> None:
    with pytest.raises(InvalidTemplate, match=text):
        finished(proposal(version, **fields))


@each_version
def test_too_many_references_are_refused(version: RoomVersion) -> None:
    reference = bare_event(version)["prev_events"]
    most = proposal(version, auth_events=reference * 10, prev_events=reference * 20)
    assert len(finished(most).event["prev_events"]) == 20
    for field, count in (("auth_events", 11), ("prev_events", 21)):
        with pytest.raises(InvalidTemplate, match=field):
            finished(proposal(version, **{field: reference * count}))


@pytest.mark.parametrize("name", ["1", "2"])
def test_references_of_old_rooms_carry_nothing_but_the_hash(name: str) -> None:
    version = ROOM_VERSIONS[name]
    pair = ["$a:b.org", {"sha256": "x", "more": {"depth": 1.5}}]
    assert finished(proposal(version, prev_events=[pair])).event["prev_events"] == [
        ["$a:b.org", {"sha256": "x"}]
    ]
    for hashes in ({}, {"md5": "x"}, {"sha256": 1.5}):
        answer = proposal(version, prev_events=[["$a:b.org", hashes]])
        assert finished(answer).event["prev_events"] == [["$a:b.org", {}]]
    pair = ["$a:b.org", {"sha256": "x" * MAX_PDU_BYTES}]
    with pytest.raises(InvalidTemplate, match="bytes"):
        finished(proposal(version, prev_events=[pair]))


@pytest.mark.parametrize(
    "answer", [None, [], "{}", {}, {"event": None}, {"room_version": "11", "event": []}]
)
def test_an_answer_without_an_event_is_refused(answer: Any) -> None:
    with pytest.raises(InvalidTemplate, match="proposes no event"):
        finished(answer)


@each_version
@settings(steady(30))
@given(data=st.data())
def test_whatever_is_proposed_nothing_else_is_signed(
    version: RoomVersion, data: st.DataObject
) -> None:
    answer = proposal(version)
    values = json_values(strict=False)
    event = answer["event"]
    for field in data.draw(st.sets(st.sampled_from([*event, "hashes", "more"]), max_size=3)):
        event[field] = data.draw(values | st.lists(values, max_size=2))
    if data.draw(st.booleans()):
        event["content"] = {"membership": "join", **data.draw(contents(version))}
    try:
        made = finished(answer).event
    except InvalidTemplate:
        return
    assert made["content"].pop("membership") == "join"
    assert made["content"].keys() <= {"join_authorised_via_users_server"}
    assert (made["type"], made["room_id"]) == ("m.room.member", ROOM)
    assert (made["sender"], made["state_key"]) == (USER, USER)


def test_the_room_version() -> None:
    answer = proposal(ROOM_VERSIONS["1"])
    del answer["room_version"]
    assert finished(answer).version.name == "1"
    answer["room_version"] = 11
    with pytest.raises(InvalidTemplate, match="must be a string"):
        finished(answer)
    for unknown in ("13", "", "org.matrix.msc1234"):
        answer["room_version"] = unknown
        with pytest.raises(UnknownRoomVersion):
            finished(answer)


def test_sign_event_adds_to_the_signatures_that_are_there() -> None:
    version = ROOM_VERSIONS["11"]
    invite = signed_event(
        version, type="m.room.member", state_key=USER, content={"membership": "invite"}
    )
    signed = sign_event(invite, version, NAME, KEY_ID, KEY)
    covered = signing_bytes(invite, version)
    for name, key_id, key in ((NAME, KEY_ID, KEY), ("example.org", SENDER_KEY_ID, SENDER_KEY)):
        signature = signature_of(signed, name, key_id)
        assert signature is not None and key.verify_key.verify(covered, signature)
    assert NAME not in invite["signatures"]
