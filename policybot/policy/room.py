"""Protected rooms and moderation rooms, as values made from raw state."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.identifier import is_user_id
from policybot.protocol.policy_event import (
    POLICY_EVENT,
    UNSTABLE_POLICY_EVENT,
    PolicyServer,
    parse_policy_event,
)
from policybot.protocol.room_version import RoomVersion, UnknownRoomVersion, room_version_of

from .rule import RuleKey, printable

State = Mapping[tuple[str, str], JsonObject]
"""Full state events of one room, by event type and state key."""

CREATE = "m.room.create"
POWER_LEVELS = "m.room.power_levels"

ROOM_STATE: tuple[tuple[str, str], ...] = (
    (CREATE, ""),
    (POWER_LEVELS, ""),
    (POLICY_EVENT, ""),
    (UNSTABLE_POLICY_EVENT, ""),
    ("m.room.join_rules", ""),
    ("m.room.server_acl", ""),
    ("m.room.tombstone", ""),
    ("m.room.name", ""),
    ("m.room.canonical_alias", ""),
)
"""The state events of a protected room that are read, by event type and state key."""

# The defaults of the power-levels event (specification, m.room.power_levels).
DEFAULT_KICK = 50
DEFAULT_STATE = 50
DEFAULT_INVITE = 0
FIRST_CREATOR_POWER = 100

MAX_NAME = 255
"""Characters of a room's name that are kept."""

_LEVEL_TEXT = re.compile(r"\s*[+-]?[0-9]{1,16}\s*", re.ASCII)


class RoomMode(StrEnum):
    """What happens in a room that we answer for."""

    ENABLED = "enabled"
    DRY_RUN = "dry run"  # everything is signed, hits are only reported
    DISABLED = "disabled"  # everything is signed until no server asks any more
    UNCLAIMED = "unclaimed"  # it names us, but no moderation room enabled it: everything is signed

    @property
    def is_protected(self) -> bool:
        """Whether the room's events are judged: in earnest, or as a dry run."""
        return self in (RoomMode.ENABLED, RoomMode.DRY_RUN)


@dataclass(frozen=True, slots=True)
class ProtectedRoom:
    """A room that we answer for.

    ``creators`` stand above all power levels; before room version 12 there are none. ``powerful``
    are users whose level is at or above ``kick`` and above ``users_default``. ``enabled_ts`` is
    milliseconds since 1970. ``name`` is a name, an alias or "", as the room's members chose it.
    """

    room_id: str
    version: RoomVersion
    moderation_room: str | None
    mode: RoomMode
    enabled_ts: int
    creators: frozenset[str]
    powerful: frozenset[str]
    policy: PolicyServer | None
    unstable_policy: PolicyServer | None
    name: str
    join_rule: str
    tombstoned: bool


@dataclass(frozen=True, slots=True)
class ModerationRoom:
    """A room whose members moderate: its lists in the order watched, rules that stay ``unused``
    since they would hit the bot or a moderator, and users ``allowed`` by local exemption, in lower
    case."""

    room_id: str
    members: frozenset[str]
    invite_only: bool
    lists: tuple[str, ...]
    unused: frozenset[RuleKey] = frozenset()
    allowed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PowerCheck:
    """Whether a user may send a state event: the levels he has and needs.

    A creator in a room version where creators stand above all levels has none: ``has`` is None.
    """

    has: int | None
    needed: int

    @property
    def allowed(self) -> bool:
        """Whether the level is enough."""
        return self.has is None or self.has >= self.needed


def protected_room(
    room_id: str,
    moderation_room: str | None,
    mode: RoomMode,
    enabled_ts: int,
    state: State,
) -> ProtectedRoom:
    """Make the value from the room's state, of which the events in `ROOM_STATE` are read.

    Raises:
        UnknownRoomVersion: the create event is missing or of a version that we do not know.
            Whatever else is missing or of a wrong form counts as its default.
    """
    version = _version(state)
    tombstone = _content(state, "m.room.tombstone")
    join_rule = _content(state, "m.room.join_rules").get("join_rule")
    return ProtectedRoom(
        room_id=room_id,
        version=version,
        moderation_room=moderation_room,
        mode=mode,
        enabled_ts=enabled_ts,
        creators=_creators(state, version),
        powerful=_powerful(state, version),
        policy=parse_policy_event(_content(state, POLICY_EVENT)),
        unstable_policy=parse_policy_event(_content(state, UNSTABLE_POLICY_EVENT)),
        name=_name(state),
        join_rule=join_rule if isinstance(join_rule, str) else "invite",
        tombstoned=bool(tombstone),
    )


def may_send_state(state: State, user_id: str, event_type: str) -> PowerCheck:
    """Whether the user may send state events of this type in the room.

    Raises:
        UnknownRoomVersion: as `protected_room`.
    """
    version = _version(state)
    levels = _content(state, POWER_LEVELS)
    needed = _level(_object(levels, "events").get(event_type), version)
    if needed is None:
        default = DEFAULT_STATE if _has(state, POWER_LEVELS) else 0
        needed = _level_or(levels.get("state_default"), default, version)
    return PowerCheck(_level_of(state, user_id, version), needed)


def may_invite(state: State, user_id: str) -> PowerCheck:
    """Whether a joined user may invite others into the room.

    Raises:
        UnknownRoomVersion: as `protected_room`.
    """
    version = _version(state)
    needed = _level_or(_content(state, POWER_LEVELS).get("invite"), DEFAULT_INVITE, version)
    return PowerCheck(_level_of(state, user_id, version), needed)


def _level_of(state: State, user_id: str, version: RoomVersion) -> int | None:
    """A user's level; None for a creator who stands above all levels."""
    if user_id in _creators(state, version):
        return None
    if not _has(state, POWER_LEVELS):
        return _levels_without_event(state, version).get(user_id, 0)
    levels = _content(state, POWER_LEVELS)
    level = _level(_object(levels, "users").get(user_id), version)
    return _level_or(levels.get("users_default"), 0, version) if level is None else level


def _version(state: State) -> RoomVersion:
    if not _has(state, CREATE):
        raise UnknownRoomVersion("The room has no create event that we can read.")
    return room_version_of(_content(state, CREATE))


def _creators(state: State, version: RoomVersion) -> frozenset[str]:
    """The users above all power levels."""
    if not version.creators_unlimited:
        return frozenset()
    additional = _content(state, CREATE).get("additional_creators")
    users = [
        state[CREATE, ""].get("sender"),
        *(additional if isinstance(additional, list) else ()),
    ]
    return frozenset(user for user in users if isinstance(user, str) and is_user_id(user))


def _powerful(state: State, version: RoomVersion) -> frozenset[str]:
    levels = _content(state, POWER_LEVELS)
    users: Mapping[Any, Any]
    if _has(state, POWER_LEVELS):
        users = _object(levels, "users")
    else:
        users = _levels_without_event(state, version)
    kick = _level_or(levels.get("kick"), DEFAULT_KICK, version)
    default = _level_or(levels.get("users_default"), 0, version)
    return frozenset(
        user
        for user, value in users.items()
        if isinstance(user, str)
        and is_user_id(user)
        and (level := _level(value, version)) is not None
        and level >= kick
        and level > default
    )


def _levels_without_event(state: State, version: RoomVersion) -> dict[str, int]:
    """Users' levels in a room without power levels: only the creator has any."""
    if version.creators_unlimited:
        return {}
    event = state[CREATE, ""]
    creator = event.get("sender")
    if not version.creator_is_sender:
        creator = _content(state, CREATE).get("creator")
    return {creator: FIRST_CREATOR_POWER} if isinstance(creator, str) else {}


def _name(state: State) -> str:
    for event_type, key in (("m.room.name", "name"), ("m.room.canonical_alias", "alias")):
        name = _content(state, event_type).get(key)
        if isinstance(name, str) and name.strip():
            return printable(name.strip(), MAX_NAME)
    return ""


def _level(value: Any, version: RoomVersion) -> int | None:
    """A power level; before room version 10 it may be written as a string."""
    if type(value) is int:
        return value
    if isinstance(value, str) and not version.integer_power_levels:
        return int(value) if _LEVEL_TEXT.fullmatch(value) else None
    return None


def _level_or(value: Any, default: int, version: RoomVersion) -> int:
    level = _level(value, version)
    return default if level is None else level


def _has(state: State, event_type: str) -> bool:
    event: Any = state.get((event_type, ""))
    return isinstance(event, dict) and isinstance(event.get("content"), dict)


def _content(state: State, event_type: str) -> JsonObject:
    if not _has(state, event_type):
        return {}
    content: JsonObject = state[event_type, ""]["content"]
    return content


def _object(content: JsonObject, key: str) -> JsonObject:
    value = content.get(key)
    return value if isinstance(value, dict) else {}
