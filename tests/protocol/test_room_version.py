from typing import Any

import pytest

from policybot.protocol.room_version import (
    ROOM_VERSIONS,
    EventIdFormat,
    UnknownRoomVersion,
    room_version,
    room_version_of,
)


def names(property_name: str, value: Any = True) -> list[int]:
    return [int(v.name) for v in ROOM_VERSIONS.values() if getattr(v, property_name) == value]


@pytest.mark.parametrize(
    ("property_name", "first", "last"),
    [
        ("event_id_in_event", 1, 2),
        ("keys_expire", 5, 12),
        ("strict_json", 6, 12),
        ("redaction_keeps_aliases", 1, 5),
        ("knocking", 7, 12),
        ("restricted_joins", 8, 12),
        ("redaction_keeps_join_allow", 8, 12),
        ("redaction_keeps_join_authoriser", 9, 12),
        ("knock_restricted", 10, 12),
        ("integer_power_levels", 10, 12),
        ("redaction_updated", 11, 12),
        ("redacts_in_content", 11, 12),
        ("creator_is_sender", 11, 12),
        ("room_id_is_create_hash", 12, 12),
        ("creators_unlimited", 12, 12),
    ],
)
def test_which_versions_have_a_property(property_name: str, first: int, last: int) -> None:
    assert names(property_name) == list(range(first, last + 1))


def test_event_id_formats() -> None:
    assert names("event_id_format", EventIdFormat.IN_EVENT) == [1, 2]
    assert names("event_id_format", EventIdFormat.HASH_BASE64) == [3]
    assert names("event_id_format", EventIdFormat.HASH_URLSAFE) == list(range(4, 13))


def test_look_up() -> None:
    assert room_version("11").name == "11"
    assert room_version_of({"room_version": "6"}).name == "6"
    assert room_version_of({}).name == "1"


@pytest.mark.parametrize("name", ["", "0", "13", "01", " 1", "org.example.x", "9" * 10_000])
def test_unknown_version(name: str) -> None:
    with pytest.raises(UnknownRoomVersion) as caught:
        room_version(name)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("name", [None, 1, 11, ["11"], {"a": 1}, True, 1.0])
def test_version_that_is_no_string(name: Any) -> None:
    with pytest.raises(UnknownRoomVersion):
        room_version_of({"room_version": name})
