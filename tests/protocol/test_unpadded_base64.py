import pytest
from hypothesis import given
from hypothesis import strategies as st

from policybot.protocol.unpadded_base64 import (
    decode_base64,
    encode_base64,
    encode_base64_urlsafe,
)

from .events import steady


@pytest.mark.parametrize(
    ("data", "standard", "urlsafe"),
    [
        (b"", "", ""),
        (b"f", "Zg", "Zg"),
        (b"fo", "Zm8", "Zm8"),
        (b"foo", "Zm9v", "Zm9v"),
        (b"\xfb\xff\xfe", "+//+", "-__-"),
    ],
)
def test_both_alphabets(data: bytes, standard: str, urlsafe: str) -> None:
    assert encode_base64(data) == standard
    assert encode_base64_urlsafe(data) == urlsafe
    assert decode_base64(standard) == decode_base64(urlsafe) == data


@pytest.mark.parametrize("text", ["Zg==", "Zg=", "Zm8=", "Zm8", "Zm9v="])
def test_padding_is_optional(text: str) -> None:
    assert decode_base64(text) in (b"f", b"fo", b"foo")


@pytest.mark.parametrize(
    "text",
    ["Z", "Zm9vZ", "Zg===", "=Zg", "Z=g", "Zm 9v", "Zm9v\n", "Zm9v.", "Zm9v\0", "é", "\ud800", "="]
    + ["Zg==Zg==", "Zm9v!!!!", "\u0130A"],
)
def test_junk(text: str) -> None:
    if text == "=":
        assert decode_base64(text) == b""
        return
    with pytest.raises(ValueError):
        decode_base64(text)


@steady(200)
@given(st.binary(max_size=70))
def test_round_trip(data: bytes) -> None:
    assert decode_base64(encode_base64(data)) == data
    assert decode_base64(encode_base64_urlsafe(data)) == data


@steady(200)
@given(st.text(max_size=12) | st.text("AZaz09+/-_= \n", max_size=12))
def test_any_text_gives_bytes_or_value_error(text: str) -> None:
    try:
        decode_base64(text)
    except ValueError:
        pass
