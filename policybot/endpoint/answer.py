"""What is answered for a decision: the signatures of our name, or a refusal's text."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from policybot.policy.verdict import reference_code
from policybot.protocol.pdu import Pdu
from policybot.protocol.signing import POLICY_SERVER_KEY_ID, SigningKey


class Answer(NamedTuple):
    """The decision for one request: signatures of our name, or the refusal's text.

    ``stored`` tells whether the verdict survives the end of the process.
    """

    signatures: Mapping[str, str] | None
    refusal: str | None
    stored: bool


class Signer:
    """Signs in the name of the policy server, and words its answers.

    ``contact`` is where people who are refused may ask; ``counts`` is where answers are counted.
    """

    def __init__(
        self, name: str, key: SigningKey, contact: str | None, counts: Counter[str]
    ) -> None:
        self._name = name
        self._key = key
        self._contact = contact
        self._counts = counts

    def signature(self, message: bytes) -> str:
        """The policy server's signature (unpadded base64) of an event's signing bytes."""
        return self._key.sign(message)

    def answer(self, pdu: Pdu, key: bytes, signature: str | None, *, stored: bool) -> Answer:
        """The answer about an event with the reference hash ``key``: signed, or refused where
        ``signature`` is None."""
        if signature is None:
            self._counts["refused"] += 1
            return Answer(None, self._refusal(key), stored)
        self._counts["signed"] += 1
        # Synapse 1.153 and others before replace the signatures of our name by what we return,
        # so a sender on that name would lose his server's own signature (synapse#19796).
        carried = pdu.event["signatures"].get(self._name)
        if carried:
            return Answer({**carried, POLICY_SERVER_KEY_ID: signature}, None, stored)
        return Answer({POLICY_SERVER_KEY_ID: signature}, None, stored)

    def _refusal(self, key: bytes) -> str:
        text = (
            "This was not accepted by the moderation of this room. "
            f"Reference: {reference_code(key)}."
        )
        return f"{text} If this is a mistake, ask: {self._contact}" if self._contact else text
