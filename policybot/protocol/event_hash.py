"""The two hashes of an event, the bytes that are signed, and signing them (specification,
"Signing Events").

The content hash covers the whole event. The reference hash, which makes the event ID, and the
signatures cover what a redaction leaves: the content only through the content hash within.
"""

from hashlib import sha256
from typing import TYPE_CHECKING

from .canonical_json import JsonObject, canonical_json, checked_canonical_json
from .redaction import redact
from .room_version import EventIdFormat, RoomVersion
from .signing import SigningKey, with_signature
from .unpadded_base64 import decode_base64, encode_base64, encode_base64_urlsafe

if TYPE_CHECKING:
    from .pdu import Pdu

_NOT_HASHED = frozenset({"hashes", "signatures", "unsigned"})


def content_hash(event: JsonObject) -> str:
    """The content hash in unpadded standard base64, as it belongs into ``hashes.sha256``."""
    return encode_base64(sha256(canonical_json(_hashed(event))).digest())


def content_hash_matches(pdu: "Pdu") -> bool:
    """Whether the event is as its sender hashed it: complete and unchanged."""
    stated = pdu.event["hashes"]["sha256"]
    digest = sha256(_encode(_hashed(pdu.event), pdu.version)).digest()
    if stated == encode_base64(digest):
        return True
    try:  # the other alphabet, or padding
        return decode_base64(stated) == digest
    except ValueError:
        return False


def signing_bytes(event: JsonObject, version: RoomVersion) -> bytes:
    """What signatures of the event cover, and its reference hash too."""
    return canonical_json(_signed(event, version))


def pdu_signing_bytes(pdu: "Pdu") -> bytes:
    """``signing_bytes`` of an event whose format is known to be right; faster."""
    return _encode(_signed(pdu.event, pdu.version), pdu.version)


def sign_event(
    event: JsonObject, version: RoomVersion, name: str, key_id: str, key: SigningKey
) -> JsonObject:
    """A copy of the event with a signature of server ``name`` added to those that it carries.

    Raises InvalidJson.
    """
    return with_signature(event, name, key_id, key.sign(signing_bytes(event, version)))


def reference_hash_of(signed: bytes) -> bytes:
    """The reference hash (32 bytes) of an event, from its ``signing_bytes``."""
    return sha256(signed).digest()


def reference_hash(event: JsonObject, version: RoomVersion) -> bytes:
    """The reference hash of an event, 32 bytes."""
    return reference_hash_of(signing_bytes(event, version))


def event_id(event: JsonObject, version: RoomVersion) -> str:
    """The event ID; in room versions 1 and 2 the one that the event carries.

    There the sending server chose it and it says nothing about the content: key by the reference
    hash instead.
    """
    if version.event_id_in_event:
        return str(event["event_id"])
    return event_id_of(reference_hash(event, version), version)


def event_id_of(reference: bytes, version: RoomVersion) -> str:
    """The event ID made from the reference hash (32 bytes), in room versions from 3 on."""
    if version.event_id_format is EventIdFormat.HASH_BASE64:
        return "$" + encode_base64(reference)
    return "$" + encode_base64_urlsafe(reference)


def _hashed(event: JsonObject) -> JsonObject:
    return {key: value for key, value in event.items() if key not in _NOT_HASHED}


def _signed(event: JsonObject, version: RoomVersion) -> JsonObject:
    redacted = redact(event, version)
    redacted.pop("signatures", None)
    if not version.event_id_in_event:
        redacted.pop("event_id", None)
    return redacted


def _encode(part: JsonObject, version: RoomVersion) -> bytes:
    """Canonical JSON of a part of a Pdu, whose numbers parse_pdu has seen."""
    return checked_canonical_json(part) if version.strict_json else canonical_json(part)
