"""Base64 without padding, as Matrix writes keys, hashes and signatures."""

import binascii

_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_TO_URLSAFE = bytes.maketrans(b"+/", b"-_")


def encode_base64(data: bytes) -> str:
    """Standard alphabet, no padding."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").decode("ascii")


def encode_base64_urlsafe(data: bytes) -> str:
    """URL-safe alphabet, no padding: event and room IDs."""
    encoded = binascii.b2a_base64(data, newline=False).rstrip(b"=")
    return encoded.translate(_TO_URLSAFE).decode("ascii")


def decode_base64(text: str) -> bytes:
    """The bytes of base64 text; either alphabet, padding optional, nothing else in between.

    Raises ValueError.
    """
    standard = text.encode("ascii").translate(_TO_STANDARD)
    digits = standard.rstrip(b"=")
    if len(standard) - len(digits) > 2:
        raise ValueError("The base64 has too much padding.")
    return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4), strict_mode=True)
