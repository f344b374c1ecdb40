"""Links to users, rooms and events: ``https://matrix.to/#/…`` and ``matrix:`` URIs
(specification, appendices "matrix.to navigation" and "Matrix URI scheme")."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from .identifier import is_event_id, is_room_alias, is_room_id, is_user_id
from .server_name import is_server_name

MAX_VIA = 10
"""Servers kept of one link; the rest is left out."""

_MAX_LENGTH = 4_000
_MATRIX_TO = re.compile(r"https?://(?:www\.)?matrix\.to/(?:\?[^#]*)?#/?", re.IGNORECASE)
_MATRIX_URI = re.compile(r"matrix:(?://[^/?]*/)?", re.IGNORECASE)
_SIGILS = {"u": "@", "user": "@", "r": "#", "room": "#", "roomid": "!"}


class InvalidMatrixLink(ValueError):
    """A link that names nothing; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class MatrixLink:
    """What a link names: a user ID, room ID or alias, for an event also its ID; and servers
    through which the room can be joined."""

    identifier: str
    event_id: str | None = None
    via: tuple[str, ...] = ()


def parse_matrix_link(text: str) -> MatrixLink | None:
    """Take a link apart; None if the text is no such link.

    Raises:
        InvalidMatrixLink: it is one, but what it names cannot be a user, room or event.
    """
    if len(text) > _MAX_LENGTH:
        return None
    if match := _MATRIX_TO.match(text):
        names = _matrix_to_names
    elif match := _MATRIX_URI.match(text):
        names = _matrix_uri_names
    else:
        return None
    rest, _, query = text[match.end() :].partition("?")
    try:
        identifier, event_id = names(rest)
    except UnicodeDecodeError:
        raise InvalidMatrixLink("The link is damaged: it is not UTF-8.") from None
    is_room = is_room_id(identifier) or is_room_alias(identifier)
    if not is_room and not (is_user_id(identifier) and event_id is None):
        raise InvalidMatrixLink("The link names no user, room or event; copy the whole link.")
    if event_id is not None and not is_event_id(event_id):
        raise InvalidMatrixLink("The link's event ID is not whole; copy the whole link.")
    return MatrixLink(identifier, event_id, _via(query))


def _matrix_to_names(rest: str) -> tuple[str, str | None]:
    # A slash may stand unencoded inside room IDs and inside event IDs of room version 3.
    parts = re.split(r"/(?=\$|%24)", rest.rstrip("/"), maxsplit=1)
    return _decode(parts[0]), _decode(parts[1]) if len(parts) > 1 else None


def _matrix_uri_names(rest: str) -> tuple[str, str | None]:
    kind, _, rest = rest.partition("/")
    name, *event = re.split(r"/(?:e|event)/", rest, maxsplit=1)
    # Outside the specification, but seen: the sigil left in place.
    sigil = _SIGILS.get(kind.lower(), "")
    event_id = "$" + _decode(event[0]).removeprefix("$") if event else None
    return sigil + _decode(name).removeprefix(sigil), event_id


def _decode(text: str) -> str:
    return unquote(text, errors="strict")


def _via(query: str) -> tuple[str, ...]:
    pairs = parse_qsl(query, max_num_fields=None)
    servers = (value for name, value in pairs if name == "via" and is_server_name(value))
    return tuple(dict.fromkeys(servers))[:MAX_VIA]
