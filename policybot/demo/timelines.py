"""What a client saw by /sync, room by room, since its account was made."""

from ..protocol.canonical_json import JsonObject


class Timelines:
    """The events of all rooms in the order in which the homeserver showed them."""

    def __init__(self) -> None:
        self._rooms: dict[str, list[JsonObject]] = {}
        self._known: set[str] = set()

    def take(self, answer: JsonObject) -> None:
        """Add what is new in the answer to a /sync."""
        rooms = answer.get("rooms", {})
        for kind in ("join", "leave"):
            for room_id, room in rooms.get(kind, {}).items():
                for event in room.get("timeline", {}).get("events", ()):
                    # A room that is joined again comes with what is known already.
                    if event["event_id"] not in self._known:
                        self._known.add(event["event_id"])
                        self._rooms.setdefault(room_id, []).append(event)

    def events(self, room_id: str, after: str | None = None) -> list[JsonObject]:
        """The events of a room so far, oldest first.

        With ``after``, those that follow this event: none as long as it was not seen itself.
        """
        events = self._rooms.get(room_id, [])
        if after is None:
            return list(events)
        ids = [event["event_id"] for event in events]
        return events[ids.index(after) + 1 :] if after in ids else []

    def has(self, event_id: str) -> bool:
        """Whether this event was shown."""
        return event_id in self._known
