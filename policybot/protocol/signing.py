"""Ed25519 keys and signed JSON (specification, appendix "Signing JSON").

The functions of PyNaCl's bindings are called without its classes: the classes copy messages.
"""

from dataclasses import dataclass
from typing import Any

from nacl.bindings import (
    crypto_sign,
    crypto_sign_open,
    crypto_sign_seed_keypair,
    randombytes,
)
from nacl.exceptions import BadSignatureError

from .canonical_json import InvalidJson, JsonObject, canonical_json
from .unpadded_base64 import decode_base64, encode_base64

__all__ = [
    "POLICY_SERVER_KEY_ID",
    "InvalidKey",
    "SigningKey",
    "VerifyKey",
    "decode_base64",
    "encode_base64",
    "json_signing_bytes",
    "sign_json",
    "verify_json",
    "with_signature",
]

POLICY_SERVER_KEY_ID = "ed25519:policy_server"
"""The key ID of every policy server's signature, whatever the key."""

_KEY_BYTES = 32
_SIGNATURE_BYTES = 64


class InvalidKey(ValueError):
    """Not a key; the message is one sentence and never holds the text."""


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """An Ed25519 public key; equal and hashed by its 32 bytes."""

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != _KEY_BYTES:
            raise InvalidKey("A key has 32 bytes.")

    @classmethod
    def from_base64(cls, text: str) -> "VerifyKey":
        """The key of base64 text, or InvalidKey."""
        return cls(_decode_key(text))

    def to_base64(self) -> str:
        """Unpadded standard base64."""
        return encode_base64(self.raw)

    def verify(self, message: bytes, signature: str) -> bool:
        """Whether the signature (base64) of the message is by this key; no text makes it raise."""
        try:
            raw_signature = decode_base64(signature)
        except ValueError:
            return False
        if len(raw_signature) != _SIGNATURE_BYTES:
            return False
        try:
            crypto_sign_open(raw_signature + message, self.raw)
        except BadSignatureError:
            return False
        return True


class SigningKey:
    """An Ed25519 private key. Its text forms for people and logs do not show the seed."""

    __slots__ = ("_seed", "_secret", "verify_key")

    def __init__(self, seed: bytes) -> None:
        """Make the key of its 32-byte seed."""
        if len(seed) != _KEY_BYTES:
            raise InvalidKey("The seed of a signing key has 32 bytes.")
        public, secret = crypto_sign_seed_keypair(seed)
        self._seed = seed
        self._secret = secret
        self.verify_key = VerifyKey(public)

    @classmethod
    def generate(cls) -> "SigningKey":
        """A new random key."""
        return cls(randombytes(_KEY_BYTES))

    @classmethod
    def from_base64(cls, seed: str) -> "SigningKey":
        """The key of a base64 seed, or InvalidKey."""
        return cls(_decode_key(seed))

    @property
    def seed(self) -> str:
        """The secret, in unpadded base64: to be stored and shown to nobody."""
        return encode_base64(self._seed)

    @property
    def public_key(self) -> str:
        """The public key in unpadded standard base64."""
        return self.verify_key.to_base64()

    def sign(self, message: bytes) -> str:
        """The signature of a message in unpadded standard base64 (86 characters)."""
        return encode_base64(crypto_sign(message, self._secret)[:_SIGNATURE_BYTES])

    def __repr__(self) -> str:
        return f"SigningKey(public_key={self.public_key!r})"

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("A signing key is not pickled.")


def json_signing_bytes(obj: JsonObject) -> bytes:
    """What a signature of a JSON object covers; InvalidJson if it has no canonical form."""
    return canonical_json({k: v for k, v in obj.items() if k not in ("signatures", "unsigned")})


def sign_json(obj: JsonObject, name: str, key_id: str, key: SigningKey) -> JsonObject:
    """A copy of the object with a signature added, as server ``name``."""
    return with_signature(obj, name, key_id, key.sign(json_signing_bytes(obj)))


def with_signature(obj: JsonObject, name: str, key_id: str, signature: str) -> JsonObject:
    """A copy of the object with the signature added to those that it carries."""
    signatures = obj.get("signatures")
    signatures = dict(signatures) if isinstance(signatures, dict) else {}
    own = signatures.get(name)
    own = dict(own) if isinstance(own, dict) else {}
    own[key_id] = signature
    signatures[name] = own
    return {**obj, "signatures": signatures}


def verify_json(obj: JsonObject, name: str, key_id: str, verify_key: VerifyKey) -> bool:
    """Whether the object carries a valid signature of server ``name`` by this key."""
    signature = signature_of(obj, name, key_id)
    if signature is None:
        return False
    try:
        message = json_signing_bytes(obj)
    except InvalidJson:
        return False
    return verify_key.verify(message, signature)


def signature_of(obj: JsonObject, name: str, key_id: str) -> str | None:
    """The text of one signature of a JSON object, or None; not verified."""
    signatures = obj.get("signatures")
    own = signatures.get(name) if isinstance(signatures, dict) else None
    signature = own.get(key_id) if isinstance(own, dict) else None
    return signature if isinstance(signature, str) else None


def _decode_key(text: str) -> bytes:
    try:
        return decode_base64(text)
    except ValueError:
        raise InvalidKey("The key is not base64.") from None
