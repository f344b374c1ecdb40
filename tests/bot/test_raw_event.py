"""Events as they come, one by one or many in pieces."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policybot.bot.raw_event import EventReader, events_of, is_event

EVENT = {"type": "a", "sender": "@b:c", "content": {"d": [1, "]", '"'], "e": "},{["}}


@pytest.mark.parametrize(
    "change",
    [
        {"type": 5},
        {"sender": None},
        {"content": []},
        {"content": None},
        {"state_key": 5},
        {"state_key": None},
        {"event_id": {}},
    ],
)
def test_what_is_no_event(change: dict[str, Any]) -> None:
    assert is_event(EVENT)
    assert is_event({**EVENT, "state_key": "", "event_id": "$x", "unsigned": 5})
    assert not is_event(EVENT | change)


def read(body: bytes, size: int) -> list[dict[str, Any]]:
    """What is read of a body that comes in pieces of so many bytes."""
    events: list[dict[str, Any]] = []
    reader = EventReader(events.append)
    for start in range(0, len(body), size):
        reader.feed(body[start : start + size])
    reader.end()
    return events


@pytest.mark.parametrize("value", [None, 5, "x", {}, {"events": []}])
def test_no_list_of_events(value: Any) -> None:
    assert not is_event(value)
    assert events_of(value) == []
    assert events_of([value, EVENT]) == [EVENT]


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        " [ ] ",
        "[{}]",
        "[1,null]",
        json.dumps([EVENT]),
        json.dumps([EVENT, 5, EVENT], indent=2),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1_000])
def test_arrays(text: str, size: int) -> None:
    expected = [value for value in json.loads(text) if value == EVENT]
    assert read(text.encode(), size) == expected


@pytest.mark.parametrize(
    "text", ["", " ", "{}", "[", "[1", "[1,", "[1 2]", "[,]", "[1,]", "5", "[1;2]", "x", "[nul]"]
)
@pytest.mark.parametrize("size", [1, 1_000])
def test_no_arrays(text: str, size: int) -> None:
    with pytest.raises(ValueError):
        read(text.encode(), size)


@pytest.mark.parametrize("size", [1, 1_000])
def test_no_utf8(size: int) -> None:
    with pytest.raises(ValueError):
        read(b'["\xff"]', size)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "type": st.text(),
                "sender": st.text(),
                "content": st.dictionaries(st.text(), st.text() | st.integers() | st.none()),
            }
        )
    ),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.integers(1, 40),
)
def test_the_same_as_reading_it_at_once(
    events: list[dict[str, Any]], indent: int | None, ascii_only: bool, size: int
) -> None:
    text = json.dumps(events, indent=indent, ensure_ascii=ascii_only)
    assert read(text.encode(errors="surrogatepass"), size) == events


def test_each_piece_gives_the_events_that_end_in_it() -> None:
    events: list[dict[str, Any]] = []
    reader = EventReader(events.append)
    one = json.dumps(EVENT).encode()
    pieces = (b"[" + one, b",", one[:9], one[9:] + b",null, " + one + b"]")
    for piece, so_far in zip(pieces, (0, 1, 1, 3), strict=True):
        reader.feed(piece)
        assert events == [EVENT] * so_far
    reader.end()


def test_what_is_in_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policybot.bot.raw_event.MAX_ELEMENT", 100)
    reader = EventReader(lambda event: None)
    reader.feed(b"[" + b"1," * 1_000)
    reader.feed(b'"' + b"x" * 90)
    with pytest.raises(ValueError, match="too long"):
        reader.feed(b"x" * 20)


def test_deep_nesting() -> None:
    with pytest.raises((ValueError, RecursionError)):
        read(b"[" * 100_000, 16_384)
