"""A public room that lives on a server of the tests' own, however many members it has."""

from collections.abc import Sequence
from typing import Any

from policybot.app import now_ms
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.event_hash import event_id
from policybot.protocol.room_version import RoomVersion

from .identity import Identity


class HostedRoom:
    """The events of one room, each with the one before as its only predecessor.

    ``powerful`` is a user of any server with power level 100. Room versions 3 to 11: in 12 the
    room ID is a hash.
    """

    def __init__(
        self,
        identity: Identity,
        version: RoomVersion,
        room_id: str,
        *,
        members: int,
        powerful: str,
    ) -> None:
        self.room_id = room_id
        self.version = version
        self._identity = identity
        self._depth = 0
        self._latest: list[str] = []
        self._state: list[JsonObject] = []
        creator = f"@member0:{identity.name}"
        content: JsonObject = {"room_version": version.name, "creator": creator}
        create = self._add(creator, "m.room.create", "", content, ())
        founder = self._add(creator, "m.room.member", creator, {"membership": "join"}, (create,))
        content = {"users": {creator: 100, powerful: 100}}
        levels = self._add(creator, "m.room.power_levels", "", content, (create, founder))
        # Exactly the events that the specification selects for each; others are an error.
        auth = (create, founder, levels)
        rule = self._add(creator, "m.room.join_rules", "", {"join_rule": "public"}, auth)
        self._auth_chain = list(self._state)
        self._add(creator, "m.room.name", "", {"name": f"Room of {members}"}, auth)
        self._auth_of_joins = (create, levels, rule)
        for number in range(1, members):
            user_id = f"@member{number}:{identity.name}"
            content = {"membership": "join", "displayname": f"Member number {number}"}
            self._add(user_id, "m.room.member", user_id, content, self._auth_of_joins)

    def join_template(self, user_id: str) -> JsonObject:
        """The answer to ``make_join``."""
        event = {
            **self._fields("m.room.member", {"membership": "join"}, self._auth_of_joins),
            "room_id": self.room_id,
            "sender": user_id,
            "state_key": user_id,
            "origin_server_ts": now_ms(),
        }
        return {"room_version": self.version.name, "event": event}

    def take_join(self, event: JsonObject) -> JsonObject:
        """Let a user of another server in; the answer to ``send_join``."""
        answer = {
            "state": list(self._state),
            "auth_chain": list(self._auth_chain),
            "event": event,
            "members_omitted": False,
        }
        self._append(event)
        return answer

    def _fields(self, event_type: str, content: JsonObject, auth: Sequence[str]) -> dict[str, Any]:
        return {
            "type": event_type,
            "content": content,
            "auth_events": list(auth),
            "prev_events": list(self._latest),
            "depth": self._depth + 1,
        }

    def _add(
        self,
        sender: str,
        event_type: str,
        state_key: str,
        content: JsonObject,
        auth: Sequence[str],
    ) -> str:
        """Add a state event and return its ID."""
        fields = self._fields(event_type, content, auth)
        event = self._identity.event(
            self.version, self.room_id, sender, state_key=state_key, **fields
        )
        return self._append(event)

    def _append(self, event: JsonObject) -> str:
        self._state.append(event)
        self._latest = [event_id(event, self.version)]
        self._depth = event["depth"]
        return self._latest[0]
