"""Events as the homeserver gives them: checked for their shape, otherwise left alone."""

import asyncio
import itertools
import json
import re
from typing import Any

from policybot.protocol.canonical_json import JsonObject

# A list of 100,000 rules takes a second to parse; in steps of so many events nobody waits for it.
_EVENTS_PER_STEP = 200
_SPACE = re.compile(r"[ \t\r\n]*")


def is_event(value: Any) -> bool:
    """Whether the fields that every event has, and that are read without looking, fit."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("type"), str)
        and isinstance(value.get("sender"), str)
        and isinstance(value.get("content"), dict)
        and isinstance(value.get("state_key", ""), str)
        and isinstance(value.get("event_id", ""), str)
    )


def events_of(value: Any) -> list[JsonObject]:
    """The events in what should be a list of events."""
    return [event for event in value if is_event(event)] if isinstance(value, list) else []


async def parse_events(body: bytes) -> list[JsonObject]:
    """Read a JSON array of events, giving way to other tasks; what is no event is left out.

    Raises:
        ValueError: the body is not a JSON array.
    """
    text = body.decode()
    decode = json.JSONDecoder().raw_decode
    events: list[JsonObject] = []
    position = _expect("[", text, 0)
    if text[position : position + 1] == "]":
        return events
    for count in itertools.count(1):
        value, position = decode(text, position)
        if is_event(value):
            events.append(value)
        position = _after_space(text, position)
        if text[position : position + 1] == "]":
            break
        position = _expect(",", text, position)
        if count % _EVENTS_PER_STEP == 0:
            await asyncio.sleep(0)
    return events


def _expect(mark: str, text: str, position: int) -> int:
    position = _after_space(text, position)
    if text[position : position + 1] != mark:
        raise ValueError(f"not a JSON array: no {mark} at {position}")
    return _after_space(text, position + 1)


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def age_ms(event: JsonObject, now_ms: int) -> int:
    """How many milliseconds ago an event that came by sync was sent; 0 if it does not tell.

    The homeserver's word counts, where it gives one: a clock of ours that is a day ahead must not
    make every command too old.
    """
    unsigned, sent = event.get("unsigned"), event.get("origin_server_ts")
    age = unsigned.get("age") if isinstance(unsigned, dict) else None
    if isinstance(age, int):
        return age
    return now_ms - sent if isinstance(sent, int) else 0
