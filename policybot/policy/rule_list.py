"""One policy list: what stands under its state keys, and which of it is in force."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .rule import (
    RULE_EVENT_TYPES,
    NotARule,
    Recommendation,
    Rule,
    RuleKind,
    event_types,
)
from .rule_index import RuleIndex
from .subject import Subject

MAX_LOOSE_GLOBS = 200
"""Globs per list that have to be compared with every sender; more are not taken."""

MAX_QUESTION_GLOBS = 2_000
"""Globs per list with a question mark, which take longest to compare; more are not taken."""

MAX_ALIKE = 100
"""Rules per list for the same name or hash; more are not taken."""

MAX_RULES = 250_000
"""Rules per list; more are not taken."""

MAX_REFUSED = 10_000
"""State keys of unusable events that are remembered; beyond, the count stands still."""

MAX_REFUSED_SHOWN = 20

_KIND_ORDER = {kind: number for number, kind in enumerate(RuleKind)}


@dataclass(frozen=True, slots=True)
class ListCounts:
    """What a list holds: rules in force by kind, and events that are not usable as rules.

    ``refused`` counts at most 10,000; ``latest`` holds the latest few, newest last.
    """

    rules: Mapping[RuleKind, int]
    refused: int
    latest: tuple[NotARule, ...]


class RuleList:
    """The rules of one list.

    A rule of a newer-named event type supersedes those of older names with the same kind and
    state key. They are kept, and come into force again when the newer one goes.

    Whoever writes the list, a look-up stays fast: a sender of ``n`` characters is compared with
    at most 200 loose globs and ``32 * n`` others of each kind (see `GlobIndex`), 2,000 of all
    with a question mark.
    """

    __slots__ = (
        "_indexes",
        "_latest",
        "_question_globs",
        "_refused",
        "_rules",
        "_size",
        "list_id",
    )

    def __init__(self, list_id: str) -> None:
        self.list_id = list_id
        self._rules: dict[str, dict[str, Rule]] = {}
        self._indexes = {kind: RuleIndex() for kind in RuleKind}
        self._size = 0
        self._question_globs = 0
        self._refused: set[tuple[str, str]] = set()
        self._latest: dict[tuple[str, str], NotARule] = {}

    def __iter__(self) -> Iterator[Rule]:
        """All rules, also superseded ones."""
        for rules in self._rules.values():
            yield from rules.values()

    def rule_at(self, event_type: str, state_key: str) -> Rule | None:
        """The rule under exactly this event type and state key."""
        rules = self._rules.get(event_type)
        return None if rules is None else rules.get(state_key)

    def in_force(self, kind: RuleKind, state_key: str) -> Rule | None:
        """The rule of this kind and state key that counts: the one of the newest-named type."""
        for event_type in event_types(kind):
            rule = self.rule_at(event_type, state_key)
            if rule is not None:
                return rule
        return None

    def put(self, rule: Rule) -> str | None:
        """Add a rule in place of what stood under its event type and state key.

        Returns why it was not taken, if the list is full or has too many globs of its sort; then
        nothing stands there.
        """
        self._take_out(rule.event_type, rule.state_key)
        if self._size >= MAX_RULES:
            return f"the list has more than {MAX_RULES} rules"
        has_question = "?" in rule.entity
        if has_question and self._question_globs >= MAX_QUESTION_GLOBS:
            return f"the list has more than {MAX_QUESTION_GLOBS} globs with a question mark"
        index = self._indexes[rule.kind]
        if index.alike(rule) >= MAX_ALIKE:
            return f"the list has more than {MAX_ALIKE} rules for this entity"
        if not index.add(rule) and sum(i.loose for i in self._indexes.values()) > MAX_LOOSE_GLOBS:
            index.remove(rule)
            return f"the list has more than {MAX_LOOSE_GLOBS} globs that are too short or alike"
        self._rules.setdefault(rule.event_type, {})[rule.state_key] = rule
        self._size += 1
        self._question_globs += has_question
        self._forgive(rule.event_type, rule.state_key)
        return None

    def drop(self, event_type: str, state_key: str) -> bool:
        """Take away what stands under this event type and state key; False if nothing does."""
        stood = (
            self.rule_at(event_type, state_key) is not None
            or (event_type, state_key) in self._refused
        )
        self._take_out(event_type, state_key)
        self._forgive(event_type, state_key)
        return stood

    def refuse(self, refusal: NotARule) -> bool:
        """Note an unusable event in place of what stood under its event type and state key.

        True if there was none before.
        """
        place = (refusal.event_type, refusal.state_key)
        self._take_out(*place)
        self._latest.pop(place, None)
        self._latest[place] = refusal
        if len(self._latest) > MAX_REFUSED_SHOWN:
            del self._latest[next(iter(self._latest))]
        if place in self._refused or len(self._refused) >= MAX_REFUSED:
            return False
        self._refused.add(place)
        return True

    def places(self) -> dict[str, set[str]]:
        """The state keys of rules and of remembered unusable events, for each event type."""
        places = {name: set(self._rules.get(name, ())) for name in RULE_EVENT_TYPES}
        for event_type, state_key in (*self._refused, *self._latest):
            places[event_type].add(state_key)
        return places

    def counts(self) -> ListCounts:
        """Rules in force by kind, and unusable events."""
        rules = {}
        for kind in RuleKind:
            by_type = [keys for name in event_types(kind) if (keys := self._rules.get(name))]
            rules[kind] = len(by_type[0]) if len(by_type) == 1 else len(set().union(*by_type))
        return ListCounts(rules, len(self._refused), tuple(self._latest.values()))

    def matching(self, subjects: Sequence[Subject]) -> Iterator[Rule]:
        """The rules in force that match any of the subjects, in order of precedence.

        Names come before hashes and these before globs; within each, ALLOW before bans and the
        earlier kind before the later one (user, server, room); last, the state key decides.
        """
        for find in (RuleIndex.literal, RuleIndex.hashed, RuleIndex.globs):
            found: list[Rule] = []
            for subject in subjects:
                found += find(self._indexes[subject.kind], subject)
            if found:
                yield from sorted(filter(self._is_in_force, found), key=_precedence)

    def _is_in_force(self, rule: Rule) -> bool:
        return self.in_force(rule.kind, rule.state_key) is rule

    def _take_out(self, event_type: str, state_key: str) -> None:
        rules = self._rules.get(event_type)
        rule = None if rules is None else rules.pop(state_key, None)
        if rule is not None:
            self._size -= 1
            self._question_globs -= "?" in rule.entity
            self._indexes[rule.kind].remove(rule)

    def _forgive(self, event_type: str, state_key: str) -> None:
        self._refused.discard((event_type, state_key))
        self._latest.pop((event_type, state_key), None)


def _precedence(rule: Rule) -> tuple[bool, int, str]:
    is_ban = rule.recommendation is not Recommendation.ALLOW
    return is_ban, _KIND_ORDER[rule.kind], rule.state_key
