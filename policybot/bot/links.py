"""What a moderator types for a room or an event: an ID, an alias or a link."""

from dataclasses import dataclass

from policybot.protocol.identifier import is_event_id, is_room_alias, is_room_id, is_user_id
from policybot.protocol.matrix_link import InvalidMatrixLink, MatrixLink, parse_matrix_link
from policybot.protocol.pasted_name import bare_name


class InvalidLink(ValueError):
    """Not what was asked for; the message is a sentence that says what to write instead."""


@dataclass(frozen=True, slots=True)
class RoomReference:
    """A room by ID or alias, and servers through which it can be joined."""

    room_id_or_alias: str
    via: tuple[str, ...] = ()

    @property
    def is_alias(self) -> bool:
        """Whether the alias has to be resolved first."""
        return self.room_id_or_alias.startswith("#")


@dataclass(frozen=True, slots=True)
class EventReference:
    """An event; ``room`` is None where only the event ID was given."""

    event_id: str
    room: RoomReference | None = None


def parse_room(text: str) -> RoomReference:
    """A room ID, an alias, or a link to a room or to an event in it.

    Raises:
        InvalidLink: it is something else.
    """
    text = bare_name(text)
    link = _link(text)
    name = link.identifier if link is not None else text
    if is_room_id(name) or is_room_alias(name):
        return RoomReference(name, link.via if link is not None else ())
    if is_user_id(name):
        raise InvalidLink("This is a user, not a room.")
    if text.startswith("$"):
        raise InvalidLink("This is an event, not a room; give the room's alias, ID or link.")
    if name.startswith("#") and ":" not in name:
        raise InvalidLink("This alias lacks its server; write it as #room:example.org.")
    raise InvalidLink(
        "This is not a room; write an alias such as #room:example.org, a room ID or a link."
    )


def parse_event(text: str) -> EventReference:
    """An event ID or a link to an event.

    Raises:
        InvalidLink: it is something else.
    """
    text = bare_name(text)
    link = _link(text)
    if link is None and is_event_id(text):
        return EventReference(text)
    if link is not None and link.event_id is not None:
        return EventReference(link.event_id, RoomReference(link.identifier, link.via))
    if link is not None:
        raise InvalidLink("This links to no event; use the link of the message itself.")
    raise InvalidLink("This is not an event; write an event ID or the link of a message.")


def _link(text: str) -> MatrixLink | None:
    try:
        return parse_matrix_link(text)
    except InvalidMatrixLink as error:
        raise InvalidLink(str(error)) from None
