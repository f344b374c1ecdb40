"""Room versions, asked for their properties and never compared by name (specification,
"Room Versions")."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from .canonical_json import JsonObject


class UnknownRoomVersion(ValueError):
    """A room version whose rules we do not know; the message is one sentence."""


class EventIdFormat(StrEnum):
    """Where the ID of an event comes from."""

    IN_EVENT = "in the event"
    HASH_BASE64 = "hash in standard base64"
    HASH_URLSAFE = "hash in URL-safe base64"


@dataclass(frozen=True, slots=True)
class RoomVersion:
    """What distinguishes one room version from another, as far as it concerns us.

    The comment at each property names the versions which have it.
    """

    name: str
    event_id_format: EventIdFormat = EventIdFormat.IN_EVENT  # 1-2, 3, 4+
    keys_expire: bool = False  # 5+: a signature counts within the key's validity only
    strict_json: bool = False  # 6+
    redaction_keeps_aliases: bool = True  # 1-5
    knocking: bool = False  # 7+
    restricted_joins: bool = False  # 8+
    redaction_keeps_join_allow: bool = False  # 8+
    redaction_keeps_join_authoriser: bool = False  # 9+
    knock_restricted: bool = False  # 10+
    integer_power_levels: bool = False  # 10+: no levels in strings
    redaction_updated: bool = False  # 11+: whole create content, invite level, redacts, ...
    redacts_in_content: bool = False  # 11+
    creator_is_sender: bool = False  # 11+: before, the create event's content names him
    room_id_is_create_hash: bool = False  # 12
    creators_unlimited: bool = False  # 12: creators stand above all power levels

    event_id_in_event: bool = field(init=False)
    """Whether the sending server chose the event ID, so that it says nothing on content."""

    def __post_init__(self) -> None:
        in_event = self.event_id_format is EventIdFormat.IN_EVENT
        object.__setattr__(self, "event_id_in_event", in_event)


def _known_versions() -> dict[str, RoomVersion]:
    v1 = RoomVersion("1")
    v2 = replace(v1, name="2")
    v3 = replace(v2, name="3", event_id_format=EventIdFormat.HASH_BASE64)
    v4 = replace(v3, name="4", event_id_format=EventIdFormat.HASH_URLSAFE)
    v5 = replace(v4, name="5", keys_expire=True)
    v6 = replace(v5, name="6", strict_json=True, redaction_keeps_aliases=False)
    v7 = replace(v6, name="7", knocking=True)
    v8 = replace(v7, name="8", restricted_joins=True, redaction_keeps_join_allow=True)
    v9 = replace(v8, name="9", redaction_keeps_join_authoriser=True)
    v10 = replace(v9, name="10", knock_restricted=True, integer_power_levels=True)
    v11 = replace(
        v10,
        name="11",
        redaction_updated=True,
        redacts_in_content=True,
        creator_is_sender=True,
    )
    v12 = replace(v11, name="12", room_id_is_create_hash=True, creators_unlimited=True)
    versions = (v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12)
    return {version.name: version for version in versions}


ROOM_VERSIONS = MappingProxyType(_known_versions())
"""The room versions we know, by name."""


def room_version(name: str) -> RoomVersion:
    """The room version of that name, or UnknownRoomVersion."""
    version = ROOM_VERSIONS.get(name)
    if version is None:
        raise UnknownRoomVersion(f"The room version {name[:32]!r} is not known.")
    return version


def room_version_of(create_content: JsonObject) -> RoomVersion:
    """The version that the content of a room's ``m.room.create`` names (none = 1)."""
    name = create_content.get("room_version", "1")
    if not isinstance(name, str):
        raise UnknownRoomVersion("The room version in the create event must be a string.")
    return room_version(name)
