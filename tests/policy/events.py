"""Events of policy lists and rooms, as tests write them."""

from itertools import count
from typing import Any

from policybot.policy.rule import Rule, parse_rule

_numbers = count(1)


def rule_event(
    entity: str,
    recommendation: str = "m.ban",
    *,
    kind: str = "user",
    prefix: str = "m.policy.rule.",
    key: str | None = None,
    reason: str = "spam",
) -> dict[str, Any]:
    """A state event with a rule; each has an event ID of its own."""
    return {
        "type": prefix + kind,
        "state_key": f"rule:{entity}" if key is None else key,
        "event_id": f"$event{next(_numbers)}",
        "sender": "@mod:example.org",
        "origin_server_ts": 1_700_000_000_000,
        "content": {"entity": entity, "recommendation": recommendation, "reason": reason},
    }


def emptied(event: dict[str, Any]) -> dict[str, Any]:
    """The event that removes a rule."""
    return event | {"content": {}, "event_id": f"$event{next(_numbers)}"}


def rule_of(list_id: str, event: dict[str, Any]) -> Rule:
    """The rule in an event."""
    rule = parse_rule(list_id, event)
    assert isinstance(rule, Rule)
    return rule
