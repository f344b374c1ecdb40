"""Signed `/sign` requests, made in advance: events of room version 11 of about 700 bytes.

Every event has a sender of its own, and the server that asks is the sender's.
"""

import json
from dataclasses import dataclass

from policybot.protocol.canonical_json import JsonObject, canonical_json
from policybot.protocol.event_hash import content_hash, signing_bytes
from policybot.protocol.paths import SIGN
from policybot.protocol.room_version import ROOM_VERSIONS
from policybot.protocol.signing import SigningKey
from policybot.protocol.xmatrix import authorization_header

KEY_ID = "ed25519:a_bench"
VERSION = ROOM_VERSIONS["11"]

_REFERENCE = "$" + "Ry2mVf3mNvXpFyqhbXcWQkMnqjD9cWbTz0sKxkT5a0_"[:43]
_BODY = "What we spoke about yesterday evening still holds as far as I can see, see you all soon."


@dataclass(frozen=True, slots=True)
class Caller:
    """A homeserver that asks about the events of its own users."""

    name: str
    key: SigningKey


def event(caller: Caller, room_id: str, sender: str, number: int, now_ms: int) -> JsonObject:
    """A message with its content hash and its server's signature."""
    made: JsonObject = {
        "auth_events": [_REFERENCE, _REFERENCE[::-1][:-1] + "a", _REFERENCE.swapcase()],
        "content": {"body": f"{_BODY} {number}", "m.mentions": {}, "msgtype": "m.text"},
        "depth": 1_000 + number,
        "origin_server_ts": now_ms,
        "prev_events": [_REFERENCE],
        "room_id": room_id,
        "sender": sender,
        "type": "m.room.message",
    }
    made["hashes"] = {"sha256": content_hash(made)}
    signature = caller.key.sign(signing_bytes(made, VERSION))
    made["signatures"] = {caller.name: {KEY_ID: signature}}
    return made


def request(caller: Caller, policy_server: str, content: JsonObject) -> bytes:
    """The whole HTTP request about an event, as a homeserver sends it."""
    authorization = authorization_header(
        caller.name, policy_server, KEY_ID, caller.key, "POST", SIGN, content
    )
    body = canonical_json(content)
    head = (
        f"POST {SIGN} HTTP/1.1\r\n"
        f"Host: {policy_server}\r\n"
        "User-Agent: Synapse/1.163.2\r\n"
        "Content-Type: application/json\r\n"
        f"Authorization: {authorization}\r\n"
        f"Content-Length: {len(body)}\r\n"
        "\r\n"
    )
    return head.encode() + body


def event_of(request: bytes) -> JsonObject:
    """The event that a request is about."""
    content: JsonObject = json.loads(request.partition(b"\r\n\r\n")[2])
    return content
