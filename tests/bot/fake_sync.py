"""The answers of the fake homeserver's ``/sync``."""

from collections.abc import Iterable

from .fake_room import FakeRoom, JsonObject


def rooms_since(
    rooms: Iterable[FakeRoom], since: int | None, user_id: str, wanted: JsonObject
) -> JsonObject:
    """The part ``rooms`` of an answer; ``since`` None is the first one, ``wanted`` the filter's
    part for rooms."""
    joined, invited, left = {}, {}, {}
    for room in rooms:
        membership = room.membership(user_id)
        start = since or 0
        if membership == "join":
            new = since is None or room.joined_at[user_id] > start
            part = _part(room, start, wanted, new=new)
            if part["timeline"]["events"] or new:
                joined[room.room_id] = part
        elif membership == "invite":
            event = room.state["m.room.member", user_id]
            if event in room.since(start):
                keys = ("type", "sender", "content", "state_key")
                stripped = [{k: e[k] for k in keys} for e in room.state.values()]
                invited[room.room_id] = {"invite_state": {"events": stripped}}
        elif room.left_at.get(user_id, 0) > start and since is not None:
            left[room.room_id] = _part(room, start, wanted, new=False)
    return {"join": joined, "invite": invited, "leave": left}


def _part(room: FakeRoom, start: int, wanted: JsonObject, *, new: bool) -> JsonObject:
    types, limit = wanted["timeline"]["types"], wanted["timeline"]["limit"]
    events = [e for e in room.since(0 if new else start) if e["type"] in types]
    shown = events[-limit:]
    limited = len(events) > limit
    state = []
    if new or limited:
        before = room.state.values() if new else [e for e in events if "state_key" in e]
        state_types = wanted["state"]["types"]
        state = [e for e in before if e["type"] in state_types and e not in shown]
    return {
        "state": {"events": state},
        "timeline": {"events": shown, "limited": limited, "prev_batch": f"s{start}"},
    }
