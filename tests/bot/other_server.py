"""Another homeserver: it signs events of its users and asks the policy server about them."""

import json
from dataclasses import dataclass
from typing import Any

import aiohttp

from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.event_hash import content_hash, event_id, signing_bytes
from policybot.protocol.paths import SIGN
from policybot.protocol.room_version import room_version
from policybot.protocol.signing import SigningKey, sign_json
from policybot.protocol.xmatrix import authorization_header

from .fake_room import EPOCH_MS

KEY_ID = "ed25519:a_test"
MONTH_MS = 30 * 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class SignAnswer:
    """What the policy server answered about one event; ``kept`` says where the verdict is."""

    status: int
    body: JsonObject
    event_id: str
    kept: str | None = None

    @property
    def signed(self) -> bool:
        return self.status == 200


class OtherServer:
    """A server by name and key. ``epoch_ms`` is about when it signs."""

    def __init__(self, name: str, policy_server: str, *, epoch_ms: int = EPOCH_MS) -> None:
        self.name = name
        self.epoch_ms = epoch_ms
        self._policy_server = policy_server
        self._key = SigningKey.generate()
        self._depth = 0

    def key_document(self) -> JsonObject:
        """What it publishes about its keys."""
        document: JsonObject = {
            "server_name": self.name,
            "verify_keys": {KEY_ID: {"key": self._key.public_key}},
            "old_verify_keys": {},
            "valid_until_ts": self.epoch_ms + MONTH_MS,
        }
        return self.signed(document)

    def signed(self, document: JsonObject) -> JsonObject:
        """A key document with its signature, made anew if it has one."""
        bare = {key: value for key, value in document.items() if key != "signatures"}
        return sign_json(bare, self.name, KEY_ID, self._key)

    def message(
        self, room_id: str, sender: str, body: str = "buy", *, version: str = "12", **fields: Any
    ) -> JsonObject:
        """A message with hash and signature, different from all before."""
        self._depth += 1
        event: JsonObject = {
            "type": "m.room.message",
            "content": {"msgtype": "m.text", "body": body},
            "auth_events": [],
            "prev_events": [],
            "depth": self._depth,
            "origin_server_ts": self.epoch_ms + 3_600_000,
            "room_id": room_id,
            "sender": sender,
            **fields,
        }
        event["hashes"] = {"sha256": content_hash(event)}
        signature = self._key.sign(signing_bytes(event, room_version(version)))
        event["signatures"] = {sender.partition(":")[2]: {KEY_ID: signature}}
        return event

    async def ask(self, url: str, event: JsonObject, *, version: str = "12") -> SignAnswer:
        """Ask the policy server at ``url`` to sign an event."""
        authorization = authorization_header(
            self.name, self._policy_server, KEY_ID, self._key, "POST", SIGN, event
        )
        headers = {"Authorization": authorization, "Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=20)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            body = json.dumps(event).encode()
            async with session.post(url + SIGN, data=body, headers=headers) as response:
                answer = await response.json()
                return SignAnswer(
                    response.status,
                    answer,
                    event_id(event, room_version(version)),
                    response.headers.get("Policybot-Verdict"),
                )
