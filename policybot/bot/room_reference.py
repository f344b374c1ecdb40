"""The room that a moderator means by what he types."""

from .client import MatrixClient, Refused
from .errors import CommandError
from .links import InvalidLink, RoomReference, parse_room
from .reply import quoted


def room_reference(text: str) -> RoomReference:
    """Raises:
    CommandError: it is no room.
    """
    try:
        return parse_room(text)
    except InvalidLink as error:
        raise CommandError(str(error)) from None


async def resolve_room(client: MatrixClient, text: str, what: str = "room") -> str:
    """The room ID behind an ID, alias or link; ``what`` names it in the error.

    Raises:
        CommandError: it is no room, or the alias leads nowhere.
    """
    reference = room_reference(text)
    if not reference.is_alias:
        return reference.room_id_or_alias
    try:
        room_id, _ = await client.resolve_alias(reference.room_id_or_alias)
    except Refused as error:
        raise CommandError(f"I cannot find that {what}: {quoted(error.message)}") from None
    return room_id
