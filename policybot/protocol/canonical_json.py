"""JSON as Matrix writes and signs it (specification, appendix "Canonical JSON").

Everything that comes from outside is parsed here, and everything that is hashed or signed is
encoded here; which library does it is decided in json_engine.
"""

import re
from typing import Any, NamedTuple

from .json_engine import MAX_SAFE_INTEGER, ORJSON_ENGINE, PLAIN_ENGINE, InvalidJson

__all__ = [
    "ENGINE_NAME",
    "MAX_NESTING",
    "MAX_SAFE_INTEGER",
    "InvalidJson",
    "JsonObject",
    "ParsedJson",
    "canonical_json",
    "checked_canonical_json",
    "parse_json",
    "read_json",
    "strict_canonical_json",
]

JsonObject = dict[str, Any]

MAX_NESTING = 100
"""How many arrays and objects may lie within each other in what we parse."""

_ENGINE = ORJSON_ENGINE or PLAIN_ENGINE
_parse, _canonical = _ENGINE.parse, _ENGINE.canonical
_strict, _checked = _ENGINE.strict, _ENGINE.checked

ENGINE_NAME = _ENGINE.name
"""The library in use, ``orjson`` or ``json``."""

# The closing quote is optional, so that a string without one is passed over once and not
# looked at again from each quote within it.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_TO_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class ParsedJson(NamedTuple):
    """What JSON text holds. ``strict`` means that ``strict_canonical_json`` is known to take the
    value and every part of it; ``size`` is the text's in bytes, which the canonical form of a
    strict value never exceeds."""

    value: Any
    strict: bool
    size: int


def parse_json(data: bytes) -> Any:
    """The value of UTF-8 JSON text, or InvalidJson.

    Refused besides wrong syntax: numbers that are not finite, integers of thousands of digits,
    lone surrogates, nesting beyond MAX_NESTING.
    """
    return read_json(data).value


def read_json(data: bytes) -> ParsedJson:
    """``parse_json``, with what is known of the value's numbers."""
    if data.count(b"[") + data.count(b"{") > MAX_NESTING and not _nesting_is_bounded(data):
        raise InvalidJson(f"The JSON is nested deeper than {MAX_NESTING} levels.")
    value, strict = _parse(data)
    return ParsedJson(value, strict, len(data))


def canonical_json(value: Any) -> bytes:
    """The canonical JSON of a value, or InvalidJson.

    Floats and integers of any size are written, since old room versions have them;
    ``strict_canonical_json`` refuses these.
    """
    return _canonical(value)


def strict_canonical_json(value: Any) -> bytes:
    """Canonical JSON as room versions 6 and later enforce it: no floats, integers within
    +-(2^53 - 1); InvalidJson otherwise."""
    return _strict(value)


def checked_canonical_json(value: Any) -> bytes:
    """The canonical JSON of a value that ``strict_canonical_json`` would take; faster, since it
    does not look for the numbers that are refused there."""
    return _checked(value)


def _nesting_is_bounded(data: bytes) -> bool:
    brackets = _STRING.sub(b"", data).translate(_TO_BRACKETS, _NOT_BRACKETS)
    if b"[" * (MAX_NESTING + 1) in brackets:
        return False
    # Each round takes away the innermost pairs, and with them one level.
    for _ in range(MAX_NESTING):
        if not brackets:
            return True
        brackets = brackets.replace(b"[]", b"")
    return not brackets
