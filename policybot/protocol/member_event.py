"""Joins and leaves of a user of ours, finished from what a server in the room proposes
(server-server API, "Joining Rooms" and "Leaving Rooms").

Of the proposal only the place in the room's history is taken, and who lets the user in: the event
is made anew from fields that we know, so that nobody can have us sign anything else.
"""

import secrets
from enum import StrEnum
from typing import Any, NamedTuple

from .canonical_json import InvalidJson, JsonObject
from .event_hash import content_hash, event_id, sign_event
from .identifier import is_user_id, server_of
from .pdu import InvalidPdu, parse_pdu
from .room_version import RoomVersion, room_version
from .signing import SigningKey

_AUTHORISER = "join_authorised_via_users_server"


class InvalidTemplate(ValueError):
    """Not a proposal for the join or leave that was asked for; the message is one sentence."""


class Change(StrEnum):
    """What a user does about the own membership of a room."""

    JOIN = "join"
    LEAVE = "leave"


class MemberEvent(NamedTuple):
    """A membership event of a user of ours: hashed, signed by us, in the right format."""

    event: JsonObject
    version: RoomVersion
    event_id: str


def finish_member_event(
    answer: Any,
    change: Change,
    room_id: str,
    user_id: str,
    now_ms: int,
    key_id: str,
    key: SigningKey,
) -> MemberEvent:
    """Finish the event that a server proposed in its answer to ``make_join`` or ``make_leave``.

    ``now_ms`` is the time of the event, in milliseconds since 1970; ``key_id`` and ``key`` are the
    federation key of the user's server.

    Raises:
        InvalidTemplate: the answer proposes something else, or is malformed.
        UnknownRoomVersion: the room is of a version whose format we do not know.
    """
    template = answer.get("event") if isinstance(answer, dict) else None
    if not isinstance(template, dict):
        raise InvalidTemplate("The answer proposes no event.")
    # Without a name it is 1 or 2, which have the same format.
    version_name = answer.get("room_version", "1")
    if not isinstance(version_name, str):
        raise InvalidTemplate("The room version in the answer must be a string.")
    version = room_version(version_name)
    content = _content(template, change, version)
    wanted = {
        "type": "m.room.member",
        "room_id": room_id,
        "sender": user_id,
        "state_key": user_id,
    }
    for field, value in wanted.items():
        if template.get(field) != value:
            raise InvalidTemplate(f"The proposed event has another {field} than was asked for.")
    name = server_of(user_id)
    event: JsonObject = {
        **wanted,
        "content": content,
        "origin": name,
        "origin_server_ts": now_ms,
        "depth": template.get("depth"),
        "auth_events": _references(template.get("auth_events"), version),
        "prev_events": _references(template.get("prev_events"), version),
        "signatures": {},
    }
    if version.event_id_in_event:
        event["event_id"] = f"${secrets.token_urlsafe(18)}:{name}"
    try:
        event["hashes"] = {"sha256": content_hash(event)}
        parse_pdu(event, version, room_id)
        signed = sign_event(event, version, name, key_id, key)
        return MemberEvent(signed, version, event_id(signed, version))
    except (InvalidPdu, InvalidJson) as error:
        raise InvalidTemplate(f"The proposed event is malformed: {error}") from None


def _content(template: JsonObject, change: Change, version: RoomVersion) -> JsonObject:
    proposed = template.get("content")
    if not isinstance(proposed, dict) or proposed.get("membership") != change.value:
        raise InvalidTemplate("The proposed event has another membership than was asked for.")
    content: JsonObject = {"membership": change.value}
    if change is Change.JOIN and version.restricted_joins and _AUTHORISER in proposed:
        authoriser = proposed[_AUTHORISER]
        if not isinstance(authoriser, str) or not is_user_id(authoriser):
            raise InvalidTemplate("The proposed event is authorised by something that is no user.")
        content[_AUTHORISER] = authoriser
    return content


def _references(proposed: Any, version: RoomVersion) -> Any:
    """The references to other events without anything besides; the format is checked later."""
    if not version.event_id_in_event or not isinstance(proposed, list):
        return proposed
    return [_pair(pair) for pair in proposed]


def _pair(pair: Any) -> Any:
    match pair:
        case [str() as reference, {"sha256": str() as digest}]:
            return [reference, {"sha256": digest}]
        case [str() as reference, {}]:  # Synapse leaves the hash out
            return [reference, {}]
    raise InvalidTemplate("The proposed event refers to others in a wrong form.")
