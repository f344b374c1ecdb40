"""What a moderator types to name a user, a server or a room.

The kind is never guessed from what something might mean: ``@…`` is a user, ``!…`` and ``#…`` are
rooms, links are taken apart, a bare name is a server, and anything else is refused.
"""

import re
from dataclasses import dataclass

from policybot.protocol.identifier import is_room_alias, is_room_id, is_user_id
from policybot.protocol.matrix_link import InvalidMatrixLink, parse_matrix_link
from policybot.protocol.pasted_name import bare_name, is_invisible
from policybot.protocol.server_name import parse_server_name, without_port

from .glob import MAX_STARS, collapse_stars, is_glob
from .rule import RuleKind, is_usable_name

# A glob for server names: characters that occur in them, and wildcards.
_SERVER_GLOB = re.compile(r"[0-9A-Za-z.*?-]+")
_ADDRESS_GLOB = re.compile(r"\[[0-9A-Fa-f:.*?]+\]")
# The server in a glob for users, or the end of one that leaves the server to a star.
_USER_GLOB = re.compile(r"@[^:]*:[0-9A-Za-z.:*?\[\]-]+|@[^:]*[0-9A-Za-z.*?-]")
_WEB_ADDRESS = re.compile(r"(?:[a-z]+:)?//([^/?#]+)|([^/?#:]+)/", re.IGNORECASE)
_NAME_IN_ADDRESS = re.compile(r"/([@#!][^/?#]+:[^/?#]+)")

# People who know Markdown put a backslash in front of a star.
_ESCAPED = re.compile(r"\\([*?_])")

_PLAIN_QUOTES = str.maketrans("“”", '""')

_HOW = (
    "Name a user (@name:example.org, or pick the person after typing @), a server (example.org) "
    "or a room (#name:example.org), or paste a link to one."
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
    text = _ESCAPED.sub(r"\1", bare_name(text))
    if not text:
        raise InvalidEntity(f"There is no name. {_HOW}")
    linked = _linked(text)
    if linked is not None:
        return Entity(RuleKind.USER if linked[0] == "@" else RuleKind.ROOM, linked)
    if not is_usable_name(text):
        raise InvalidEntity(f"The name is longer than 255 bytes or not valid text. {_HOW}")
    if collapse_stars(text).count("*") > MAX_STARS:
        raise InvalidEntity(f"The name may have no more than {MAX_STARS} stars.")
    if any(map(is_invisible, text)):
        raise InvalidEntity(
            f"{_quoted(text)} holds an invisible character. Type the name by hand, or paste a "
            "link to the user or room."
        )
    if text[0] == "@":
        return _user(text)
    if text[0] in "!#":
        return _room(text)
    return _server(text)


def _user(text: str) -> Entity:
    if is_glob(text):
        # A user ID has a colon, so without one only a star can stand for it.
        whole = ":" in text or "*" in text
        if whole and _USER_GLOB.fullmatch(text) and not _has_space(text):
            return Entity(RuleKind.USER, text)
    elif is_user_id(text) and not _has_space(text):
        return Entity(RuleKind.USER, text)
    _check_single(text)
    if ":" not in text:
        raise InvalidEntity(
            f"{_quoted(text)} lacks the server of the user; write @name:example.org. Or type @ "
            "and pick the person from the list that your client shows."
        )
    raise InvalidEntity(f"{_quoted(text)} is not a user ID, which looks like @name:example.org.")


def _room(text: str) -> Entity:
    valid = not _has_space(text) if is_glob(text) else is_room_id(text) or is_room_alias(text)
    if valid:
        return Entity(RuleKind.ROOM, text)
    _check_single(text)
    raise InvalidEntity(
        f"{_quoted(text)} is neither an alias (#name:example.org) nor a room ID "
        "(!opaque:example.org)."
    )


def _server(text: str) -> Entity:
    if text[0] == "$":
        raise InvalidEntity(f"{_quoted(text)} names an event. {_HOW}")
    if is_glob(text):
        if _SERVER_GLOB.fullmatch(text) or _ADDRESS_GLOB.fullmatch(text):
            if "." in text or ":" in text or not text.strip("*?"):
                return Entity(RuleKind.SERVER, text.lower())
    else:
        name = _server_name(text)
        if name is not None:
            return Entity(RuleKind.SERVER, name)
    raise InvalidEntity(_no_server(text))


def _no_server(text: str) -> str:
    """Why a text is no server name, and what may have been meant."""
    if "/" in text:
        return f"{_quoted(text)} is an address in the web.{_meant_by_address(text)}"
    _check_single(text)
    local, at, server = text.partition("@")
    if at:
        meant = f"@{local}:{server}"
        if is_user_id(meant) and not _has_space(meant):
            return (
                f"{_quoted(text)} looks like a mail address. If you mean a Matrix user, write "
                f"{_quoted(meant)}."
            )
        return f"{_quoted(text)} is not a server name. {_HOW}"
    if _has_space(text):
        return f"{_quoted(text)} is not a server name. {_HOW}"
    host, colon, port = text.rpartition(":")
    if colon and port.isdecimal() and _server_name(host) is not None:
        return (
            f"{_quoted(text)} has a port. A rule about a server holds for all of its ports; write "
            f"{_quoted(host)}."
        )
    if colon and is_user_id("@" + text) and not is_glob(text):
        return (
            f"{_quoted(text)} lacks its first character. For a user, write "
            f"{_quoted('@' + text)}; rooms begin with # or !."
        )
    if colon:
        return (
            f"{_quoted(text)} has a colon. A server is named without a port (example.org), its "
            "users are @*:example.org."
        )
    return f"{_quoted(text)} is neither a user ID nor a server name. {_HOW}"


def _meant_by_address(text: str) -> str:
    """What to write instead of a web address."""
    name = _NAME_IN_ADDRESS.search(text)
    if name is not None:
        return f" To name what it shows, write {_quoted(name[1])}."
    address = _WEB_ADDRESS.match(text)
    host = without_port(address[1] or address[2]) if address is not None else ""
    if _server_name(host) is not None:
        return f" To name the server, write {_quoted(host)} alone."
    return f" {_HOW}"


def _check_single(text: str) -> None:
    """Raises:
    InvalidEntity: the text looks like several names in one word.
    """
    if "," in text or ";" in text:
        raise InvalidEntity(
            f"{_quoted(text)} is more than one name. Write a command for each of them."
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
        raise InvalidEntity(f"The link leads to a message, not to who sent it. {_HOW}")
    if is_glob(link.identifier):
        raise InvalidEntity(f"The link leads to no user and no room. {_HOW}")
    return link.identifier


def _has_space(text: str) -> bool:
    return any(character.isspace() for character in text)


def _quoted(text: str) -> str:
    text = text.translate(_PLAIN_QUOTES)
    return f"“{text if len(text) <= 100 else text[:99] + '…'}”"
