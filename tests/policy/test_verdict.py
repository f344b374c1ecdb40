import re

from hypothesis import given
from hypothesis import strategies as st

from policybot.policy.verdict import reference_code


@given(st.binary(min_size=32, max_size=32))
def test_reference_codes(key: bytes) -> None:
    code = reference_code(key)
    assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}", code)
    assert reference_code(key[:5] + bytes(27)) == code


def test_known_codes() -> None:
    assert reference_code(bytes(32)) == "0000-0000"
    assert reference_code(b"\xff" * 32) == "ZZZZ-ZZZZ"
    assert reference_code(b"\x00\x00\x00\x00\x01" + bytes(27)) == "0000-0001"
