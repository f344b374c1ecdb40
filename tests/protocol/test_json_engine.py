"""The two engines give the same value or bytes, or both an error."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policybot.protocol.json_engine import (
    ORJSON_ENGINE,
    PLAIN_ENGINE,
    InvalidJson,
    JsonEngine,
)

from .events import json_lookalikes, json_values, steady

ENGINES = [PLAIN_ENGINE, *([ORJSON_ENGINE] if ORJSON_ENGINE else [])]


def outcome(function: Callable[[Any], Any], argument: Any) -> str:
    """The result in a form that tells 1, 1.0 and True apart, or why it is refused."""
    try:
        return repr(function(argument))
    except InvalidJson as error:
        return f"refused: {error}"


def parsed_by(engine: JsonEngine) -> Callable[[bytes], Any]:
    return lambda data: engine.parse(data)[0]


def test_both_engines_are_tested() -> None:
    assert ORJSON_ENGINE is not None, "install the extra 'fast'"


HOSTILE = [
    b"",
    b" ",
    b"\xef\xbb\xbf{}",
    b'{"a":"\xef\xbb\xbf"}',
    "{}".encode("utf-16"),
    "{}".encode("utf-16-le"),
    "{}".encode("utf-32"),
    b"-0",
    b"[-0]",
    b"-0.0",
    b"[0e0]",
    b"[1E400]",
    b"[-1E400]",
    b"[1E-400]",
    b"[1e5, 1.5E+3,0.1]",
    b'{"a":9007199254740991}',
    b'{"a":9007199254740992}',
    b'{"a":9007199254740993}',
    b'{"a": 9223372036854775807}',
    b'{"a":\t9223372036854775808}',
    b'{"a":\n18446744073709551615}',
    b'{"a":\r18446744073709551616}',
    b"[-9223372036854775808]",
    b"[-9223372036854775809]",
    b"18446744073709551616",
    b" 18446744073709551616",
    b"1" * 4300,
    b"1" * 4301,
    b"[" + b"1" * 100_000 + b"]",
    b"[0." + b"1" * 100_000 + b"]",
    b"[1e" + b"1" * 100_000 + b"]",
    b'{"a":1,"b":2,"a":3}',
    b'{"a":{"x":1},"a":{"y":2}}',
    b'"\\u0000"',
    b'"\\ud800"',
    b'"\\uDFFF"',
    b'{"\\ud800":1}',
    b'{"a":"\\ud800","a":1}',
    b'{"a":{"\\ud800":1},"a":1}',
    b'{"a":NaN,"a":1}',
    b'{"a":1E400,"a":1}',
    b'"\\udc00\\ud800"',
    b'"\\ud83d\\ude00"',
    b'"\\ud800\\u0041"',
    b'"\\\\ud800"',
    b'"\xed\xa0\x80"',
    b'"\xff"',
    b'"\xc0\x80"',
    b'"\xe2\x80\xa8\xe2\x80\xa9"',
    b'"\x7f"',
    b'"\x1f"',
    b'"\n"',
    b'"\\x41"',
    b"'a'",
    b"01",
    b"+1",
    b"1.",
    b".5",
    b"0x10",
    b"1_000",
    "[\u0661]".encode(),
    b"[1,]",
    b'{"a":1,}',
    b"{a:1}",
    b"[1] 2",
    b"[]]",
    b"[]\x00",
    b"[]\x0c",
    b"\xc2\xa0[]",
    b"// x\n[]",
    b"NaN",
    b"[NaN]",
    b"[Infinity]",
    b"[-Infinity]",
    b"nul",
    b"True",
    b"[" * 100 + b"]" * 100,
]


@pytest.mark.parametrize("data", HOSTILE, ids=lambda data: repr(data[:24]))
def test_hostile_text_parses_alike(data: bytes) -> None:
    assert len({outcome(parsed_by(engine), data) for engine in ENGINES}) == 1


@steady(400)
@given(json_lookalikes())
def test_any_bytes_parse_alike(data: bytes) -> None:
    # The engines leave the limit on nesting to their caller.
    if data.count(b"[") + data.count(b"{") <= 100:
        assert len({outcome(parsed_by(engine), data) for engine in ENGINES}) == 1


@steady(400)
@given(json_values(strict=False) | json_values(strict=True), st.sampled_from([None, 1]))
def test_what_is_said_to_be_strict_is_taken_as_such(value: Any, indent: int | None) -> None:
    for ascii_only in (False, True):
        data = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
        for engine in ENGINES:
            parsed, strict = engine.parse(data)
            if strict:
                assert len(engine.strict(parsed)) <= len(data)


@steady(300)
@given(json_values(strict=False), st.sampled_from([None, 1]), st.booleans())
def test_any_json_parses_alike(value: Any, indent: int | None, ascii_only: bool) -> None:
    data = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    for engine in ENGINES:
        assert repr(engine.parse(data)[0]) == repr(value)


@steady(300)
@given(json_values(strict=False) | json_values(strict=True))
def test_values_are_written_alike(value: Any) -> None:
    assert len({outcome(engine.canonical, value) for engine in ENGINES}) == 1
    assert len({outcome(engine.strict, value) for engine in ENGINES}) == 1


@steady(200)
@given(json_values(strict=True))
def test_checked_values_are_written_alike(value: Any) -> None:
    assert len({outcome(engine.checked, value) for engine in ENGINES}) == 1
    for engine in ENGINES:
        encoded = engine.strict(value)
        assert engine.checked(value) == engine.canonical(value) == encoded
        assert engine.parse(encoded)[0] == value


def _circular() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


def _nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        [float("nan")],
        {"a": float("nan")},
        [float("inf")],
        "\ud800",
        {"\udfff": 1},
        {1: 2},
        {"a": 1, 2: 3},
        {None: 1},
        b"bytes",
        [{1, 2}],
        object(),
        (1, 2),
        1e-7,
        1e16,
        -0.0,
        2**53,
        2**63,
        2**64,
        -(2**63) - 1,
        10**5000,
        _circular(),
        _nested(300),
        _nested(100_000),
    ],
    ids=lambda value: f"{type(value).__name__}",
)
def test_odd_values_are_written_alike(value: Any) -> None:
    assert len({outcome(engine.canonical, value) for engine in ENGINES}) == 1
    assert len({outcome(engine.strict, value) for engine in ENGINES}) == 1


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
@pytest.mark.parametrize(
    "value",
    [1.0, [1.5], {"a": [1e16]}, 2**53, {"a": -(2**53)}, 2**64, (0.5,), float("nan"), "\ud800"],
)
def test_strict_refuses(engine: JsonEngine, value: Any) -> None:
    with pytest.raises(InvalidJson):
        engine.strict(value)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ({"b": 1, "a": 2}, b'{"a":2,"b":1}'),
        ({"\U0001f600": 1, "\ue000": 2}, '{"\ue000":2,"\U0001f600":1}'.encode()),
        ("\x00\x1f\x7f\u2028", '"\\u0000\\u001f\x7f\u2028"'.encode()),
        ('\b\t\n\f\r"\\/', b'"\\b\\t\\n\\f\\r\\"\\\\/"'),
        ([None, True, False], b"[null,true,false]"),
        (2**53 - 1, b"9007199254740991"),
        ({"text": "see: 1.5, null, 12345678901234567"}, None),
    ],
)
def test_strict_form(engine: JsonEngine, value: Any, encoded: bytes | None) -> None:
    expected = json.dumps(value, separators=(",", ":")).encode() if encoded is None else encoded
    assert engine.strict(value) == expected
