"""A room of the fake homeserver: events in order, state, members and who may send what."""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

JsonObject = dict[str, Any]

EPOCH_MS = 1_800_000_000_000
"""The time of the first event; each later one is a second younger."""


class Clock:
    """Counts events over all rooms of a homeserver: position in the stream, ID and time."""

    def __init__(self, epoch_ms: int = EPOCH_MS) -> None:
        self.epoch_ms = epoch_ms
        self.position = 0

    def tick(self) -> int:
        self.position += 1
        return self.position


def hash_id(sigil: str, seed: object) -> str:
    """An ID without a server name, as real ones look."""
    digest = hashlib.sha256(str(seed).encode()).digest()
    return sigil + base64.urlsafe_b64encode(digest).decode().rstrip("=")


@dataclass(slots=True)
class FakeRoom:
    """One room. ``timeline`` holds (position, event) in order; ``joined_at`` the position at
    which each joined member came."""

    room_id: str
    version: str
    clock: Clock
    timeline: list[tuple[int, JsonObject]] = field(default_factory=list)
    state: dict[tuple[str, str], JsonObject] = field(default_factory=dict)
    joined_at: dict[str, int] = field(default_factory=dict)
    left_at: dict[str, int] = field(default_factory=dict)

    def append(
        self, sender: str, event_type: str, content: JsonObject, state_key: str | None = None
    ) -> JsonObject:
        """Add an event, whoever may; returns it as clients see it."""
        position = self.clock.tick()
        event: JsonObject = {
            "type": event_type,
            "sender": sender,
            "content": content,
            "event_id": hash_id("$", f"{self.room_id} {position}"),
            "room_id": self.room_id,
            "origin_server_ts": self.clock.epoch_ms + 1000 * position,
        }
        if state_key is not None:
            event["state_key"] = state_key
            if event_type == "m.room.member":
                self._note_member(state_key, content.get("membership"), position)
            self.state[event_type, state_key] = event
        self.timeline.append((position, event))
        return event

    def _note_member(self, user_id: str, membership: Any, position: int) -> None:
        before = self.membership(user_id)
        if membership == "join" and before != "join":
            self.joined_at[user_id] = position
        if membership in ("leave", "ban") and before in ("join", "invite"):
            self.joined_at.pop(user_id, None)
            self.left_at[user_id] = position

    def membership(self, user_id: str) -> str:
        """``join``, ``invite``, ``ban`` or ``leave``."""
        content = self.content("m.room.member", user_id)
        return str(content.get("membership", "leave"))

    def members(self) -> list[str]:
        """The joined users."""
        return list(self.joined_at)

    def content(self, event_type: str, state_key: str = "") -> JsonObject:
        """The content of a state event, empty if there is none."""
        event = self.state.get((event_type, state_key))
        return event["content"] if event is not None else {}

    def event(self, event_id: str) -> JsonObject | None:
        """An event by its ID."""
        return next((e for _, e in self.timeline if e["event_id"] == event_id), None)

    def since(self, position: int) -> Iterator[JsonObject]:
        """The events after a position, oldest first."""
        return (event for at, event in self.timeline if at > position)

    def level(self, user_id: str) -> float:
        """The power level; a creator's is infinite in room version 12."""
        create = self.state["m.room.create", ""]
        if self.version == "12":
            creators = {create["sender"], *create["content"].get("additional_creators", ())}
            if user_id in creators:
                return float("inf")
        levels = self.content("m.room.power_levels")
        level: int = levels.get("users", {}).get(user_id, levels.get("users_default", 0))
        return level

    def needed(self, event_type: str, *, state: bool) -> int:
        """The power level needed to send an event."""
        levels = self.content("m.room.power_levels")
        default = levels.get("state_default", 50) if state else levels.get("events_default", 0)
        needed: int = levels.get("events", {}).get(event_type, default)
        return needed

    def may_invite(self, user_id: str) -> bool:
        """Whether a joined member may invite."""
        needed: int = self.content("m.room.power_levels").get("invite", 0)
        return user_id in self.joined_at and self.level(user_id) >= needed

    def may_send(self, user_id: str, event_type: str, *, state: bool) -> bool:
        """Whether a joined member has the power to send an event."""
        return self.level(user_id) >= self.needed(event_type, state=state)
