"""Vectors computed with an implementation of their own and confirmed with Synapse, and what our
functions promise each other."""

import base64
from typing import Any

import pytest

from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.event_hash import (
    content_hash,
    content_hash_matches,
    event_id,
    event_id_of,
    pdu_signing_bytes,
    reference_hash,
    reference_hash_of,
    signing_bytes,
)
from policybot.protocol.pdu import parse_pdu
from policybot.protocol.room_version import ROOM_VERSIONS, RoomVersion
from policybot.protocol.signing import SigningKey

from .events import SEED, VERSIONS, bare_event, signed_event

BASE: JsonObject = {
    "auth_events": ["$a", "$b"],
    "prev_events": ["$c"],
    "depth": 7,
    "origin_server_ts": 1700000000000,
    "room_id": "!r:example.org",
    "sender": "@u:example.org",
}
A: JsonObject = {
    **BASE,
    "type": "m.room.message",
    "content": {"msgtype": "m.text", "body": "hello é"},
}
B: JsonObject = {**A, "origin": "example.org"}
C: JsonObject = {
    **BASE,
    "type": "m.room.member",
    "state_key": "@u:example.org",
    "content": {
        "membership": "join",
        "displayname": "U",
        "join_authorised_via_users_server": "@m:example.org",
    },
}
D: JsonObject = {
    **BASE,
    "type": "m.room.redaction",
    "content": {"reason": "r", "redacts": "$x"},
}
E: JsonObject = {
    **BASE,
    "type": "m.room.power_levels",
    "state_key": "",
    "content": {
        "ban": 50,
        "invite": 50,
        "notifications": {"room": 50},
        "users": {"@u:example.org": 100},
    },
}
F: JsonObject = {
    **BASE,
    "type": "m.room.join_rules",
    "state_key": "",
    "content": {
        "join_rule": "restricted",
        "allow": [{"type": "m.room_membership", "room_id": "!s:example.org"}],
    },
}
HASH_A = "CqPX9rQSVXMK/4OpHmk8fm7zMjtZXIOKBKyef6bbHPA"
HASH_B = "APv7zvLxJqitSuwEqM8n6ipCLvewdZEPLteeLISUX84"
HASH_C = "E5pj6Ojr82YjBzxBtFn/01aQa9XfUcvjSYTSXRnZr2E"
HASH_D = "Lz68te+dQTmGgSAxm7V8qmkrD88m/p6Lpwn+4q3VpB8"
HASH_E = "kMxrf2bQm1nk47M0AdS46+Te6ZHlyLjlz8lefqCni2I"
HASH_F = "GFeG5HRh8lNV2HypPUUa2gcEgMRLZwQRj45u4+0LVe8"
SIGNATURE_A = (
    "gaGvfqstOCmRj/wLOFptu3Qt8w6/eKVxmRlg50w2LR60ByoXyUCJJbwIq5aGN0boQBAoNwRnuz33NnW5J6lrDA"
)

# event, content hash, first version, last version, event ID, signature
VECTORS: list[tuple[JsonObject, str, int, int, str, str]] = [
    (A, HASH_A, 3, 3, "$BV4PCQTs1+hNBV0yuD5ZeUY7F0eK8kIn1IwGMveOgxc", SIGNATURE_A),
    (A, HASH_A, 4, 12, "$BV4PCQTs1-hNBV0yuD5ZeUY7F0eK8kIn1IwGMveOgxc", SIGNATURE_A),
    (
        B,
        HASH_B,
        3,
        10,
        "$WUogbeWZAttqdoKmxwXEGGAEByQwWXpQ7gvjx80qMnk",
        "J4AKYbuxwhuxeYSbJTl4D9E4Gfv2Li8unS8DTSbb+9v1zAHXKXK8XYACpq68APzP7juYrVfQotswOWmVC1WvDw",
    ),
    (
        B,
        HASH_B,
        11,
        12,
        "$48lkq8m34U5m3pvcm77gB2srOKu8wiZ8qbA1zewAmWY",
        "00wU6VzlehO+fhaqwMZB0z36mlUsOzfJ7Gv6sLXHJ9l4KKQsBTiGcs9ddOxQ33RG9y4qahDppjDyk1sNua2zBg",
    ),
    (
        C,
        HASH_C,
        4,
        8,
        "$5ToLoc3bjp97XyIr6HRSF4aIfo_8jjEA4NR1o82fmNI",
        "70DqKv0baD18YXVdKMR13LQOxsQi+MNg1kGsz4528LrM1kCTFrp4NXa/fpyoY1oC6IjaY+FN3FZ9KLYPIw5mCA",
    ),
    (
        C,
        HASH_C,
        9,
        12,
        "$N6f9Dgsp0a-tnP9kP2Q1e-T-_d_sW66Lx_RuY0h53oE",
        "WLIovv+6NXceh+3EaZEfvGnUlXW7Smeme7wMLZ1zlbpEdfy0TylD+I7Gnabrl5Om2qlqaVeSW+gSR3BFkBxfBA",
    ),
    (
        D,
        HASH_D,
        4,
        10,
        "$X4nPsnVorH3qPQb2HkeQtOanvhDwWmnoQ5zLiV4TFV4",
        "2PfmEsR9eidJUgKA4lPO/+ZoesxmdQxpYgplDeg5EQQN7KU9V2/m/xl+1TVpKV9GcDFB/X2gmu+xArpMFMJyCg",
    ),
    (
        D,
        HASH_D,
        11,
        12,
        "$H5w48iV8sD4zb6DzcixgR0PW6SfCn1MruqVBFLBbZPs",
        "i+wl+Rl28h/kjufirxM9k/BVAre0BWcvv2GZqS8qVhxwZ2Q3i0wRc6NAYhe7Oywj2TyrQ15CKOoZwnJvI7J1DA",
    ),
    (
        E,
        HASH_E,
        4,
        10,
        "$nx1lkuA_2fYgDgZiQMHVoXoXjCTmHzs_yxsjvLR9fUI",
        "/waRrBZn2T9wRtgQtIgWV1TxBYqzI0Rxs8c2ThkH31Ey261IHC/5qtOYCAbwc0sdwrBRvZcreYfo33ESDrvbAg",
    ),
    (
        E,
        HASH_E,
        11,
        12,
        "$9wu3LaEEyyCEY6f7V1FqTFHcfchEFzFGBBHV98zSRW0",
        "9k5aYPA8DXQ9Pl0cl/8Inm84Li2Er2N0Se9wnUfZQg2OEY6T29SwajM+ICmCsLBKgAwratkp7a9A8OUm2067AQ",
    ),
    (
        F,
        HASH_F,
        4,
        6,
        "$7cPjcW6tbSCQBGs6622Pp-Bwyv4bykSR9TCeahiB3Vw",
        "grfwVudv+Y7wI2nZXNAKynpcmPDCMsVQIgYQpjYBXzSK0fkAH7J+hkdhu5HGKeK2HJX2AKQI6/yJwoaICILdDA",
    ),
    (
        F,
        HASH_F,
        8,
        12,
        "$iT2UZSTGgD5e_-5tc6db_BgwG7zknlgkY2oN58FTWDc",
        "NdESm9Fll1SZxm+deR8gFGrlAFfmG7aKeLkuROcpRErikZDNgbOqDXeXTgzZ6gNVGGEkpDOoBW7eN4hnpZkcBQ",
    ),
]


@pytest.mark.parametrize(("event", "sha256", "first", "last", "expected_id", "signature"), VECTORS)
def test_vectors(
    event: JsonObject, sha256: str, first: int, last: int, expected_id: str, signature: str
) -> None:
    key = SigningKey.from_base64(SEED)
    assert content_hash(event) == sha256
    hashed = {**event, "hashes": {"sha256": sha256}}
    for number in range(first, last + 1):
        version = ROOM_VERSIONS[str(number)]
        assert event_id(hashed, version) == expected_id
        assert key.sign(signing_bytes(hashed, version)) == signature


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_signatures_and_unsigned_do_not_count(version: RoomVersion) -> None:
    event = signed_event(version)
    other = {**event, "unsigned": {"age": 1.5}, "signatures": {"a": {"ed25519:b": "c"}}}
    assert content_hash(other) == content_hash(event) == event["hashes"]["sha256"]
    assert signing_bytes(other, version) == signing_bytes(event, version)
    assert reference_hash(other, version) == reference_hash_of(signing_bytes(event, version))


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_the_reference_hash_covers_content_only_by_its_hash(version: RoomVersion) -> None:
    event = signed_event(version)
    hidden = {**event, "content": {}}
    assert reference_hash(hidden, version) == reference_hash(event, version)
    assert not content_hash_matches(parse_pdu(hidden, version, event["room_id"]))
    assert reference_hash(signed_event(version, depth=8), version) != reference_hash(
        event, version
    )


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_the_fast_form_gives_the_same_bytes(version: RoomVersion) -> None:
    event = signed_event(version, unsigned={"age": 1.5}, extra={"a": None})
    pdu = parse_pdu(event, version, event["room_id"])
    assert pdu_signing_bytes(pdu) == signing_bytes(event, version)
    assert content_hash_matches(pdu)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_event_id(version: RoomVersion) -> None:
    event = signed_event(version)
    if version.event_id_in_event:
        assert event_id(event, version) == "$own:example.org"
        other = {**event, "event_id": "$other:example.org"}
        assert reference_hash(event, version) != reference_hash(other, version)
    else:
        assert event_id(event, version) == event_id_of(reference_hash(event, version), version)
        assert reference_hash({**event, "event_id": "$x"}, version) == reference_hash(
            event, version
        )


@pytest.mark.parametrize(
    "write",
    [
        lambda digest: base64.b64encode(digest).decode(),
        lambda digest: base64.urlsafe_b64encode(digest).decode(),
        lambda digest: base64.urlsafe_b64encode(digest).decode().rstrip("="),
    ],
)
def test_other_spellings_of_the_content_hash(write: Any) -> None:
    version = ROOM_VERSIONS["11"]
    event = signed_event(version, content={"body": "hello é"})
    digest = base64.b64decode(event["hashes"]["sha256"] + "=")
    event["hashes"] = {"sha256": write(digest)}
    assert content_hash_matches(parse_pdu(event, version, event["room_id"]))


@pytest.mark.parametrize("stated", ["", "x", "é", "A" * 43, "A" * 60_000, "=", "\0", "!" * 43])
def test_wrong_content_hash(stated: str) -> None:
    version = ROOM_VERSIONS["11"]
    event = {**bare_event(version), "hashes": {"sha256": stated}, "signatures": {}}
    assert not content_hash_matches(parse_pdu(event, version, event["room_id"]))
