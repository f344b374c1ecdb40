"""The keys that a server publishes (specification, server-server API, "Publishing Keys")."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .canonical_json import MAX_SAFE_INTEGER, InvalidJson, JsonObject
from .signing import (
    InvalidKey,
    SigningKey,
    VerifyKey,
    json_signing_bytes,
    sign_json,
    signature_of,
)

MAX_VERIFY_KEYS = 32
MAX_OLD_VERIFY_KEYS = 256

# Versions are [a-zA-Z0-9_] by the specification; servers in the field use more.
_KEY_ID = re.compile(r"ed25519:[!-~]{1,247}")


class InvalidServerKeys(ValueError):
    """Not a usable document of server keys; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class ServerKeys:
    """The Ed25519 keys of a server, by key ID.

    ``valid_until_ts`` and the second part of each old key, when it expired, are milliseconds
    since 1970. Old keys are good for events from before that, never for requests.
    """

    server_name: str
    verify_keys: Mapping[str, VerifyKey]
    old_verify_keys: Mapping[str, tuple[VerifyKey, int]]
    valid_until_ts: int


def server_keys_document(
    name: str,
    keys: Mapping[str, SigningKey],
    old: Mapping[str, tuple[VerifyKey, int]],
    valid_until_ts: int,
) -> JsonObject:
    """What server ``name`` publishes of its own keys, signed with each of ``keys``.

    ``old`` are retired keys with the time when each expired; that and ``valid_until_ts`` are
    milliseconds since 1970.
    """
    document: JsonObject = {
        "server_name": name,
        "verify_keys": {key_id: {"key": key.public_key} for key_id, key in keys.items()},
        "old_verify_keys": {
            key_id: {"key": key.to_base64(), "expired_ts": expired_ts}
            for key_id, (key, expired_ts) in old.items()
        },
        "valid_until_ts": valid_until_ts,
    }
    for key_id, key in keys.items():
        document = sign_json(document, name, key_id, key)
    return document


def parse_server_keys(document: Any, server_name: str) -> ServerKeys:
    """Read what ``server_name`` published, also as a notary hands it on.

    The document must carry a valid signature by at least one of its current keys; keys of other
    algorithms and malformed ones are left out. Raises InvalidServerKeys.
    """
    if not isinstance(document, dict):
        raise InvalidServerKeys("The server keys must be an object.")
    if document.get("server_name") != server_name:
        raise InvalidServerKeys("The server keys belong to another server.")
    valid_until_ts = _timestamp(document.get("valid_until_ts"))
    if valid_until_ts is None:
        raise InvalidServerKeys("The field valid_until_ts must be a time in milliseconds.")
    entries = _entries(document, "verify_keys", MAX_VERIFY_KEYS)
    verify_keys = {
        key_id: key for key_id, entry in entries.items() if (key := _key(key_id, entry))
    }
    if not verify_keys:
        raise InvalidServerKeys("The field verify_keys has no Ed25519 key.")
    if not _is_self_signed(document, server_name, verify_keys):
        raise InvalidServerKeys("The server keys are not signed by one of them.")
    old_entries = {}
    if "old_verify_keys" in document:
        old_entries = _entries(document, "old_verify_keys", MAX_OLD_VERIFY_KEYS)
    old_verify_keys: dict[str, tuple[VerifyKey, int]] = {}
    for key_id, entry in old_entries.items():
        key = _key(key_id, entry)
        expired_ts = _timestamp(entry.get("expired_ts")) if key else None
        if key is not None and expired_ts is not None:
            old_verify_keys[key_id] = (key, expired_ts)
    return ServerKeys(server_name, verify_keys, old_verify_keys, valid_until_ts)


def _entries(document: JsonObject, field: str, most: int) -> JsonObject:
    entries = document.get(field)
    if not isinstance(entries, dict):
        raise InvalidServerKeys(f"The field {field} must be an object.")
    if len(entries) > most:
        raise InvalidServerKeys(f"The field {field} has more than {most} keys.")
    return entries


def _key(key_id: str, entry: Any) -> VerifyKey | None:
    text = entry.get("key") if isinstance(entry, dict) else None
    if not isinstance(text, str) or _KEY_ID.fullmatch(key_id) is None:
        return None
    try:
        return VerifyKey.from_base64(text)
    except InvalidKey:
        return None


def _timestamp(value: Any) -> int | None:
    if type(value) is not int or value < 0:
        return None
    return min(value, MAX_SAFE_INTEGER)  # "for ever" is written as all kinds of numbers


def _is_self_signed(
    document: JsonObject, server_name: str, verify_keys: Mapping[str, VerifyKey]
) -> bool:
    try:
        message = json_signing_bytes(document)
    except InvalidJson:
        return False
    for key_id, key in verify_keys.items():
        signature = signature_of(document, server_name, key_id)
        if signature is not None and key.verify(message, signature):
            return True
    return False
