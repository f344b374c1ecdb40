"""Whatever comes over the network ends in a value or in one of our errors."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policybot.protocol.canonical_json import (
    InvalidJson,
    JsonObject,
    canonical_json,
    parse_json,
)
from policybot.protocol.event_hash import (
    content_hash,
    content_hash_matches,
    event_id,
    pdu_signing_bytes,
    signing_bytes,
)
from policybot.protocol.pdu import InvalidPdu, parse_pdu, room_id_of
from policybot.protocol.policy_event import parse_policy_event
from policybot.protocol.redaction import redact
from policybot.protocol.room_version import (
    RoomVersion,
    UnknownRoomVersion,
    room_version_of,
)
from policybot.protocol.server_keys import InvalidServerKeys, parse_server_keys
from policybot.protocol.signing import sign_json, verify_json

from .events import SENDER_KEY, VERSIONS, json_values, signed_event, steady

FIELDS = [
    "auth_events",
    "content",
    "depth",
    "event_id",
    "hashes",
    "origin_server_ts",
    "prev_events",
    "room_id",
    "sender",
    "signatures",
    "state_key",
    "type",
    "unsigned",
]

values = json_values(strict=False) | st.sampled_from(
    ["m.room.create", "m.room.member", "", "@u:example.org", "!r:example.org", [], {}, 0]
)


def check_event(event: JsonObject, version: RoomVersion) -> None:
    redact(event, version)
    signing_bytes(event, version)
    content_hash(event)
    try:
        pdu = parse_pdu(event, version, room_id_of(event))
    except InvalidPdu as error:
        assert len(str(error)) < 120
        return
    assert pdu_signing_bytes(pdu) == signing_bytes(event, version)
    content_hash_matches(pdu)
    event_id(event, version)
    assert verify_json(
        sign_json(event, "x", "ed25519:y", SENDER_KEY), "x", "ed25519:y", SENDER_KEY.verify_key
    )


@steady(250)
@given(st.dictionaries(st.sampled_from(FIELDS), values, max_size=4), st.sampled_from(VERSIONS))
def test_an_event_with_other_values(changes: JsonObject, version: RoomVersion) -> None:
    check_event({**signed_event(version), **changes}, version)


@steady(200)
@given(
    st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), values, max_size=6),
    st.sampled_from(VERSIONS),
)
def test_any_object_as_an_event(event: JsonObject, version: RoomVersion) -> None:
    check_event(event, version)


@steady(200)
@given(st.data(), st.sampled_from(VERSIONS))
def test_damaged_text_of_an_event(data: st.DataObject, version: RoomVersion) -> None:
    text = json.dumps(signed_event(version)).encode()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 8)))
    inserted = data.draw(
        st.binary(max_size=6) | st.sampled_from([b"1e400", b"-0", b"\\ud800", b'"', b"1.5", b"{}"])
    )
    try:
        event = parse_json(text[:start] + inserted + text[end:])
    except InvalidJson:
        return
    if isinstance(event, dict):
        check_event(event, version)


@steady(200)
@given(values, st.text(max_size=5))
def test_other_documents(value: Any, text: str) -> None:
    parse_policy_event(value)
    parse_policy_event({"via": value, "public_keys": value, "public_key": value})
    parse_policy_event({"via": "a", "public_keys": {"ed25519": value}})
    entry = {"ed25519:a": {"key": value, "expired_ts": value}, text: value}
    for document in (
        value,
        {"server_name": "a", "verify_keys": value, "valid_until_ts": value},
        {
            "server_name": "a",
            "verify_keys": {**entry, "ed25519:x": {"key": SENDER_KEY.public_key}},
            "old_verify_keys": entry,
            "valid_until_ts": 1,
            "signatures": {"a": {"ed25519:x": value}},
        },
    ):
        with pytest.raises(InvalidServerKeys):
            parse_server_keys(document, "a")
    try:
        room_version_of({"room_version": value})
    except UnknownRoomVersion:
        pass


@pytest.mark.parametrize("levels", [10, 99])
def test_deep_values_pass_through_everything(levels: int) -> None:
    value = parse_json(b'{"a":' * levels + b"1" + b"}" * levels)
    for version in VERSIONS:
        check_event({**signed_event(version), "content": value}, version)
        check_event({**signed_event(version), "extra": value}, version)
    canonical_json({"content": value})
