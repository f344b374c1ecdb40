from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policybot.protocol.identifier import (
    InvalidIdentifier,
    fits,
    is_event_id,
    is_room_alias,
    is_room_id,
    is_user_id,
    server_of,
)

from .events import steady

HASH = "BV4PCQTs1-hNBV0yuD5ZeUY7F0eK8kIn1IwGMveOgxc"
KINDS: dict[str, Callable[[str], bool]] = {
    "@": is_user_id,
    "!": is_room_id,
    "#": is_room_alias,
    "$": is_event_id,
}


@pytest.mark.parametrize("rest", ["a:b", "a:b:8448", "a:[::1]:1", "É é/+:b", ":b"])
def test_with_a_server(rest: str) -> None:
    for sigil in KINDS:
        for kind, check in KINDS.items():
            assert check(sigil + rest) == (kind == sigil)


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "a",
        "a:",
        ":",
        "a:b c",
        "a:b:c",
        "a\0:b",
        "a:b\n",
        "\ud800:b",
        "é" * 127 + ":b",
        HASH + "x",
    ],
    ids=ascii,
)
def test_malformed(rest: str) -> None:
    for sigil, check in KINDS.items():
        assert not check(sigil + rest)


def test_made_of_a_hash() -> None:
    standard = HASH.replace("-", "+")
    assert is_room_id("!" + HASH)
    assert not is_room_id("!" + standard)
    assert is_event_id("$" + HASH)
    assert is_event_id("$" + standard)
    assert not is_event_id("$" + HASH[:-2] + "+_")
    assert not is_room_id("!" + HASH + "\n")
    assert not is_user_id("@" + HASH)


@pytest.mark.parametrize(
    ("user_id", "server"),
    [("@a:b", "b"), ("@a:b.c:8448", "b.c:8448"), ("@a:[::1]:1", "[::1]:1")],
)
def test_server_of(user_id: str, server: str) -> None:
    assert server_of(user_id) == server


@pytest.mark.parametrize("text", ["", "@", "a:b", "@a", "@a:", "@a:b:c", "@" + "a" * 10_000])
def test_server_of_what_is_no_user(text: str) -> None:
    with pytest.raises(InvalidIdentifier) as caught:
        server_of(text)
    assert len(str(caught.value)) < 60


def test_fits() -> None:
    assert fits("a" * 255)
    assert not fits("a" * 256)
    assert fits("é" * 127)
    assert not fits("é" * 128)
    assert not fits("\ud800")


@steady(200)
@given(st.text(st.characters(), max_size=12), st.sampled_from("@!#$"))
def test_any_text(text: str, sigil: str) -> None:
    for check in KINDS.values():
        check(text)
        check(sigil + text)
