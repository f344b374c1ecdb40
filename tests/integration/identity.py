"""A server name with its signing key: what makes a program a homeserver to others."""

from typing import Any

from policybot.app import now_ms
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.event_hash import content_hash, signing_bytes
from policybot.protocol.room_version import RoomVersion
from policybot.protocol.signing import SigningKey, sign_json
from policybot.protocol.xmatrix import authorization_header

_KEY_ID = "ed25519:a_test"
_DAY_MS = 24 * 3_600_000


class Identity:
    """A homeserver by name and key; it signs events, requests and its own key document."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._key = SigningKey.generate()

    def event(self, version: RoomVersion, room_id: str, sender: str, **fields: Any) -> JsonObject:
        """An event with hash and signature. Without ``fields`` it is a message."""
        event: JsonObject = {
            "type": "m.room.message",
            "content": {"msgtype": "m.text", "body": "hello"},
            "auth_events": [],
            "prev_events": [],
            "depth": 100,
            "origin_server_ts": now_ms(),
            "room_id": room_id,
            "sender": sender,
            **fields,
        }
        event["hashes"] = {"sha256": content_hash(event)}
        event["signatures"] = {self.name: {_KEY_ID: self._key.sign(signing_bytes(event, version))}}
        return event

    def message(self, version: RoomVersion, room_id: str, sender: str, text: str) -> JsonObject:
        """A text message with hash and signature."""
        content = {"msgtype": "m.text", "body": text}
        return self.event(version, room_id, sender, content=content)

    def authorization(
        self, destination: str, method: str, uri: str, content: JsonObject | None
    ) -> str:
        """The ``Authorization`` header of a request to the server ``destination``."""
        return authorization_header(
            self.name, destination, _KEY_ID, self._key, method, uri, content
        )

    def key_document(self) -> JsonObject:
        """What ``GET /_matrix/key/v2/server`` answers."""
        document: JsonObject = {
            "server_name": self.name,
            "verify_keys": {_KEY_ID: {"key": self._key.public_key}},
            "old_verify_keys": {},
            "valid_until_ts": now_ms() + _DAY_MS,
        }
        return sign_json(document, self.name, _KEY_ID, self._key)
