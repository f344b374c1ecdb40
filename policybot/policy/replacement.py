"""The full state of a list on its way to take the place of what is known of it."""

from collections.abc import Iterator
from heapq import heapify, heappop
from itertools import chain

from policybot.protocol.canonical_json import JsonObject

from .rule import (
    RULE_EVENT_TYPES,
    NotARule,
    Removal,
    Rule,
    event_types,
    is_usable_name,
    parse_rule,
)
from .rule_list import MAX_REFUSED, MAX_RULES, RuleList

MAX_NEW = MAX_RULES + MAX_REFUSED
"""Changes that are held; beyond, what is new is neither taken nor counted."""


class Replacement:
    """What has to be applied to a list so that it holds the rules of the events taken, only.

    The events may come one by one over some time: what changes nothing is forgotten at once.
    """

    def __init__(self, known: RuleList) -> None:
        self._known = known
        self._gone = known.places()
        self._pending: dict[tuple[str, str], Rule | Removal | NotARule] = {}

    def take(self, event: JsonObject) -> None:
        """Take in one event; those that cannot hold a rule are ignored."""
        if not can_hold_rule(event):
            return
        parsed = parse_rule(self._known.list_id, event)
        place = (parsed.event_type, parsed.state_key)
        self._gone[place[0]].discard(place[1])
        stood = self._known.rule_at(*place)
        if parsed == stood:
            self._pending.pop(place, None)
        elif stood is not None or len(self._pending) < MAX_NEW:
            self._pending[place] = parsed

    def __iter__(self) -> Iterator[Rule | Removal | NotARule]:
        """First what only goes, since that makes room; last what goes while a rule of another
        event type comes under the same kind and state key, so that one of them is always in
        force. Rules come in the order of their places, as a database files them: in any
        other order each would change a page of its own."""
        not_rules = (p for p in self._pending.values() if not isinstance(p, Rule))
        moving: list[Removal | NotARule] = []
        for parsed in chain(not_rules, self._removals()):
            if self._moves(parsed):
                moving.append(parsed)
            else:
                yield parsed
        places = [place for place, parsed in self._pending.items() if isinstance(parsed, Rule)]
        heapify(places)  # sorting them all would take as long as a hundred answers
        while places:
            yield self._pending[heappop(places)]
        yield from moving

    def _removals(self) -> Iterator[Removal]:
        for event_type, state_keys in self._gone.items():
            for state_key in state_keys:
                yield Removal(self._known.list_id, event_type, state_key)

    def _moves(self, parsed: Removal | NotARule) -> bool:
        types = event_types(RULE_EVENT_TYPES[parsed.event_type])
        others = (self._pending.get((event_type, parsed.state_key)) for event_type in types)
        return any(isinstance(other, Rule) for other in others)


def can_hold_rule(event: JsonObject) -> bool:
    """Whether this is a state event of a rule's type, under a state key that can be stored."""
    event_type, state_key = event.get("type"), event.get("state_key")
    return (
        isinstance(event_type, str)
        and event_type in RULE_EVENT_TYPES
        and isinstance(state_key, str)
        and is_usable_name(state_key)
    )
