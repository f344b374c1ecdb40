"""Until when a certificate is good (RFC 5280, section 4.1): Python tells that only to who connects
and trusts it."""

from datetime import UTC, datetime
from typing import NamedTuple

_EXPLICIT_VERSION = 0xA0
_UTC_TIME = 0x17


class _Element(NamedTuple):
    """One value of DER: its tag, and what is inside."""

    tag: int
    content: bytes


def not_after(der: bytes) -> int:
    """The end of a certificate in DER, in milliseconds since 1970.

    Raises:
        ValueError: it is not a certificate.
    """
    try:
        (certificate,) = _elements(der)
        fields = _elements(_elements(certificate.content)[0].content)
        if fields[0].tag == _EXPLICIT_VERSION:
            del fields[0]
        _serial_number, _signature, _issuer, validity, *_ = fields
        _, end = _elements(validity.content)
        text = end.content.decode("ascii")
        if end.tag == _UTC_TIME:  # years with two digits, from 1950 to 2049
            text = ("19" if text >= "50" else "20") + text
        return int(datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()) * 1000
    except (IndexError, ValueError) as error:
        raise ValueError(f"its dates cannot be read: {error}") from None


def _elements(data: bytes) -> list[_Element]:
    found = []
    while data:
        tag, length, start = data[0], data[1], 2
        if length & 0x80:  # the length itself has more than one byte
            start += length & 0x7F
            length = int.from_bytes(data[2:start], "big")
        found.append(_Element(tag, data[start : start + length]))
        data = data[start + length :]
    return found
