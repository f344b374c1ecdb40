"""What a moderator may type for a room or an event."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policybot.bot.links import (
    EventReference,
    InvalidLink,
    RoomReference,
    parse_event,
    parse_room,
)

HASH = "a" * 43


@pytest.mark.parametrize(
    ("text", "room"),
    [
        ("#mods:example.org", RoomReference("#mods:example.org")),
        ("  #mods:example.org\n", RoomReference("#mods:example.org")),
        ("“#mods:example.org”,", RoomReference("#mods:example.org")),
        ("(#mods:example.org).", RoomReference("#mods:example.org")),
        ("#\u200bmods:example.org", RoomReference("#mods:example.org")),
        ("!abc:example.org", RoomReference("!abc:example.org")),
        (f"!{HASH}", RoomReference(f"!{HASH}")),
        ("https://matrix.to/#/#mods:example.org", RoomReference("#mods:example.org")),
        ("<https://matrix.to/#/#mods:example.org>", RoomReference("#mods:example.org")),
        (
            "https://matrix.to/#/%21abc%3Aexample.org?via=a.org&via=b.org",
            RoomReference("!abc:example.org", ("a.org", "b.org")),
        ),
        (
            f"https://matrix.to/#/!{HASH}/${HASH}?via=a.org",
            RoomReference(f"!{HASH}", ("a.org",)),
        ),
        ("matrix:r/mods:example.org", RoomReference("#mods:example.org")),
        (f"matrix:roomid/{HASH}?via=a.org", RoomReference(f"!{HASH}", ("a.org",))),
    ],
)
def test_rooms(text: str, room: RoomReference) -> None:
    assert parse_room(text) == room
    assert room.is_alias == room.room_id_or_alias.startswith("#")


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "#room:example.org"),
        ("mods", "#room:example.org"),
        ("#mods", "lacks its server; write it as #room:example.org"),
        ("!abc", "#room:example.org"),
        ("example.org", "#room:example.org"),
        ("https://example.org", "#room:example.org"),
        ("#a:b#c:d", "#room:example.org"),
        ("@alice:example.org", "a user, not a room"),
        ("https://matrix.to/#/@alice:example.org", "a user, not a room"),
        ("matrix:u/alice:example.org", "a user, not a room"),
        ("$" + HASH, "an event, not a room"),
        ("https://matrix.to/#/nothing", "copy the whole link"),
    ],
)
def test_no_rooms(text: str, advice: str) -> None:
    with pytest.raises(InvalidLink, match=r"\.$") as caught:
        parse_room(text)
    assert advice in str(caught.value)


@pytest.mark.parametrize(
    ("text", "event"),
    [
        (f"${HASH}", EventReference(f"${HASH}")),
        ("$1:example.org", EventReference("$1:example.org")),
        (
            f"https://matrix.to/#/!{HASH}/${HASH}?via=a.org",
            EventReference(f"${HASH}", RoomReference(f"!{HASH}", ("a.org",))),
        ),
        (
            f"matrix:r/mods:example.org/e/{HASH}",
            EventReference(f"${HASH}", RoomReference("#mods:example.org")),
        ),
    ],
)
def test_events(text: str, event: EventReference) -> None:
    assert parse_event(text) == event


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "event ID"),
        ("$", "event ID"),
        ("$short", "event ID"),
        ("#mods:example.org", "event ID"),
        ("https://matrix.to/#/#mods:example.org", "link of the message itself"),
        ("matrix:roomid/a:b/e/short", "copy the whole link"),
    ],
)
def test_no_events(text: str, advice: str) -> None:
    with pytest.raises(InvalidLink, match=r"\.$") as caught:
        parse_event(text)
    assert advice in str(caught.value)


@given(st.text() | st.text(alphabet="!#$@:/%?<>a.m"))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for parse in (parse_room, parse_event):
        try:
            parse(text)
        except InvalidLink as error:
            assert str(error)
