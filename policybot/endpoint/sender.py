"""Who sent the event: the signature of the sender's server, as far as it can be checked.

Specification: Server-Server API, "Validating hashes and signatures on received events".
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from policybot.protocol.pdu import Pdu
from policybot.protocol.signing import POLICY_SERVER_KEY_ID, VerifyKey

from .deadline import Deadline


class EventKeys(Protocol):
    """Keys with which other servers sign events: from memory, and fetched into it."""

    def event_key(
        self, server: str, key_id: str, origin_server_ts: int, strict: bool
    ) -> VerifyKey | None: ...

    async def fetch(self, server: str, key_id: str, timeout_s: float, address: str) -> None: ...


class SenderSignature(StrEnum):
    """The three results of checking the signature of the sender's server."""

    VALID = "valid"
    INVALID = "invalid"
    UNCHECKED = "unchecked"


class SenderCheck:
    """Checks signatures of senders' servers, each for at most ``wait`` seconds.

    ``names`` are the policy server's own, whose policy key is not one of their server keys.
    """

    def __init__(self, names: frozenset[str], keys: EventKeys, wait: float) -> None:
        self._names = names
        self._keys = keys
        self._wait = wait

    async def check(self, pdu: Pdu, message: bytes, deadline: Deadline) -> SenderSignature:
        """Check an event with the bytes that its signatures cover, waiting for a key that is not
        known."""
        if _is_third_party_invite(pdu):
            # Such an invite need not come from the sender's server.
            return SenderSignature.VALID
        signatures = self._signatures(pdu)
        if not signatures:
            return SenderSignature.INVALID
        result = self._verify(pdu, message, signatures)
        if result is SenderSignature.UNCHECKED:
            key_id = next(iter(signatures))
            await self._keys.fetch(
                pdu.sender_server, key_id, min(self._wait, deadline.left()), deadline.address()
            )
            result = self._verify(pdu, message, signatures)
        return result

    def _signatures(self, pdu: Pdu) -> dict[str, str]:
        """The signatures by key ID. An event may carry one by a policy key, also of a server that
        is another room's policy server: such a key is hardly a server key, so it comes last."""
        found: dict[str, str] = {
            key_id: signature
            for key_id, signature in pdu.event["signatures"].get(pdu.sender_server, {}).items()
            if key_id.startswith("ed25519:")
        }
        policy_signature = found.pop(POLICY_SERVER_KEY_ID, None)
        if policy_signature is not None and pdu.sender_server not in self._names:
            found[POLICY_SERVER_KEY_ID] = policy_signature
        return found

    def _verify(self, pdu: Pdu, message: bytes, signatures: Mapping[str, str]) -> SenderSignature:
        result = SenderSignature.UNCHECKED
        for key_id, signature in signatures.items():
            key = self._keys.event_key(
                pdu.sender_server, key_id, pdu.origin_server_ts, pdu.version.keys_expire
            )
            if key is None:
                continue
            if key.verify(message, signature):
                return SenderSignature.VALID
            result = SenderSignature.INVALID
        return result


def _is_third_party_invite(pdu: Pdu) -> bool:
    return (
        pdu.type == "m.room.member"
        and pdu.content.get("membership") == "invite"
        and "third_party_invite" in pdu.content
    )
