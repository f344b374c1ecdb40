"""The state event by which a room names its policy server (specification, "Policy Servers";
MSC4284 for the unstable form)."""

from dataclasses import dataclass
from typing import Any

from .canonical_json import JsonObject
from .server_name import is_server_name
from .signing import InvalidKey, VerifyKey

POLICY_EVENT = "m.room.policy"
"""The type of the state event; its state key is empty."""

UNSTABLE_POLICY_EVENT = "org.matrix.msc4284.policy"
"""The type from before the specification took it up; some servers still read it."""


@dataclass(frozen=True, slots=True)
class PolicyServer:
    """The policy server of a room. ``public_key`` is unpadded standard base64, or the text as
    it stands in the event if that is no Ed25519 key: then no signature will ever count."""

    via: str
    public_key: str


def parse_policy_event(content: Any) -> PolicyServer | None:
    """The policy server that the content names, in either form; None if it names none."""
    if not isinstance(content, dict):
        return None
    via = content.get("via")
    if not isinstance(via, str) or not is_server_name(via):
        return None
    public_keys = content.get("public_keys")
    key = public_keys.get("ed25519") if isinstance(public_keys, dict) else None
    if not isinstance(key, str):
        key = content.get("public_key")
    if not isinstance(key, str):
        return None
    try:
        key = VerifyKey.from_base64(key).to_base64()
    except InvalidKey:
        pass
    return PolicyServer(via, key)


def policy_content(name: str, public_key: str) -> JsonObject:
    """The content that names a policy server; ``public_key`` in unpadded base64."""
    return {"via": name, "public_keys": {"ed25519": public_key}}
