"""Events as servers exchange them (PDUs): checked against the format of their room version.

Sources: specification, "Room Versions" (event format) and client-server API, "Size limits". The
texts of InvalidPdu go to the operators of other homeservers; they name the field and never repeat
what it holds.
"""

from typing import Any, NamedTuple

from .canonical_json import (
    MAX_SAFE_INTEGER,
    InvalidJson,
    JsonObject,
    ParsedJson,
    canonical_json,
    checked_canonical_json,
    strict_canonical_json,
)
from .event_hash import reference_hash
from .identifier import fits, is_event_id, is_user_id
from .room_version import ROOM_VERSIONS, RoomVersion
from .unpadded_base64 import encode_base64_urlsafe

MAX_PDU_BYTES = 65536
"""The longest event in canonical JSON, signatures included, ``unsigned`` not."""

MAX_AUTH_EVENTS = 10
MAX_PREV_EVENTS = 20

# Fields whose type parse_pdu looks at, so that no wrong number can be in them; content and hashes
# are looked at separately.
_CHECKED = frozenset(
    {
        "auth_events",
        "content",
        "depth",
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

_MAX_INTEGER = 2**63 - 1  # before room version 6


class InvalidPdu(ValueError):
    """Not an event of the room's version; the message is one sentence."""


class Pdu(NamedTuple):
    """An event in the right format. ``event`` is the JSON as received, since the hashes depend
    on it; ``origin_server_ts`` is in milliseconds since 1970; ``state_key`` None means no state
    event. Signatures and hashes are not checked."""

    event: JsonObject
    version: RoomVersion
    room_id: str
    type: str
    sender: str
    state_key: str | None
    content: JsonObject
    origin_server_ts: int

    @property
    def sender_server(self) -> str:
        """The server part of the sender, with its port if it has one."""
        return self.sender.partition(":")[2]


def room_id_of(event: JsonObject) -> str:
    """The ID of the room that an event claims to belong to, before its version is known.

    A create event without ``room_id`` has the ID made from its hash (room version 12). Raises
    InvalidPdu.
    """
    room_id = event.get("room_id")
    if room_id is None and _makes_room_id(event):
        try:
            digest = reference_hash(event, ROOM_VERSIONS["12"])
        except InvalidJson as error:
            raise InvalidPdu(str(error)) from None
        return "!" + encode_base64_urlsafe(digest)
    if not isinstance(room_id, str) or room_id[:1] != "!" or not fits(room_id):
        raise InvalidPdu("The field room_id must be a room ID.")
    return room_id


def parse_pdu(
    event: JsonObject, version: RoomVersion, room_id: str, source: ParsedJson | None = None
) -> Pdu:
    """Check an event of the room (``room_id_of``) against the format of the room's version.

    ``source`` is the text that the event was read from: what is known of it is not looked at
    again. Raises InvalidPdu.
    """
    if version.room_id_is_create_hash and event.get("type") == "m.room.create":
        if "room_id" in event:
            raise InvalidPdu("The field room_id must be absent from a create event.")
        if not _makes_room_id(event):
            raise InvalidPdu("A create event must have an empty state_key.")
    elif event.get("room_id") != room_id:
        raise InvalidPdu("The field room_id must be the ID of the room.")
    event_type = _short_string(event, "type")
    sender = event.get("sender")
    if not isinstance(sender, str) or not is_user_id(sender):
        raise InvalidPdu("The field sender must be a user ID with a valid server name.")
    state_key = _short_string(event, "state_key") if "state_key" in event else None
    content = event.get("content")
    if not isinstance(content, dict):
        raise InvalidPdu("The field content must be an object.")
    limit = MAX_SAFE_INTEGER if version.strict_json else _MAX_INTEGER
    origin_server_ts = _integer(event, "origin_server_ts", -limit, limit)
    _integer(event, "depth", 0, limit)
    _check_hashes(event.get("hashes"))
    _check_signatures(event.get("signatures"))
    _check_references(event, "auth_events", MAX_AUTH_EVENTS, version)
    _check_references(event, "prev_events", MAX_PREV_EVENTS, version)
    if version.event_id_in_event:
        own_id = event.get("event_id")
        if not isinstance(own_id, str) or ":" not in own_id or not is_event_id(own_id):
            raise InvalidPdu("The field event_id must be an event ID with a valid server name.")
    elif "event_id" in event:  # servers would not agree on the ID that the hash gives
        raise InvalidPdu("The field event_id must be absent in this room version.")
    if source is None or not source.strict or source.size > MAX_PDU_BYTES:
        _check_json(event, version)
    return Pdu(event, version, room_id, event_type, sender, state_key, content, origin_server_ts)


def _makes_room_id(event: JsonObject) -> bool:
    return event.get("type") == "m.room.create" and event.get("state_key") == ""


def _short_string(event: JsonObject, field: str) -> str:
    value = event.get(field)
    if not isinstance(value, str):
        raise InvalidPdu(f"The field {field} must be a string.")
    if not fits(value):
        raise InvalidPdu(f"The field {field} must have at most 255 bytes.")
    return value


def _integer(event: JsonObject, field: str, low: int, high: int) -> int:
    value = event.get(field)
    if type(value) is not int:  # a boolean is an int to isinstance
        raise InvalidPdu(f"The field {field} must be an integer.")
    if not low <= value <= high:
        raise InvalidPdu(f"The field {field} is out of range.")
    return value


def _check_hashes(hashes: Any) -> None:
    if not isinstance(hashes, dict) or not isinstance(hashes.get("sha256"), str):
        raise InvalidPdu("The field hashes must be an object with a string sha256.")


def _check_signatures(signatures: Any) -> None:
    if not isinstance(signatures, dict):
        raise InvalidPdu("The field signatures must be an object.")
    for by_server in signatures.values():
        if not isinstance(by_server, dict):
            raise InvalidPdu("The field signatures must hold objects.")
        for signature in by_server.values():
            if not isinstance(signature, str):
                raise InvalidPdu("The field signatures must hold objects of strings.")


def _check_references(event: JsonObject, field: str, most: int, version: RoomVersion) -> None:
    references = event.get(field)
    if not isinstance(references, list):
        raise InvalidPdu(f"The field {field} must be an array.")
    if len(references) > most:
        raise InvalidPdu(f"The field {field} must have at most {most} entries.")
    if version.event_id_in_event:
        for pair in references:
            if not _is_reference_pair(pair):
                raise InvalidPdu(
                    f"The field {field} must hold pairs of an event ID and an object of hashes."
                )
        return
    for reference in references:
        if not isinstance(reference, str) or not fits(reference):
            raise InvalidPdu(f"The field {field} must hold event IDs.")


def _is_reference_pair(pair: Any) -> bool:
    if not isinstance(pair, list) or len(pair) != 2:
        return False
    reference, hashes = pair
    return isinstance(reference, str) and fits(reference) and isinstance(hashes, dict)


def _check_json(event: JsonObject, version: RoomVersion) -> None:
    """Size, and from room version 6 on the numbers; ``unsigned`` is not the sender's."""
    if "unsigned" in event:
        event = {key: value for key, value in event.items() if key != "unsigned"}
    try:
        if version.strict_json:
            strict_canonical_json(event["content"])
            hashes = event["hashes"]
            rest = {key: value for key, value in event.items() if key not in _CHECKED}
            if rest or len(hashes) > 1:
                strict_canonical_json([rest, hashes])
            encoded = checked_canonical_json(event)
        else:
            encoded = canonical_json(event)
    except InvalidJson as error:
        raise InvalidPdu(str(error)) from None
    if len(encoded) > MAX_PDU_BYTES:
        raise InvalidPdu(f"The event must have at most {MAX_PDU_BYTES} bytes.")
