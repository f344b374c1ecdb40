"""The key with which a server name of our own signs requests and memberships: the federation key.

It is not the policy key, which rooms name. Nobody has to be told of a new one: other servers ask
for it. Replaced keys are published as old ones, so that what they signed can still be checked.

Specification: Server-Server API, "Publishing Keys".
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.server_keys import server_keys_document
from policybot.protocol.signing import InvalidKey, SigningKey, VerifyKey

from .known_keys import DAY_MS

MAX_OLD_KEYS = 32
"""Old keys that are kept, the last ones; each costs every server that asks a line."""

OldKeys = Mapping[str, tuple[VerifyKey, int]]
"""Replaced keys by key ID, each with when it expired (ms since 1970)."""


class OwnKeys:
    """The federation key of server ``name``, and the documents that publish it, also under names
    that the server had before."""

    def __init__(self, name: str, signing_key: SigningKey, old: OldKeys) -> None:
        self.name = name
        self.signing_key = signing_key
        self.key_id = key_id_of(signing_key.verify_key)
        self.old = old
        self._made: dict[str, tuple[int, JsonObject]] = {}

    def document(self, now_ms: int, name: str | None = None) -> JsonObject:
        """The document for those who ask now (ms since 1970): valid for 24 hours when it is made,
        and made anew after half of that. ``name`` is one of our names, None the present one."""
        name = name or self.name
        made_ts, document = self._made.get(name, (0, {}))
        if not 0 <= now_ms - made_ts < DAY_MS // 2 or not document:
            keys = {self.key_id: self.signing_key}
            document = server_keys_document(name, keys, self.old, now_ms + DAY_MS)
            self._made[name] = (now_ms, document)
        return document


def key_id_of(key: VerifyKey) -> str:
    """The key ID of a federation key, made from the key, so that another key has another ID."""
    return f"ed25519:{sha256(key.raw).hexdigest()[:8]}"


def load_own_keys(
    name: str, stored: str | None, configured: str | None, now_ms: int
) -> tuple[OwnKeys, str]:
    """The keys of server ``name``, and the text to store in place of ``stored``.

    ``configured`` is the seed in the configuration; without one, the stored key goes on or a new
    one is made. A configured seed is not stored. A key that is no longer in use expires at
    ``now_ms`` (ms since 1970).

    Raises:
        InvalidKey: the stored text or the configured seed is not usable.
    """
    seed, last, old = _read(stored) if stored is not None else (None, None, {})
    if configured is not None:
        key, seed = SigningKey.from_base64(configured), None
    elif seed is not None:
        key = SigningKey.from_base64(seed)
    else:
        key = SigningKey.generate()
        seed = key.seed
    if last is not None and last != key.verify_key:
        old[key_id_of(last)] = (last, now_ms)
    keys = OwnKeys(name, key, _latest(old, key_id_of(key.verify_key)))
    return keys, _written(keys, seed)


def _latest(old: OldKeys, key_id: str) -> OldKeys:
    """The last old keys. One that is in use again is none."""
    by_end = sorted(
        ((old_id, entry) for old_id, entry in old.items() if old_id != key_id),
        key=lambda item: item[1][1],
    )
    return dict(by_end[-MAX_OLD_KEYS:])


def _written(keys: OwnKeys, seed: str | None) -> str:
    """``seed`` is None for a key whose seed is in the configuration."""
    return json.dumps(
        {
            "key": keys.signing_key.public_key,
            "seed": seed,
            "old": [
                {"key": key.to_base64(), "expired_ts": expired_ts}
                for key, expired_ts in keys.old.values()
            ],
        }
    )


def _read(stored: str) -> tuple[str | None, VerifyKey, dict[str, tuple[VerifyKey, int]]]:
    """The seed if it is stored, the key that was in use last, and old keys."""
    try:
        value: Any = json.loads(stored)
        old = [(VerifyKey.from_base64(e["key"]), int(e["expired_ts"])) for e in value["old"]]
        seed, last = value["seed"], VerifyKey.from_base64(value["key"])
        if seed is not None and SigningKey.from_base64(seed).verify_key != last:
            raise ValueError
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InvalidKey("The federation keys in the database cannot be read.") from None
    return seed, last, {key_id_of(key): (key, expired_ts) for key, expired_ts in old}
