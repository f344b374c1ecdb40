from policybot.demo.timelines import Timelines
from policybot.protocol.canonical_json import JsonObject


def _sync(kind: str, room_id: str, *event_ids: str) -> JsonObject:
    events = [{"event_id": event_id} for event_id in event_ids]
    return {"rooms": {kind: {room_id: {"timeline": {"events": events}}}}}


def _ids(events: list[JsonObject]) -> list[str]:
    return [event["event_id"] for event in events]


def test_events_stay_in_order_and_come_once() -> None:
    seen = Timelines()
    seen.take(_sync("join", "!a", "$1", "$2"))
    seen.take(_sync("leave", "!a", "$3"))
    seen.take(_sync("join", "!a", "$1", "$2", "$3", "$4"))
    seen.take(_sync("join", "!b", "$5"))
    seen.take({})
    assert _ids(seen.events("!a")) == ["$1", "$2", "$3", "$4"]
    assert _ids(seen.events("!a", after="$2")) == ["$3", "$4"]
    assert seen.events("!a", after="$4") == []
    assert seen.events("!a", after="$5") == []
    assert seen.events("!c") == []
    assert seen.has("$5") and not seen.has("$6")
