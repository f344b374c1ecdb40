from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policybot.policy.room import (
    ROOM_STATE,
    PowerCheck,
    ProtectedRoom,
    RoomMode,
    may_send_state,
    protected_room,
)
from policybot.protocol.policy_event import PolicyServer
from policybot.protocol.room_version import ROOM_VERSIONS, UnknownRoomVersion

ROOM = "!room:example.org"
CREATOR = "@creator:example.org"
KEY = "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI"

State = dict[tuple[str, str], dict[str, Any]]


def event(event_type: str, content: Any, sender: str = CREATOR) -> dict[str, Any]:
    return {"type": event_type, "state_key": "", "sender": sender, "content": content}


def state(version: str = "11", levels: Any = None, **contents: Any) -> State:
    create: dict[str, Any] = {"room_version": version}
    if not ROOM_VERSIONS[version].creator_is_sender:
        create["creator"] = CREATOR
    events = {"create": create, **contents}
    if levels is not None:
        events["power_levels"] = levels
    return {
        (f"m.room.{name}", ""): event(f"m.room.{name}", content)
        for name, content in events.items()
    }


def room(raw: State) -> ProtectedRoom:
    return protected_room(ROOM, "!mods:example.org", RoomMode.ENABLED, 1_700_000_000_000, raw)


def powerful(version: str, levels: Any) -> set[str]:
    return {user.partition(":")[0] for user in room(state(version, levels)).powerful}


def test_a_full_room() -> None:
    raw = state(
        "11",
        {"users": {CREATOR: 100}},
        join_rules={"join_rule": "public"},
        name={"name": " Our room "},
        policy={"via": "policy.example.org", "public_keys": {"ed25519": KEY}},
    )
    raw["org.matrix.msc4284.policy", ""] = event(
        "org.matrix.msc4284.policy", {"via": "other.example.org", "public_key": KEY}
    )
    assert room(raw) == ProtectedRoom(
        room_id=ROOM,
        version=ROOM_VERSIONS["11"],
        moderation_room="!mods:example.org",
        mode=RoomMode.ENABLED,
        enabled_ts=1_700_000_000_000,
        creators=frozenset(),
        powerful=frozenset({CREATOR}),
        policy=PolicyServer("policy.example.org", KEY),
        unstable_policy=PolicyServer("other.example.org", KEY),
        name="Our room",
        join_rule="public",
        tombstoned=False,
    )


def test_a_bare_room() -> None:
    bare = room(state("11"))
    assert (bare.policy, bare.unstable_policy, bare.name, bare.join_rule) == (
        None,
        None,
        "",
        "invite",
    )
    assert not bare.tombstoned


@pytest.mark.parametrize(
    "create",
    [None, {"content": {"room_version": "99"}}, {"content": {"room_version": 11}}, {}, []],
)
def test_unknown_room_versions(create: Any) -> None:
    raw = state()
    raw["m.room.create", ""] = create
    with pytest.raises(UnknownRoomVersion):
        room(raw)
    with pytest.raises(UnknownRoomVersion):
        may_send_state(raw, CREATOR, "m.room.policy")
    with pytest.raises(UnknownRoomVersion):
        room({})


def test_no_version_is_version_1() -> None:
    raw = state("1")
    del raw["m.room.create", ""]["content"]["room_version"]
    assert room(raw).version.name == "1"


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ({"users": {"@a:x": 50, "@b:x": 49, "@c:x": 100}}, {"@a", "@c"}),
        ({"users": {"@a:x": 50, "@b:x": 75}, "kick": 75}, {"@b"}),
        ({"users": {"@a:x": 1}, "kick": 0}, {"@a"}),
        # Everyone may kick: nobody is exempt by that alone.
        ({"users": {"@a:x": 0, "@b:x": -1}, "kick": 0}, set()),
        ({"users": {"@a:x": 50, "@b:x": 60, "@c:x": 61}, "users_default": 60}, {"@c"}),
        ({"users": {"@a:x": 5}, "kick": -10, "users_default": -20}, {"@a"}),
        ({"users": {"@a:x": -5}, "kick": -10, "users_default": -20}, {"@a"}),
        ({"users": {"@a:x": 100}, "ban": 1000}, {"@a"}),
        ({}, set()),
        ({"kick": 0}, set()),
    ],
)
@pytest.mark.parametrize("version", ["1", "9", "10", "12"])
def test_powerful_users(version: str, levels: Any, expected: set[str]) -> None:
    assert powerful(version, levels) == expected


@pytest.mark.parametrize(
    ("levels", "before_10", "from_10"),
    [
        ({"users": {"@a:x": "100"}}, {"@a"}, set()),
        ({"users": {"@a:x": " +050 "}}, {"@a"}, set()),
        ({"users": {"@a:x": "-100"}}, set(), set()),
        ({"users": {"@a:x": "1e3"}}, set(), set()),
        ({"users": {"@a:x": "٥٠٠"}}, set(), set()),
        ({"users": {"@a:x": "9" * 5000}}, set(), set()),
        ({"users": {"@a:x": 60}, "kick": "70"}, set(), {"@a"}),
        ({"users": {"@a:x": 60}, "users_default": "70"}, set(), {"@a"}),
    ],
)
def test_levels_as_strings(levels: Any, before_10: set[str], from_10: set[str]) -> None:
    assert powerful("9", levels) == before_10
    assert powerful("10", levels) == from_10


@pytest.mark.parametrize(
    "levels",
    [
        {"users": []},
        {"users": "text"},
        {"users": {"@a:x": True}},
        {"users": {"@a:x": None, "@b:x": [], "@c:x": {}, "@d:x": 99.5}},
        {"users": {"not a user": 100, "": 100, "@a": 100, "#a:x": 100}},
        {"users": {"@a:x": 40}, "kick": "many"},
        {"users": {"@a:x": 40}, "kick": False},
    ],
)
@pytest.mark.parametrize("version", ["5", "11"])
def test_hostile_power_levels(version: str, levels: Any) -> None:
    assert powerful(version, levels) == set()


def test_without_power_levels_the_creator_has_100() -> None:
    assert powerful("1", None) == {"@creator"}
    assert powerful("11", None) == {"@creator"}
    assert powerful("12", None) == set()  # he is above all levels


def test_creators_stand_above_all_levels_in_version_12() -> None:
    additional = ["@second:x", "not a user", 5, None, ["@third:x"], {"@fourth:x": 1}]
    raw = state("12", {"users": {"@mod:x": 100}})
    raw["m.room.create", ""]["content"]["additional_creators"] = additional
    assert room(raw).creators == {CREATOR, "@second:x"}
    assert room(raw).powerful == {"@mod:x"}
    raw["m.room.create", ""]["content"]["room_version"] = "11"
    assert room(raw).creators == frozenset()


@pytest.mark.parametrize("additional", [None, "@second:x", {"@second:x": 1}, 7])
def test_hostile_additional_creators(additional: Any) -> None:
    raw = state("12")
    raw["m.room.create", ""]["content"]["additional_creators"] = additional
    assert room(raw).creators == {CREATOR}
    raw["m.room.create", ""]["sender"] = additional
    assert room(raw).creators <= {"@second:x"}


@pytest.mark.parametrize(
    ("contents", "name"),
    [
        ({"name": {"name": "A"}, "canonical_alias": {"alias": "#a:x"}}, "A"),
        ({"name": {"name": "  "}, "canonical_alias": {"alias": "#a:x"}}, "#a:x"),
        ({"name": {"name": 5}, "canonical_alias": {"alias": []}}, ""),
        ({"name": {"name": "x" * 10_000}}, "x" * 255),
        ({"name": {"name": "a\ud800"}}, "a\ufffd"),
        ({"name": []}, ""),
    ],
)
def test_names(contents: Any, name: str) -> None:
    assert room(state("11", None, **contents)).name == name


@pytest.mark.parametrize(
    ("content", "tombstoned"),
    [({"replacement_room": "!new:x", "body": ""}, True), ({"body": "gone"}, True), ({}, False)],
)
def test_tombstones(content: Any, tombstoned: bool) -> None:
    assert room(state("11", None, tombstone=content)).tombstoned is tombstoned


@pytest.mark.parametrize(
    ("version", "levels", "user", "check"),
    [
        ("11", {"users": {"@a:x": 50}}, "@a:x", PowerCheck(50, 50)),
        ("11", {"users": {"@a:x": 50}}, "@b:x", PowerCheck(0, 50)),
        ("11", {"users_default": 50}, "@b:x", PowerCheck(50, 50)),
        ("11", {"state_default": 0}, "@b:x", PowerCheck(0, 0)),
        ("11", {"state_default": 0, "events": {"m.room.policy": 90}}, "@b:x", PowerCheck(0, 90)),
        ("11", {"events": {"m.room.policy": 0}}, "@b:x", PowerCheck(0, 0)),
        ("9", {"events": {"m.room.policy": "10"}}, "@b:x", PowerCheck(0, 10)),
        ("11", {"events": {"m.room.policy": "10"}}, "@b:x", PowerCheck(0, 50)),
        ("11", {"events": []}, "@b:x", PowerCheck(0, 50)),
        ("11", None, "@b:x", PowerCheck(0, 0)),
        ("11", None, CREATOR, PowerCheck(100, 0)),
        ("1", None, CREATOR, PowerCheck(100, 0)),
        ("11", {}, CREATOR, PowerCheck(0, 50)),
        ("12", {}, CREATOR, PowerCheck(None, 50)),
        ("12", {"state_default": 10**6}, CREATOR, PowerCheck(None, 10**6)),
        ("12", None, "@b:x", PowerCheck(0, 0)),
    ],
)
def test_may_send_state(version: str, levels: Any, user: str, check: PowerCheck) -> None:
    found = may_send_state(state(version, levels), user, "m.room.policy")
    assert found == check
    assert found.allowed is (check.has is None or check.has >= check.needed)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)


@given(
    st.sampled_from(sorted(ROOM_VERSIONS)),
    st.dictionaries(st.sampled_from(ROOM_STATE), JSON | st.fixed_dictionaries({"content": JSON})),
    st.fixed_dictionaries(
        {},
        optional={
            name: JSON for name in ("users", "events", "kick", "users_default", "state_default")
        },
    ),
)
def test_any_json_is_read(version: str, hostile: Any, levels: Any) -> None:
    raw = {**hostile, ("m.room.create", ""): event("m.room.create", {"room_version": version})}
    for _ in range(2):
        room(raw)
        may_send_state(raw, "@a:x", "m.room.policy")
        raw["m.room.power_levels", ""] = event("m.room.power_levels", levels)
