import pytest
from hypothesis import given
from hypothesis import strategies as st

from policybot.protocol.canonical_json import (
    MAX_NESTING,
    InvalidJson,
    canonical_json,
    parse_json,
    strict_canonical_json,
)

from .events import json_lookalikes, steady


def nested(levels: int) -> bytes:
    return (
        b'{"a":[' * (levels // 2)
        + b"[" * (levels % 2)
        + b"]" * (levels % 2)
        + (b"]}" * (levels // 2))
    )


@pytest.mark.parametrize("levels", [0, 1, 2, MAX_NESTING - 1, MAX_NESTING])
def test_nesting_within_the_limit(levels: int) -> None:
    data = b'{"first":%s}' % (nested(levels - 1) or b"0") if levels else b"0"
    parse_json(data)


@pytest.mark.parametrize("levels", [MAX_NESTING + 1, 1_000, 100_000])
def test_nesting_beyond_the_limit(levels: int) -> None:
    with pytest.raises(InvalidJson, match="nested"):
        parse_json(nested(levels))


@pytest.mark.parametrize(
    "data",
    [
        b"[" + b",".join([b"[]"] * 5_000) + b"]",
        b"[" + b",".join([b'{"a":[{}]}'] * 500) + b"]",
        b'"' + b"[" * 5_000 + b'"',
        b'["' + b'\\"[{' * 500 + b'\\\\",[]]',
        b'{"' + b"[" * 500 + b'":"' + b"]" * 500 + b'"}',
    ],
    ids=lambda data: repr(data[:16]),
)
def test_many_brackets_that_are_not_nested(data: bytes) -> None:
    parse_json(data)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 60_000,
        b"]" * 60_000 + b"[" * 200,
        b'"' + b'\\"' * 30_000 + b"[" * 200,
        b'"' * 60_001 + b"[" * 200,
        (b"[" * 50 + b"]" * 50) * 600,
        b"[" * 200 + b"\\" * 30_001,
        b'{"a":' * 10_000,
    ],
    ids=lambda data: repr(data[:16]),
)
def test_brackets_that_do_not_match(data: bytes) -> None:
    with pytest.raises(InvalidJson):
        parse_json(data)


@pytest.mark.parametrize("data", [b"[1E400]", b'["\\ud800"]', b"[" + b"1" * 5_000 + b"]", b"{"])
def test_refused_text(data: bytes) -> None:
    with pytest.raises(InvalidJson):
        parse_json(data)


@steady(300)
@given(json_lookalikes(), st.integers(0, 3))
def test_any_bytes_give_a_value_or_our_error(data: bytes, repetitions: int) -> None:
    try:
        value = parse_json(data * repetitions)
    except InvalidJson:
        return
    encoded = canonical_json(value)
    assert canonical_json(parse_json(encoded)) == encoded
    try:
        strict_canonical_json(value)
    except InvalidJson:
        pass


def test_errors_do_not_repeat_the_text() -> None:
    with pytest.raises(InvalidJson) as caught:
        parse_json(b'{"' + b"secret" * 1_000)
    assert "secret" not in str(caught.value)
