"""Events for tests: fixed ones, and hypothesis strategies for events of each room version."""

import string
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from policybot.protocol.canonical_json import MAX_SAFE_INTEGER, JsonObject
from policybot.protocol.event_hash import content_hash, signing_bytes
from policybot.protocol.room_version import ROOM_VERSIONS, RoomVersion
from policybot.protocol.signing import SigningKey

NAME = "policy.example.org"
KEY_ID = "ed25519:policy_server"
SEED = "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1"

VERSIONS = tuple(ROOM_VERSIONS.values())

SENDER_KEY = SigningKey(b"sender's key for the tests......")
SENDER_KEY_ID = "ed25519:a_key"


def steady(examples: int) -> settings:
    """Settings under which each run tries the same inputs and no clock decides."""
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None)


def bare_event(version: RoomVersion, **fields: Any) -> JsonObject:
    """A message without hashes and signatures, in the format of the version."""
    reference: Any = "$" + "a" * 43
    if version.event_id_in_event:
        reference = ["$one:example.org", {"sha256": "a" * 43}]
    event: JsonObject = {
        "type": "m.room.message",
        "content": {"msgtype": "m.text", "body": "hello"},
        "auth_events": [reference],
        "prev_events": [reference],
        "depth": 7,
        "origin_server_ts": 1700000000000,
        "room_id": "!room:example.org",
        "sender": "@user:example.org",
    }
    if version.event_id_in_event:
        event["event_id"] = "$own:example.org"
    event.update(fields)
    return event


def signed_event(version: RoomVersion, **fields: Any) -> JsonObject:
    """An event with its content hash and the signature of its sender's server."""
    return sign_event(bare_event(version, **fields), version)


def sign_event(event: JsonObject, version: RoomVersion) -> JsonObject:
    """A copy with content hash and signature, as example.org."""
    event = {**event, "hashes": {"sha256": content_hash(event)}}
    signature = SENDER_KEY.sign(signing_bytes(event, version))
    event["signatures"] = {"example.org": {SENDER_KEY_ID: signature}}
    return event


def json_values(*, strict: bool) -> st.SearchStrategy[Any]:
    """Any JSON value; with ``strict`` only what room versions 6 and later allow."""
    integers = st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
    leaves: st.SearchStrategy[Any] = st.none() | st.booleans() | integers | st.text(max_size=8)
    if not strict:
        leaves |= st.integers() | st.floats(allow_nan=False, allow_infinity=False)
        leaves |= st.sampled_from([2**53, 2**63, 2**64, -(2**63) - 1, 10**30, 1e16, 1e-7, -0.0])
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=6,
    )


_CONTENT_KEYS = [
    "aliases",
    "allow",
    "ban",
    "body",
    "creator",
    "events",
    "events_default",
    "history_visibility",
    "invite",
    "join_authorised_via_users_server",
    "join_rule",
    "kick",
    "membership",
    "notifications",
    "reason",
    "redact",
    "redacts",
    "room_version",
    "state_default",
    "third_party_invite",
    "users",
    "users_default",
    "via",
]

_TYPES = [
    "m.policy.rule.user",
    "m.room.aliases",
    "m.room.create",
    "m.room.encrypted",
    "m.room.history_visibility",
    "m.room.join_rules",
    "m.room.member",
    "m.room.message",
    "m.room.policy",
    "m.room.power_levels",
    "m.room.redaction",
    "m.room.server_acl",
    "m.room.third_party_invite",
]

_OPAQUE = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)


@st.composite
def contents(draw: st.DrawFn, version: RoomVersion) -> JsonObject:
    """The content of an event, with the keys that redaction looks at."""
    values = json_values(strict=version.strict_json)
    keys = st.sampled_from(_CONTENT_KEYS) | st.text(max_size=5)
    content = draw(st.dictionaries(keys, values, max_size=6))
    if draw(st.booleans()):
        invite: st.SearchStrategy[JsonObject] = st.fixed_dictionaries(
            {}, optional={"signed": values, "display_name": values}
        )
        content["third_party_invite"] = draw(invite)
    return content


@st.composite
def events(draw: st.DrawFn, version: RoomVersion, event_type: str | None = None) -> JsonObject:
    """An event that Synapse takes, of the type or any, with extra fields; hashes are any text.

    Without ``age_ts``, ``outlier`` and ``destinations`` at the top level: Synapse leaves these
    out of the content hash, the specification does not.
    """
    values = json_values(strict=version.strict_json)
    event = bare_event(version)
    event["type"] = event_type or draw(st.sampled_from(_TYPES) | st.text(max_size=10))
    event["content"] = draw(contents(version))
    event["sender"] = f"@{draw(_OPAQUE)}:{draw(_OPAQUE)}.example.org"
    event["depth"] = draw(st.integers(0, MAX_SAFE_INTEGER))
    event["origin_server_ts"] = draw(st.integers(0, MAX_SAFE_INTEGER))
    event["hashes"] = {"sha256": draw(_OPAQUE)}
    event["signatures"] = draw(
        st.dictionaries(_OPAQUE, st.dictionaries(_OPAQUE, _OPAQUE, max_size=2), max_size=2)
    )
    if draw(st.booleans()):
        event["state_key"] = draw(st.sampled_from(["", event["sender"]]) | st.text(max_size=10))
    for field in draw(st.sets(st.sampled_from(["origin", "membership", "prev_state", "extra"]))):
        event[field] = draw(values)
    if draw(st.booleans()):
        event["redacts"] = "$" + draw(_OPAQUE)
    if draw(st.booleans()):
        event["unsigned"] = {"age": 5, "other": draw(values)}
    if version.room_id_is_create_hash and event["type"] == "m.room.create":
        del event["room_id"]
        event["state_key"] = ""
    return event


def json_lookalikes() -> st.SearchStrategy[bytes]:
    """Bytes that are JSON, nearly JSON, or made of the pieces on which parsers differ."""
    pieces = st.sampled_from(
        [
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b'"',
            b'"a"',
            b'"a":',
            b" ",
            b"\n",
            b"-0",
            b"-",
            b"0",
            b"1",
            b"01",
            b"1.",
            b".5",
            b"1.5",
            b"1e5",
            b"1E400",
            b"-1E400",
            b"1E-400",
            b"9007199254740993",
            b"9223372036854775808",
            b"18446744073709551616",
            b"9" * 400,
            b"9" * 5000,
            b"NaN",
            b"Infinity",
            b"-Infinity",
            b"null",
            b"true",
            b'"\\u0000"',
            b'"\\ud800"',
            b'"\\udc00\\ud800"',
            b'"\\ud83d\\ude00"',
            b'"\\uD800\\u0041"',
            b"\\",
            b"\x00",
            b"\x0c",
            b"\xef\xbb\xbf",
            b"\xff\xfe",
            b"\xe2\x80\xa8",
            b"\xc2\xa0",
            b"\xed\xa0\x80",
            b'"\xe2\x80\xa8"',
            b'"\x7f"',
            b'"\x1f"',
            b"[" * 120,
            b"]" * 120,
            b'{"a":' * 60,
            b"}" * 60,
        ]
    )
    return st.lists(pieces, max_size=12).map(b"".join) | st.binary(max_size=40)
