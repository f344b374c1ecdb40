"""The floor: the cryptography that the answer about a new event cannot do without.

Two Ed25519 verifications (the caller's request, the event), one signature and two SHA-256 hashes
(content, event ID), over what is really verified, signed and hashed, through the same functions of
nacl.bindings and hashlib that policybot calls. No base64, JSON, HTTP or database.
"""

import time
from collections.abc import Sequence
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nacl.bindings import crypto_sign, crypto_sign_keypair, crypto_sign_open


class Floor:
    """Takes measurements in between others, since processor time differs from minute to minute.

    ``request`` is what the caller's signature covers, ``event`` what the event's signatures and
    its ID cover, ``content`` what its content hash covers.
    """

    def __init__(self, request: bytes, event: bytes, content: bytes, rounds: int = 2_000) -> None:
        self._public, self._secret = crypto_sign_keypair()
        self._signed = [crypto_sign(message, self._secret)[:64] for message in (request, event)]
        self._request, self._event, self._content = request, event, content
        self._rounds = rounds
        self.measured_us: list[float] = []

    def measure(self) -> float:
        """Add one measurement: processor time of this process, in microseconds."""
        public, secret, request, event = self._public, self._secret, self._request, self._event
        of_request, of_event = self._signed
        begun = time.process_time()
        for _ in range(self._rounds):
            crypto_sign_open(of_request + request, public)
            crypto_sign_open(of_event + event, public)
            crypto_sign(event, secret)
            sha256(event).digest()
            sha256(self._content).digest()
        measured = (time.process_time() - begun) / self._rounds * 1e6
        self.measured_us.append(measured)
        return measured

    def measure_cryptography(self) -> float:
        """The same with the functions of the library cryptography, which is OpenSSL; this adds
        nothing to ``measured_us``."""
        private = Ed25519PrivateKey.generate()
        public = private.public_key()
        of_request, of_event = private.sign(self._request), private.sign(self._event)
        begun = time.process_time()
        for _ in range(self._rounds):
            public.verify(of_request, self._request)
            public.verify(of_event, self._event)
            private.sign(self._event)
            sha256(self._event).digest()
            sha256(self._content).digest()
        return (time.process_time() - begun) / self._rounds * 1e6


def median(values: Sequence[float]) -> float:
    """The middle of the values, the lower one of two."""
    return sorted(values)[(len(values) - 1) // 2]
