"""The two JSON engines: orjson where it is installed, else json with canonicaljson.

Both give the same value or bytes, or both an error, for every input. They differ by nature in
numbers only: orjson makes floats of large integers and writes floats in another form. So the
orjson engine looks for such numbers, which hardly ever occur in Matrix, and leaves those inputs
to the plain one.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from canonicaljson import encode_canonical_json

try:
    import orjson
except ImportError:
    _HAS_ORJSON = False
else:
    _HAS_ORJSON = True

MAX_SAFE_INTEGER = 2**53 - 1


class InvalidJson(ValueError):
    """The text is not JSON, or the value has no canonical form; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class JsonEngine:
    """Parsing and canonical encoding; every function raises InvalidJson and nothing else.

    ``parse`` does not limit nesting: the caller has done this. It also tells whether it is known
    that ``strict`` would take the value. ``strict`` is ``canonical`` which
    also refuses floats and integers beyond 2^53 - 1, as room versions 6 and later do. ``checked``
    is ``canonical`` for a value that ``strict`` would take.
    """

    name: str
    parse: Callable[[bytes], tuple[Any, bool]]
    canonical: Callable[[Any], bytes]
    strict: Callable[[Any], bytes]
    checked: Callable[[Any], bytes]


_NOT_JSON = "The text is not valid JSON."


def _refuse_constant(_name: str) -> float:
    raise InvalidJson(_NOT_JSON)  # NaN and infinity


def _finite_float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise InvalidJson("The JSON has a number that is too large.")
    return number


# Lone surrogates can only come from escapes: the raw bytes were decoded strictly.
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


def _parse_plain(data: bytes) -> tuple[Any, bool]:
    try:
        value = json.loads(
            data.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite_float
        )
        if _SURROGATE_ESCAPE.search(data):
            # As pairs, so that one in a value which a later equal key replaces is seen too.
            pairs = json.loads(data, object_pairs_hook=list)
            json.dumps(pairs, ensure_ascii=False).encode("utf-8")
    except InvalidJson:
        raise
    except (ValueError, RecursionError):  # ValueError: also bad UTF-8, or thousands of digits
        raise InvalidJson(_NOT_JSON) from None
    return value, False


def _canonical_plain(value: Any) -> bytes:
    try:
        return encode_canonical_json(value)
    except UnicodeError:
        raise InvalidJson("A string is not valid Unicode.") from None
    except RecursionError:
        raise InvalidJson("The value is nested too deeply.") from None
    except (TypeError, ValueError):
        raise InvalidJson("The value cannot be written as JSON.") from None


def _strict_plain(value: Any) -> bytes:
    # Encoded first, so that a value which refers to itself is refused before the walk.
    encoded = _canonical_plain(value)
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, (list, tuple)):
            pending.extend(item)
        elif isinstance(item, float):
            raise InvalidJson("Numbers must be integers.")
        elif isinstance(item, int) and not -MAX_SAFE_INTEGER <= item <= MAX_SAFE_INTEGER:
            raise InvalidJson("Integers must lie within 2^53 - 1.")
    return encoded


PLAIN_ENGINE = JsonEngine("json", _parse_plain, _canonical_plain, _strict_plain, _canonical_plain)


# One kind of byte for all that can stand before a number, and one for all digits: the search then
# begins with a literal byte, which is several times faster than a set of them.
_ALIKE = bytes.maketrans(b":[ \t\r\n123456789E", b",,,,,,000000000e")
_UNSAFE_NUMBER = re.compile(rb",(?:0|-0)0*+(?:[.e]|(?<=0{16}))")
# orjson writes NaN as null.
_UNSAFE_OUTPUT = re.compile(rb",(?:(?:0|-0)0*+(?:[.e]|(?<=0{16}))|null)")


def _may_be_unsafe(data: bytes, pattern: re.Pattern[bytes]) -> bool:
    """Whether JSON text may hold a float or an integer beyond 2^53 - 1.

    True without such a number is possible (text in a string looks like one), False with one is
    not.
    """
    alike = data.translate(_ALIKE)
    return alike[:1] in (b"0", b"-", b"n") or pattern.search(alike) is not None


def _orjson_engine() -> JsonEngine:
    loads, dumps, error = orjson.loads, orjson.dumps, orjson.JSONDecodeError
    # What is no JSON type is left to the plain engine, which refuses it.
    canonical_options = (
        orjson.OPT_SORT_KEYS
        | orjson.OPT_PASSTHROUGH_DATACLASS
        | orjson.OPT_PASSTHROUGH_DATETIME
        | orjson.OPT_PASSTHROUGH_SUBCLASS
    )
    strict_options = canonical_options | orjson.OPT_STRICT_INTEGER

    def parse(data: bytes) -> tuple[Any, bool]:
        if _may_be_unsafe(data, _UNSAFE_NUMBER):
            return _parse_plain(data)
        try:
            return loads(data), True
        except error:
            raise InvalidJson(_NOT_JSON) from None

    def canonical(value: Any) -> bytes:
        try:
            encoded = dumps(value, option=canonical_options)
        except TypeError:
            return _canonical_plain(value)
        if _may_be_unsafe(encoded, _UNSAFE_OUTPUT):
            return _canonical_plain(value)
        return encoded

    def strict(value: Any) -> bytes:
        try:
            encoded = dumps(value, option=strict_options)
        except TypeError:
            return _strict_plain(value)
        if _may_be_unsafe(encoded, _UNSAFE_OUTPUT):
            return _strict_plain(value)
        return encoded

    def checked(value: Any) -> bytes:
        try:
            return dumps(value, option=canonical_options)
        except TypeError:
            return _canonical_plain(value)

    return JsonEngine("orjson", parse, canonical, strict, checked)


ORJSON_ENGINE = _orjson_engine() if _HAS_ORJSON else None
