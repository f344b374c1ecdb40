"""Identifiers of users, rooms, aliases and events (specification, appendix "Identifier Grammar").

What old servers once made is accepted too: any localpart without a NUL character.
"""

import re

from .server_name import is_server_name

MAX_BYTES = 255
"""The longest identifier, event type or state key, in UTF-8 bytes."""

_HASH = re.compile(r"[0-9A-Za-z_-]{43}")
_HASH_BASE64 = re.compile(r"[0-9A-Za-z+/]{43}")


class InvalidIdentifier(ValueError):
    """Not an identifier of the wanted kind; the message is one sentence."""


def fits(text: str) -> bool:
    """Whether the text has at most MAX_BYTES bytes and no lone surrogate."""
    length = len(text)
    if length > MAX_BYTES:
        return False
    if text.isascii():
        return True
    try:
        return len(text.encode("utf-8")) <= MAX_BYTES
    except UnicodeEncodeError:
        return False


def server_of(user_id: str) -> str:
    """The server part of a user ID, with its port if it has one, or InvalidIdentifier."""
    if not is_user_id(user_id):
        raise InvalidIdentifier("This is not a user ID.")
    return user_id.partition(":")[2]


def is_user_id(text: str) -> bool:
    """Whether the text is a user ID, ``@localpart:server``."""
    return _has_server(text, "@")


def is_room_id(text: str) -> bool:
    """Whether the text is a room ID: ``!opaque:server``, or ``!`` and a hash (room version 12)."""
    if ":" not in text:
        return text[:1] == "!" and _HASH.fullmatch(text, 1) is not None
    return _has_server(text, "!")


def is_room_alias(text: str) -> bool:
    """Whether the text is a room alias, ``#localpart:server``."""
    return _has_server(text, "#")


def is_event_id(text: str) -> bool:
    """Whether the text is an event ID: ``$opaque:server`` (room versions 1, 2), or ``$`` and a
    hash in either base64 alphabet."""
    if ":" not in text:
        return text[:1] == "$" and (
            _HASH.fullmatch(text, 1) is not None or _HASH_BASE64.fullmatch(text, 1) is not None
        )
    return _has_server(text, "$")


def _has_server(text: str, sigil: str) -> bool:
    if text[:1] != sigil or not fits(text) or "\0" in text:
        return False
    return is_server_name(text.partition(":")[2])
