"""What a moderator types to name a user, a server or a room.

The kind is never guessed from what something might mean: ``@…`` is a user, ``!…`` and ``#…`` are
rooms, links are taken apart, a bare name is a server, and anything else is refused.
"""

import re
from dataclasses import dataclass

from policybot.protocol.identifier import is_room_alias, is_room_id, is_user_id
from policybot.protocol.matrix_link import InvalidMatrixLink, parse_matrix_link
from policybot.protocol.server_name import parse_server_name

from .glob import MAX_STARS, collapse_stars, is_glob
from .rule import RuleKind, is_usable_name

# A glob for server names: characters that occur in them, and wildcards.
_SERVER_GLOB = re.compile(r"[0-9A-Za-z.*?-]+")
_ADDRESS_GLOB = re.compile(r"\[[0-9A-Fa-f:.*?]+\]")

_HOW = (
    "Name a user (@name:example.org), a server (example.org) or a room (#name:example.org), "
    "or paste a link to one."
)


class InvalidEntity(ValueError):
    """The text names nothing; the message is a sentence for the moderator."""


@dataclass(frozen=True, slots=True)
class Entity:
    """A name or a glob, and what it names."""

    kind: RuleKind
    text: str

    @property
    def is_glob(self) -> bool:
        """Whether it stands for more than one entity."""
        return is_glob(self.text)


def parse_entity(text: str) -> Entity:
    """Read an ID, a server name, an alias, a glob of one of these, or a link."""
    text = text.strip()
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1].strip()
    if not text:
        raise InvalidEntity(f"There is no name. {_HOW}")
    linked = _linked(text)
    if linked is not None:
        return Entity(RuleKind.USER if linked[0] == "@" else RuleKind.ROOM, linked)
    if not is_usable_name(text):
        raise InvalidEntity(f"The name is longer than 255 bytes or not valid text. {_HOW}")
    if collapse_stars(text).count("*") > MAX_STARS:
        raise InvalidEntity(f"The name may have no more than {MAX_STARS} stars.")
    if text[0] == "@":
        return _user(text)
    if text[0] in "!#":
        return _room(text)
    return _server(text)


def _user(text: str) -> Entity:
    if is_glob(text):
        # A user ID has a colon, so without one only a star can stand for it.
        if (":" in text or "*" in text) and not _has_space(text):
            return Entity(RuleKind.USER, text)
    elif is_user_id(text) and not _has_space(text):
        return Entity(RuleKind.USER, text)
    raise InvalidEntity(f"{_quoted(text)} is not a user ID, which looks like @name:example.org.")


def _room(text: str) -> Entity:
    valid = not _has_space(text) if is_glob(text) else is_room_id(text) or is_room_alias(text)
    if valid:
        return Entity(RuleKind.ROOM, text)
    raise InvalidEntity(
        f"{_quoted(text)} is neither an alias (#name:example.org) nor a room ID "
        "(!opaque:example.org)."
    )


def _server(text: str) -> Entity:
    if text[0] == "$":
        raise InvalidEntity(f"{_quoted(text)} names an event. {_HOW}")
    if "://" in text or "/" in text:
        raise InvalidEntity(
            f"{_quoted(text)} is not a link to a user or a room. A server is named alone, "
            "for instance example.org."
        )
    if "@" in text or _has_space(text):
        raise InvalidEntity(f"{_quoted(text)} is not a server name. {_HOW}")
    if is_glob(text):
        if _SERVER_GLOB.fullmatch(text) or _ADDRESS_GLOB.fullmatch(text):
            if "." in text or ":" in text or not text.strip("*?"):
                return Entity(RuleKind.SERVER, text.lower())
    else:
        name = _server_name(text)
        if name is not None:
            return Entity(RuleKind.SERVER, name)
    if ":" in text:
        raise InvalidEntity(
            f"{_quoted(text)} has a colon. A server is named without a port (example.org), "
            "its users are @*:example.org."
        )
    raise InvalidEntity(
        f"{_quoted(text)} is neither a user ID (@name:example.org) nor a server name "
        "(example.org)."
    )


def _server_name(text: str) -> str | None:
    """The server name in lower case, if it is one without a port that has a dot in it or is an
    address; one word alone is more likely half of a user ID."""
    try:
        name = parse_server_name(text)
    except ValueError:
        return None
    if name.port is not None:
        return None
    if name.is_ip_literal or "." in text.strip(".") or text.lower() == "localhost":
        return text.lower()
    return None


def _linked(text: str) -> str | None:
    """The user, room or alias that a link leads to; None if the text is no link."""
    try:
        link = parse_matrix_link(text)
    except InvalidMatrixLink as error:
        raise InvalidEntity(f"{error} {_HOW}") from None
    if link is None:
        return None
    if link.event_id is not None:
        raise InvalidEntity(f"The link leads to an event. {_HOW}")
    if is_glob(link.identifier):
        raise InvalidEntity(f"The link leads to no user and no room. {_HOW}")
    return link.identifier


def _has_space(text: str) -> bool:
    return any(character.isspace() for character in text)


def _quoted(text: str) -> str:
    return f"“{text if len(text) <= 100 else text[:99] + '…'}”"
