"""What other servers send: all that happens in the rooms that they share with us.

We keep none of it. Whether a room's state is as an event says is for a homeserver to decide, which
knows who may do what there; so an event is only a hint to ask ours.

Specification: Server-Server API, "Transactions".
"""

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from policybot.policy.room import ROOM_STATE
from policybot.protocol.canonical_json import JsonObject

from .errors import BadJson

MAX_PDUS = 50
MAX_EDUS = 100

_STATE = frozenset(ROOM_STATE)


class Hints(Protocol):
    """Who reads the state of protected rooms again."""

    def hint(self, room_id: str) -> None:
        """Somebody says that the state of a protected room has changed."""
        ...


class Transactions:
    """Takes transactions; ``users`` are our policy users."""

    def __init__(self, users: Collection[str], rooms: Collection[str], hints: Hints) -> None:
        self._rooms = rooms
        self._hints = hints
        self._told = _STATE | {("m.room.member", user) for user in users}

    def take(self, transaction: JsonObject) -> None:
        """Tell of each room at most once. An event that makes no sense spoils no other.

        Raises:
            BadJson: it is no transaction.
        """
        pdus = _items(transaction, "pdus", MAX_PDUS)
        _items(transaction, "edus", MAX_EDUS)
        rooms = (pdu["room_id"] for pdu in pdus if self._concerns(pdu))
        for room_id in dict.fromkeys(rooms):
            self._hints.hint(room_id)

    def _concerns(self, pdu: Any) -> bool:
        match pdu:
            case {"room_id": str(room_id), "type": str(event_type), "state_key": str(state_key)}:
                return (event_type, state_key) in self._told and room_id in self._rooms
        return False


def _items(transaction: Mapping[str, Any], field: str, most: int) -> list[Any]:
    items = transaction.get(field, [])
    if not isinstance(items, list):
        raise BadJson(f"The field {field} must be a list.")
    if len(items) > most:
        raise BadJson(f"The field {field} must have at most {most} entries.")
    return items
