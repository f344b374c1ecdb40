"""Events as they come, and reading many of them without holding up others."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policybot.bot.raw_event import events_of, is_event, parse_events

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
async def test_arrays(text: str) -> None:
    expected = [value for value in json.loads(text) if value == EVENT]
    assert await parse_events(text.encode()) == expected


@pytest.mark.parametrize(
    "text", ["", " ", "{}", "[", "[1", "[1,", "[1 2]", "[,]", "5", "[1;2]", "x"]
)
async def test_no_arrays(text: str) -> None:
    with pytest.raises(ValueError):
        await parse_events(text.encode())


async def test_no_utf8() -> None:
    with pytest.raises(ValueError):
        await parse_events(b'["\xff"]')


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
)
def test_the_same_as_reading_it_at_once(events: list[dict[str, Any]], indent: int | None) -> None:
    body = json.dumps(events, indent=indent).encode()
    assert asyncio.run(parse_events(body)) == events


async def test_others_get_their_turn() -> None:
    body = json.dumps([EVENT] * 2_000).encode()
    turns = 0
    done = False

    async def other() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    assert len(await parse_events(body)) == 2_000
    done = True
    await task
    assert turns >= 5
