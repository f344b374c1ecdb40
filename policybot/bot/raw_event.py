"""Events as the homeserver gives them: checked for their shape, otherwise left alone."""

import codecs
import json
import re
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import Any

from policybot.protocol.canonical_json import JsonObject

MAX_ELEMENT = 1 << 20
"""Characters of one element of an array. An event has at most 64 kB, some of it twice."""

Decrypt = Callable[[str, JsonObject], Awaitable[JsonObject | None]]
"""Gives the message in an ``m.room.encrypted`` event of a room; None if it cannot be read."""

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODE = json.JSONDecoder().raw_decode


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


class EventReader:
    """Reads a JSON array that comes in pieces and gives ``take`` the events in it one by one.
    What is no event is left out.

    A list of 100,000 rules is 42 MB of JSON: read like this, little more than a piece of it is
    ever in memory.
    """

    def __init__(self, take: Callable[[JsonObject], None]) -> None:
        self._take = take
        self._characters = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._next = _Next.ARRAY

    def feed(self, data: bytes) -> None:
        """Read the next piece, and take the events that end in it.

        Raises:
            ValueError, RecursionError: it is not JSON, not an array, or an element is too long.
        """
        text = self._text + self._characters.decode(data)
        position = self._mark(text, 0)
        while self._next in (_Next.FIRST, _Next.VALUE):
            try:
                value, end = _DECODE(text, position)
            except json.JSONDecodeError:
                break  # the rest of it is to come, or else `end` finds the fault
            if end == len(text):
                break  # a number may go on
            if is_event(value):
                self._take(value)
            self._next = _Next.MARK
            position = self._mark(text, end)
        self._text = text[position:]
        if len(self._text) > MAX_ELEMENT:
            raise ValueError("an element of the array is too long")

    def end(self) -> None:
        """Nothing more comes.

        Raises:
            ValueError: the array has no end.
        """
        if self._next is not _Next.NOTHING:
            raise ValueError("not a whole JSON array")

    def _mark(self, text: str, position: int) -> int:
        """Go on to the next value, over as many marks as there are."""
        while (position := _after_space(text, position)) < len(text):
            mark = text[position]
            if self._next is _Next.ARRAY and mark == "[":
                self._next = _Next.FIRST
            elif self._next is _Next.MARK and mark == ",":
                self._next = _Next.VALUE
            elif self._next in (_Next.MARK, _Next.FIRST) and mark == "]":
                self._next = _Next.NOTHING
            elif self._next in (_Next.FIRST, _Next.VALUE):
                return position
            elif self._next is _Next.NOTHING:
                return len(text)
            else:
                raise ValueError(f"not a JSON array: {mark!r} in a wrong place")
            position += 1
        return position


class _Next(Enum):
    """What has to come next."""

    ARRAY = auto()
    FIRST = auto()  # a value, or the end of an empty array
    VALUE = auto()
    MARK = auto()  # a comma or the end
    NOTHING = auto()


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
