from typing import Any

import pytest

from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.redaction import redact
from policybot.protocol.room_version import ROOM_VERSIONS

from .events import VERSIONS, bare_event

ALL = range(1, 13)

# event type, content key, versions which keep it
KEPT: list[tuple[str, str, range]] = [
    ("m.room.member", "membership", ALL),
    ("m.room.member", "join_authorised_via_users_server", range(9, 13)),
    ("m.room.member", "displayname", range(0)),
    ("m.room.create", "creator", ALL),
    ("m.room.create", "room_version", range(11, 13)),
    ("m.room.join_rules", "join_rule", ALL),
    ("m.room.join_rules", "allow", range(8, 13)),
    ("m.room.power_levels", "ban", ALL),
    ("m.room.power_levels", "events", ALL),
    ("m.room.power_levels", "events_default", ALL),
    ("m.room.power_levels", "kick", ALL),
    ("m.room.power_levels", "redact", ALL),
    ("m.room.power_levels", "state_default", ALL),
    ("m.room.power_levels", "users", ALL),
    ("m.room.power_levels", "users_default", ALL),
    ("m.room.power_levels", "invite", range(11, 13)),
    ("m.room.power_levels", "notifications", range(0)),
    ("m.room.aliases", "aliases", range(1, 6)),
    ("m.room.history_visibility", "history_visibility", ALL),
    ("m.room.redaction", "redacts", range(11, 13)),
    ("m.room.redaction", "reason", range(0)),
    ("m.room.policy", "via", range(0)),
    ("m.room.server_acl", "deny", range(0)),
    ("m.room.message", "body", range(0)),
    ("m.room.message", "membership", range(0)),
]


@pytest.mark.parametrize(("event_type", "key", "versions"), KEPT)
def test_content(event_type: str, key: str, versions: range) -> None:
    for version in VERSIONS:
        event = bare_event(version, type=event_type, content={key: 1})
        expected = {key: 1} if int(version.name) in versions else {}
        assert redact(event, version)["content"] == expected, version.name


@pytest.mark.parametrize(
    ("field", "versions"),
    [
        ("origin", range(1, 11)),
        ("membership", range(1, 11)),
        ("prev_state", range(1, 11)),
        ("unsigned", range(0)),
        ("redacts", range(0)),
        ("extra", range(0)),
        ("state_key", ALL),
        ("signatures", ALL),
        ("hashes", ALL),
    ],
)
def test_top_level(field: str, versions: range) -> None:
    for version in VERSIONS:
        event = bare_event(version, **{field: "x"})
        assert (field in redact(event, version)) == (int(version.name) in versions), version.name


@pytest.mark.parametrize(
    ("invite", "kept"),
    [
        ({"signed": {"token": "x"}, "display_name": "y"}, {"signed": {"token": "x"}}),
        ({"signed": None}, {"signed": None}),
        ({"display_name": "y"}, {}),
    ],
)
def test_third_party_invite(invite: JsonObject, kept: JsonObject) -> None:
    for version in VERSIONS:
        content = {"membership": "invite", "third_party_invite": invite}
        event = bare_event(version, type="m.room.member", content=content)
        expected: JsonObject = {"membership": "invite"}
        if version.redaction_updated:
            expected["third_party_invite"] = kept
        assert redact(event, version)["content"] == expected


@pytest.mark.parametrize("hostile", [None, 1, "x", [], [{}], True, 1.5, {}])
def test_hostile_fields(hostile: Any) -> None:
    for version in VERSIONS:
        event = bare_event(version)
        for field in event:
            redact({**event, field: hostile}, version)
        redact({}, version)
        member = {"membership": hostile, "third_party_invite": hostile}
        redact({**event, "type": "m.room.member", "content": member}, version)


def test_the_event_stays_as_it_is() -> None:
    event = bare_event(ROOM_VERSIONS["11"], unsigned={"age": 1})
    before = repr(event)
    redact(event, ROOM_VERSIONS["11"])
    assert repr(event) == before
