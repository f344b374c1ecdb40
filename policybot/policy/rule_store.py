"""The rules of all watched policy lists, and which of them decides about a sender."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from policybot.protocol.canonical_json import JsonObject

from .replacement import Replacement, can_hold_rule
from .rule import RULE_EVENT_TYPES, NotARule, Removal, Rule, RuleKey, RuleKind, parse_rule
from .rule_list import ListCounts, RuleList
from .subject import Subject, server_subject

MAX_REMEMBERED = 50_000
"""Results of `RuleStore.decide` that are kept."""

STEP = 100
"""Events that `RuleStore.replace_in_steps` applies without a break."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one event of a list changed.

    ``before`` and ``after`` are the rules in force under its kind and state key, for moderators.
    ``saved`` and ``removed`` are what has to be written to the database: superseded rules are
    saved too.
    """

    list_id: str
    before: Rule | None = None
    after: Rule | None = None
    refused: NotARule | None = None
    saved: Rule | None = None
    removed: RuleKey | None = None

    @property
    def is_empty(self) -> bool:
        """Nothing changed."""
        return (
            self.before == self.after
            and self.refused is None
            and self.saved is None
            and self.removed is None
        )

    @property
    def reason_only(self) -> bool:
        """The same is asked for the same entity as before, only worded anew or by another."""
        return (
            self.before is not None
            and self.after is not None
            and self.before != self.after
            and self.before.same_effect(self.after)
        )


class _Memory:
    """Results for one combination of lists, as long as neither rules nor ``unused`` change."""

    __slots__ = ("results", "unused")

    def __init__(self, unused: frozenset[RuleKey]) -> None:
        self.unused = unused
        self.results: dict[str, Rule | None] = {}


class RuleStore:
    """The rules of all lists. Rules that are the same object never change.

    ``generation`` grows whenever the rules of any list change.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._lists: dict[str, RuleList] = {}
        self._memories: dict[tuple[str, ...], _Memory] = {}
        self._remembered = 0

    def apply(self, list_id: str, event: JsonObject) -> Change:
        """Take in one state event of a list, newer than what is known under its state key.

        Events that are not state events, or not of a rule's type, change nothing.
        """
        if not can_hold_rule(event):
            return Change(list_id)
        return self._put(parse_rule(list_id, event))

    def replace(self, list_id: str, events: Iterable[JsonObject]) -> tuple[Change, ...]:
        """Take in the full state of a list: afterwards it holds the rules of these events only.

        Other events are ignored as by `apply`. Returns what changed. The cost is linear.
        """
        replacement = self.replacement(list_id)
        for event in events:
            replacement.take(event)
        return tuple(change for step in self.replace_in_steps(replacement) for change in step)

    def replacement(self, list_id: str) -> Replacement:
        """Something that takes the full state of a list, event by event, for
        `replace_in_steps`. Until that is through, nothing else may be applied to this list."""
        return Replacement(self._lists.get(list_id) or RuleList(list_id))

    def replace_in_steps(self, replacement: Replacement) -> Iterator[tuple[Change, ...]]:
        """The same as `replace`, in small steps between which other work may be done.

        Rules that stay are in force all the time.
        """
        changes: list[Change] = []
        for number, parsed in enumerate(replacement, 1):
            change = self._put(parsed)
            if not change.is_empty:
                changes.append(change)
            if number % STEP == 0:
                yield tuple(changes)
                changes = []
        yield tuple(changes)

    def load(self, rules: Iterable[Rule]) -> None:
        """Add saved rules, in any order."""
        for rule in rules:
            policy_list = self._list(rule.list_id)
            why = policy_list.put(rule)
            if why is not None:
                policy_list.refuse(NotARule(*rule.key, rule.event_id, why))
        self._rules_changed()

    def remove_list(self, list_id: str) -> None:
        """Forget a list."""
        if self._lists.pop(list_id, None) is not None:
            self._rules_changed()

    def rules_of(self, list_id: str) -> list[Rule]:
        """All rules of a list, also those superseded by a newer-named type: what is saved."""
        return list(self._lists.get(list_id, ()))

    def counts(self, list_id: str) -> ListCounts:
        """What a list holds, for showing it."""
        return self._lists.get(list_id, RuleList(list_id)).counts()

    def matches(self, kind: RuleKind, entity: str, lists: Sequence[str]) -> list[Rule]:
        """All rules of one kind in force that match a name, in order of precedence."""
        return list(self._matching((Subject(kind, entity),), dict.fromkeys(lists)))

    def matches_sender(self, user_id: str, lists: Sequence[str]) -> list[Rule]:
        """All user and server rules in force that match a user, in order of precedence."""
        return list(self._matching(_subjects(user_id), dict.fromkeys(lists)))

    def decide(
        self, sender: str, lists: Sequence[str], unused: frozenset[RuleKey] = frozenset()
    ) -> Rule | None:
        """The rule that decides about the events of a user: a ban, an exception, or None.

        It is the first of `matches_sender` that is not ``unused``. Lists count in the order
        given; for the order within a list see `RuleList.matching`.

        Results are remembered until rules change: a sender seen before costs two look-ups in
        dicts. A new one costs some microseconds however long the lists are; the worst that a
        list made on purpose can do is about 2 ms for an ordinary sender, and 0.1 s for one of
        250 characters who was made to fit it.
        """
        key = tuple(lists)
        memory = self._memories.get(key)
        if memory is None or (memory.unused is not unused and memory.unused != unused):
            memory = self._memories[key] = _Memory(unused)
        results = memory.results
        if sender in results:
            return results[sender]
        matching = self._matching(_subjects(sender), key)
        if unused:
            matching = (rule for rule in matching if rule.key not in unused)
        if self._remembered >= MAX_REMEMBERED:
            self._forget()
        self._remembered += 1
        rule = results[sender] = next(matching, None)
        return rule

    def _matching(self, subjects: Sequence[Subject], lists: Iterable[str]) -> Iterator[Rule]:
        for list_id in lists:
            policy_list = self._lists.get(list_id)
            if policy_list is not None:
                yield from policy_list.matching(subjects)

    def _put(self, parsed: Rule | Removal | NotARule) -> Change:
        list_id, event_type, state_key = parsed.list_id, parsed.event_type, parsed.state_key
        policy_list = self._list(list_id)
        kind = RULE_EVENT_TYPES[event_type]
        stood = policy_list.rule_at(event_type, state_key)
        before = policy_list.in_force(kind, state_key)
        if parsed == stood:
            return Change(list_id, before, before)
        if isinstance(parsed, Rule):
            why = policy_list.put(parsed)
            if why is not None:
                parsed = NotARule(list_id, event_type, state_key, parsed.event_id, why)
        saved, refused, is_gone = None, None, stood is not None
        if isinstance(parsed, Rule):
            saved, is_gone = parsed, False
        elif isinstance(parsed, Removal):
            # What was refused may have been saved by another version of us.
            is_gone |= policy_list.drop(event_type, state_key)
        elif policy_list.refuse(parsed):
            refused, is_gone = parsed, True
        removed = RuleKey(list_id, event_type, state_key) if is_gone else None
        if saved is not None or stood is not None:
            self._rules_changed()
        after = policy_list.in_force(kind, state_key)
        return Change(list_id, before, after, refused, saved, removed)

    def _list(self, list_id: str) -> RuleList:
        policy_list = self._lists.get(list_id)
        if policy_list is None:
            policy_list = self._lists[list_id] = RuleList(list_id)
        return policy_list

    def _rules_changed(self) -> None:
        self.generation += 1
        self._forget()

    def _forget(self) -> None:
        self._memories.clear()
        self._remembered = 0


def _subjects(user_id: str) -> tuple[Subject, Subject]:
    server = user_id.partition(":")[2]
    return Subject(RuleKind.USER, user_id), server_subject(server)
