"""What a redaction leaves of an event (specification, "Redactions" of each room version).

Hashes and signatures cover this remainder only, so that an event can be redacted later.
"""

from typing import Any

from .canonical_json import JsonObject
from .room_version import ROOM_VERSIONS, RoomVersion

_TOP_LEVEL = frozenset(
    {
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
    }
)
_TOP_LEVEL_BEFORE_UPDATE = _TOP_LEVEL | {"membership", "origin", "prev_state"}

_LEVELS = frozenset(
    {
        "ban",
        "events",
        "events_default",
        "kick",
        "redact",
        "state_default",
        "users",
        "users_default",
    }
)


def _top_level(version: RoomVersion) -> frozenset[str]:
    return _TOP_LEVEL if version.redaction_updated else _TOP_LEVEL_BEFORE_UPDATE


def _content_keys(version: RoomVersion) -> dict[str, frozenset[str]]:
    """The keys kept in the content, by event type. The whole content of a create event and a
    part of a third-party invite, kept since the update, are not told here."""
    member = {"membership"}
    if version.redaction_keeps_join_authoriser:
        member.add("join_authorised_via_users_server")
    join_rules = {"join_rule"}
    if version.redaction_keeps_join_allow:
        join_rules.add("allow")
    keys = {
        "m.room.create": frozenset({"creator"}),
        "m.room.history_visibility": frozenset({"history_visibility"}),
        "m.room.join_rules": frozenset(join_rules),
        "m.room.member": frozenset(member),
        "m.room.power_levels": _LEVELS,
    }
    if version.redaction_keeps_aliases:
        keys["m.room.aliases"] = frozenset({"aliases"})
    if version.redaction_updated:
        keys["m.room.power_levels"] = _LEVELS | {"invite"}
        keys["m.room.redaction"] = frozenset({"redacts"})
    return keys


# By name: hashing a RoomVersion would take longer than the rest.
_KEPT = {v.name: (_top_level(v), _content_keys(v)) for v in ROOM_VERSIONS.values()}


def redact(event: JsonObject, version: RoomVersion) -> JsonObject:
    """A redacted copy, sharing its values with the event. ``unsigned`` goes too."""
    top_level, content_keys = _KEPT[version.name]
    redacted = {key: value for key, value in event.items() if key in top_level}
    content = event.get("content")
    event_type = event.get("type")
    if not isinstance(content, dict):
        redacted["content"] = {}
    elif isinstance(event_type, str):
        kept = content_keys.get(event_type)
        if version.redaction_updated and event_type == "m.room.create":
            redacted["content"] = content
        elif kept is None:
            redacted["content"] = {}
        else:
            redacted["content"] = _redact_content(content, event_type, kept, version)
    else:
        redacted["content"] = {}
    return redacted


def _redact_content(
    content: JsonObject, event_type: str, kept: frozenset[str], version: RoomVersion
) -> dict[str, Any]:
    redacted = {key: value for key, value in content.items() if key in kept}
    if version.redaction_updated and event_type == "m.room.member":
        invite = content.get("third_party_invite")
        if isinstance(invite, dict):
            signed = {"signed": invite["signed"]} if "signed" in invite else {}
            redacted["third_party_invite"] = signed
    return redacted
