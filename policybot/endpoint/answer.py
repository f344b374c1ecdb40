"""What is answered for a decision: the signatures of a name of ours, or a refusal's text."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from policybot.policy.verdict import reference_code
from policybot.protocol.pdu import Pdu
from policybot.protocol.signing import POLICY_SERVER_KEY_ID, SigningKey


class Ruling(NamedTuple):
    """The decision about an event, the same under each of our names: the event's reference hash,
    and our signature (unpadded base64) or None for a refusal.

    ``stored`` tells whether the verdict survives the end of the process.
    """

    key: bytes
    signature: str | None
    stored: bool


class Answer(NamedTuple):
    """What one request is answered: signatures by server name and key ID, or the refusal's text.

    ``stored`` as in `Ruling`.
    """

    signatures: Mapping[str, Mapping[str, str]] | None
    refusal: str | None
    stored: bool


class Signer:
    """Signs in the name of the policy server, and words its answers.

    ``contact`` is where people who are refused may ask; ``counts`` is where answers are counted.
    """

    def __init__(self, key: SigningKey, contact: str | None, counts: Counter[str]) -> None:
        self._key = key
        self._contact = contact
        self._counts = counts

    def signature(self, message: bytes) -> str:
        """The policy server's signature (unpadded base64) of an event's signing bytes."""
        return self._key.sign(message)

    def answer(self, name: str, pdu: Pdu, ruling: Ruling) -> Answer:
        """The answer about an event to somebody who asked for ``name``, which is ours."""
        signature, stored = ruling.signature, ruling.stored
        if signature is None:
            self._counts["refused"] += 1
            return Answer(None, self._refusal(ruling.key), stored)
        self._counts["signed"] += 1
        # Synapse 1.153 and others before replace the signatures of that name by what we return,
        # so a sender on that name would lose his server's own signature (synapse#19796).
        carried = pdu.event["signatures"].get(name)
        if carried:
            return Answer({name: {**carried, POLICY_SERVER_KEY_ID: signature}}, None, stored)
        return Answer({name: {POLICY_SERVER_KEY_ID: signature}}, None, stored)

    def _refusal(self, key: bytes) -> str:
        text = (
            "This was not accepted by the moderation of this room. "
            f"Reference: {reference_code(key)}."
        )
        return f"{text} If this is a mistake, ask: {self._contact}" if self._contact else text
