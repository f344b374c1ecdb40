"""The store of rules, against a naive model and in single cases."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policybot.policy.rule import (
    RULE_EVENT_TYPES,
    Recommendation,
    Rule,
    RuleKey,
    RuleKind,
    event_types,
    hash_of,
    parse_rule,
)
from policybot.policy.rule_list import MAX_LOOSE_GLOBS, MAX_REFUSED_SHOWN
from policybot.policy.rule_store import STEP, Change, RuleStore
from policybot.policy.subject import Subject, matcher

from .events import emptied, rule_event, rule_of

LISTS = ("!a:x", "!b:x")
LIST = LISTS[0]
USERS = ("@a:a", "@ab:a", "@aB:b.a", "@abab:ab.ab:1", "@b:ab.ab")
PREFIXES = ("m.policy.rule.", "m.room.rule.", "org.matrix.mjolnir.rule.")


class Model:
    """All that stands in the lists, matched one by one."""

    def __init__(self) -> None:
        self.rules: dict[RuleKey, Rule] = {}

    def apply(self, list_id: str, event: dict[str, Any]) -> None:
        parsed = parse_rule(list_id, event)
        key = RuleKey(list_id, event["type"], event["state_key"])
        if isinstance(parsed, Rule):
            self.rules[key] = parsed
        else:
            self.rules.pop(key, None)

    def replace(self, list_id: str, events: Sequence[dict[str, Any]]) -> None:
        self.remove_list(list_id)
        for event in events:
            self.apply(list_id, event)

    def remove_list(self, list_id: str) -> None:
        self.rules = {key: rule for key, rule in self.rules.items() if key.list_id != list_id}

    def in_force(self) -> dict[tuple[str, RuleKind, str], Rule]:
        live: dict[tuple[str, RuleKind, str], Rule] = {}
        for rule in self.rules.values():
            place = (rule.list_id, rule.kind, rule.state_key)
            names = event_types(rule.kind)
            if place not in live or names.index(live[place].event_type) > names.index(
                rule.event_type
            ):
                live[place] = rule
        return live

    def matching(self, subjects: Sequence[Subject], lists: Sequence[str]) -> list[Rule]:
        def order(rule: Rule) -> tuple[object, ...]:
            step = 1 if rule.entity_hash else 2 if rule.is_glob else 0
            return (
                lists.index(rule.list_id),
                step,
                rule.recommendation is not Recommendation.ALLOW,
                list(RuleKind).index(rule.kind),
                rule.state_key,
            )

        hits = [
            rule
            for rule in self.in_force().values()
            if rule.list_id in lists and any(matcher(rule)(subject) for subject in subjects)
        ]
        return sorted(hits, key=order)


ENTITIES = st.sampled_from(["a", "b.a", "@a:a", "@ab:a", "@AB:*", "*a*"]) | st.text(
    "@ab:.*?", min_size=1, max_size=7
)
HASHED = st.sampled_from([*USERS, "a", "b.a", "ab.ab"]).map(hash_of)
CONTENTS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(dict),
    st.fixed_dictionaries(
        {
            "entity": ENTITIES,
            "recommendation": st.sampled_from(
                ["m.ban", "m.takedown", "fi.mau.meowlnir.unban", "other"]
            ),
            "reason": st.sampled_from(["x", "y"]),
        }
    ),
    st.fixed_dictionaries(
        {
            "recommendation": st.sampled_from(["m.ban", "m.allow"]),
            "hashes": HASHED.map(lambda text: {"sha256": text}),
        }
    ),
)
EVENTS = st.builds(
    lambda event_type, key, content: {"type": event_type, "state_key": key, "content": content},
    st.sampled_from([prefix + kind for prefix in PREFIXES for kind in ("user", "server")]),
    st.sampled_from(["k1", "k2", "k3"]),
    CONTENTS,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("apply"), st.sampled_from(LISTS), EVENTS),
        st.tuples(st.just("replace"), st.sampled_from(LISTS), st.lists(EVENTS, max_size=8)),
        st.tuples(st.just("remove"), st.sampled_from(LISTS), st.none()),
    ),
    max_size=12,
)


def apply_saved(saved: dict[RuleKey, Rule], changes: Sequence[Change]) -> None:
    for change in changes:
        assert not (change.saved and change.removed)
        if change.saved is not None:
            saved[change.saved.key] = change.saved
        if change.removed is not None:
            saved.pop(change.removed, None)


@settings(max_examples=400, deadline=None)
@given(STEPS, st.frozensets(st.integers(0, 20), max_size=3), st.permutations(LISTS))
def test_agrees_with_a_model(
    steps: list[tuple[str, str, Any]], unused_numbers: frozenset[int], lists: list[str]
) -> None:
    store, model = RuleStore(), Model()
    saved: dict[RuleKey, Rule] = {}
    for action, list_id, data in steps:
        before, generation = model.in_force(), store.generation
        known = dict(model.rules)
        changes: Sequence[Change] = ()
        if action == "apply":
            changes = [store.apply(list_id, data)]
            model.apply(list_id, data)
        elif action == "replace":
            changes = store.replace(list_id, data)
            model.replace(list_id, data)
        else:
            store.remove_list(list_id)
            model.remove_list(list_id)
            saved = {key: rule for key, rule in saved.items() if key.list_id != list_id}
        apply_saved(saved, changes)
        assert saved == model.rules
        assert (store.generation > generation) or known == model.rules
        check_told(changes, before, model.in_force(), action)
        for number in LISTS:
            mine = {rule.key: rule for rule in store.rules_of(number)}
            assert mine == {key: one for key, one in model.rules.items() if key.list_id == number}
        check_matching(store, model, lists, unused_numbers)


def check_told(
    changes: Sequence[Change],
    before: dict[tuple[str, RuleKind, str], Rule],
    after: dict[tuple[str, RuleKind, str], Rule],
    action: str,
) -> None:
    """Changes, one after the other, lead from the rules in force before to those after."""
    told = dict(before)
    for change in changes:
        one = change.before or change.after
        if one is None:
            continue
        place = (one.list_id, one.kind, one.state_key)
        assert told.get(place) == change.before
        if change.after is None:
            del told[place]
        else:
            told[place] = change.after
    if action != "remove":
        assert told == after


def check_matching(
    store: RuleStore, model: Model, lists: list[str], unused_numbers: frozenset[int]
) -> None:
    keys = sorted(model.rules)
    unused = frozenset(keys[number] for number in unused_numbers if number < len(keys))
    for user_id in USERS:
        user = Subject(RuleKind.USER, user_id)
        server = Subject(RuleKind.SERVER, user_id.partition(":")[2])
        for subject, text in ((user, user_id), (server, user_id.partition(":")[2])):
            found = store.matches(subject.kind, text, lists)
            assert found == model.matching([subject], lists)
        everything = model.matching([user, server], lists)
        assert store.matches_sender(user_id, lists) == everything
        for skipped in (frozenset(), unused):
            expected = next((rule for rule in everything if rule.key not in skipped), None)
            for _ in range(2):  # the second time from memory
                assert store.decide(user_id, lists, skipped) == expected
        only_first = model.matching([user, server], lists[:1])
        assert store.decide(user_id, lists[:1]) == next(iter(only_first), None)


def loaded(*events: dict[str, Any], list_id: str = LIST) -> RuleStore:
    store = RuleStore()
    store.replace(list_id, events)
    return store


def decided(store: RuleStore, sender: str, *lists: str) -> str | None:
    rule = store.decide(sender, lists or (LIST,))
    return None if rule is None else f"{rule.recommendation} {rule.entity}"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
@pytest.mark.parametrize("kind", ["user", "server", "room"])
def test_newer_named_types_supersede_older_ones(order: tuple[int, ...], kind: str) -> None:
    events = [rule_event(f"{n}", kind=kind, prefix=PREFIXES[n], key="k") for n in range(3)]
    store = RuleStore()
    for number in order:
        store.apply(LIST, events[number])
    for number in range(3):  # each newest one goes, the next comes back into force
        for other in range(3):
            found = store.matches(RuleKind(kind), f"{other}", (LIST,))
            assert [rule.entity for rule in found] == ([f"{other}"] if other == number else [])
        assert store.counts(LIST).rules[RuleKind(kind)] == 1
        change = store.apply(LIST, emptied(events[number]))
        assert change.before is not None and change.before.entity == f"{number}"
        assert (change.after.entity if change.after else None) == (
            f"{number + 1}" if number < 2 else None
        )
    assert store.rules_of(LIST) == []


def test_an_unusable_newer_event_supersedes_nothing() -> None:
    old = rule_event("@a:x", prefix=PREFIXES[1], key="k")
    broken = rule_event("@a:x", "unknown", key="k")
    store = loaded(broken, old)
    assert decided(store, "@a:x") == "ban @a:x"


def test_types_of_different_kinds_do_not_supersede_each_other() -> None:
    store = loaded(
        rule_event("x", kind="server", key="k"),
        rule_event("@a:y", kind="user", prefix=PREFIXES[2], key="k"),
    )
    assert decided(store, "@a:y") == "ban @a:y"
    assert decided(store, "@b:x") == "ban x"


def test_a_changed_entity_releases_the_old_one() -> None:
    store = loaded(rule_event("@a:x", key="k"))
    change = store.apply(LIST, rule_event("@b:*", key="k"))
    assert decided(store, "@a:x") is None
    assert decided(store, "@b:x") == "ban @b:*"
    assert not change.reason_only
    change = store.apply(LIST, rule_event("@c:x", "nonsense", key="k"))
    assert change.refused is not None and change.after is None
    assert change.removed is not None
    assert decided(store, "@b:x") is None


@pytest.mark.parametrize(
    ("events", "winner"),
    [
        (["@a:x", "@*:x"], "ban @a:x"),
        (["@a*:x", "@*:x"], "ban @*:x"),  # at the same step the state key decides
        (["@a:x", ("@*:x", "m.allow")], "ban @a:x"),
        (["@*:x", ("@a:x", "fi.mau.meowlnir.unban")], "allow @a:x"),
        (["@*:x", ("@a*:x", "m.allow")], "allow @a*:x"),
        ([("x", "m.ban", "server"), "@a:x"], "ban @a:x"),
        ([("x", "m.allow", "server"), "@a:x"], "allow x"),
        ([("*", "m.ban", "server")], "ban *"),
        ([("y", "m.ban", "server"), "@b:x"], None),
        ([("@a:x", "m.ban", "room")], None),
    ],
)
def test_precedence_within_a_list(events: list[Any], winner: str | None) -> None:
    made = []
    for event in events:
        entity, recommendation, kind = (
            (*event, "user")[:3]
            if isinstance(event, tuple)
            else (
                event,
                "m.ban",
                "user",
            )
        )
        made.append(rule_event(entity, recommendation, kind=kind))
    for _ in range(4):
        random.shuffle(made)
        assert decided(loaded(*made), "@a:x") == winner


def test_hashes_come_between_names_and_globs() -> None:
    hashed = rule_event("", "m.allow", key="h")
    hashed["content"]["hashes"] = {"sha256": hash_of("@a:x")}
    server = rule_event("", key="s", kind="server")
    server["content"]["hashes"] = {"sha256": hash_of("x")}
    glob = rule_event("@a*:x")
    store = loaded(hashed, server, glob, rule_event("x", kind="server"))
    rules = store.matches_sender("@a:x", (LIST,))
    assert [rule.state_key for rule in rules] == ["rule:x", "h", "s", "rule:@a*:x"]


def test_lists_count_in_the_order_given() -> None:
    store = loaded(rule_event("@*:x"), list_id="!ban:x")
    store.replace("!allow:x", [rule_event("@a*:x", "m.allow")])
    assert decided(store, "@a:x", "!ban:x", "!allow:x") == "ban @*:x"
    assert decided(store, "@a:x", "!allow:x", "!ban:x") == "allow @a*:x"
    assert decided(store, "@b:x", "!allow:x", "!ban:x") == "ban @*:x"
    assert decided(store, "@a:x", "!unknown:x") is None
    assert store.decide("@a:x", ()) is None
    assert len(store.matches_sender("@a:x", ["!ban:x", "!ban:x"])) == 1


def test_unused_rules_are_skipped() -> None:
    store = loaded(rule_event("@a:x"), rule_event("@*:x"))
    first, second = store.matches_sender("@a:x", (LIST,))
    assert store.decide("@a:x", (LIST,), frozenset()) is first
    assert store.decide("@a:x", (LIST,), frozenset({first.key})) is second
    assert store.decide("@a:x", (LIST,), frozenset({first.key, second.key})) is None
    assert store.decide("@a:x", (LIST,)) is first


def test_results_in_memory_do_not_outlive_a_change() -> None:
    store = RuleStore()
    banned = rule_event("@a:x")
    for event, expected in [
        (banned, "ban @a:x"),
        (emptied(banned), None),
        (rule_event("@*:x"), "ban @*:x"),
        (rule_event("@a:x", "m.allow"), "allow @a:x"),
    ]:
        generation = store.generation
        store.apply(LIST, event)
        assert store.generation > generation
        assert decided(store, "@a:x") == expected
    store.remove_list(LIST)
    assert decided(store, "@a:x") is None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policybot.policy.rule_store.MAX_REMEMBERED", 100)
    store = loaded(rule_event("@a:x"))
    for number in range(500):
        store.decide(f"@{number}:x", (LIST,))
        store.decide("@a:x", (LIST, f"!{number}:x"))
        store.decide("@a:x", (LIST,), frozenset({RuleKey(LIST, "type", f"{number}")}))
        assert sum(len(memory.results) for memory in store._memories.values()) <= 100
        assert len(store._memories) <= 100
        assert decided(store, "@a:x") == "ban @a:x"


def test_the_echo_of_an_event_changes_nothing() -> None:
    event = rule_event("@a:x")
    store = RuleStore()
    assert not store.apply(LIST, event).is_empty
    generation = store.generation
    assert store.apply(LIST, event).is_empty
    assert store.replace(LIST, [event]) == ()
    assert store.generation == generation


def test_reason_only_changes_are_marked() -> None:
    store = loaded(rule_event("@a:x", key="k", reason="spam"))
    (change,) = store.replace(LIST, [rule_event("@a:x", key="k", reason="worse")])
    assert change.reason_only and not change.is_empty
    assert change.saved is not None and change.saved.reason == "worse"
    assert store.decide("@a:x", (LIST,)) == change.saved
    (change,) = store.replace(LIST, [rule_event("@a:x", "m.takedown", key="k", reason="worse")])
    assert not change.reason_only


def test_a_rule_that_moves_to_a_newer_type_is_only_reworded() -> None:
    old = rule_event("@a:x", prefix=PREFIXES[2], key="k")
    new = rule_event("@a:x", key="k")
    store = loaded(old)
    replacement = store.replacement(LIST)
    for event in (new, emptied(old)):
        replacement.take(event)
    steps = store.replace_in_steps(replacement)
    changes = [change for step in steps for change in step]
    assert [change.reason_only for change in changes if change.before != change.after] == [True]
    assert [rule.event_type for rule in store.rules_of(LIST)] == ["m.policy.rule.user"]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "m.room.message", "content": {"entity": "@a:x", "recommendation": "m.ban"}},
        {"type": "m.policy.rule.user", "content": {"entity": "@a:x"}},
        {"type": "m.policy.rule.user", "state_key": 5, "content": {}},
        {"type": "m.policy.rule.user", "state_key": "k" * 256, "content": {}},
        {"type": "m.room.member", "state_key": "@a:x", "content": {"membership": "join"}},
        {"type": []},
        {},
    ],
)
def test_other_events_change_nothing(event: dict[str, Any]) -> None:
    kept = rule_event("@a:x")
    store = loaded(kept)
    assert store.apply(LIST, event).is_empty
    assert store.replace(LIST, [kept, event]) == ()
    assert store.counts(LIST).refused == 0


def test_replacing_in_steps() -> None:
    """Rules that stay, and rules that move, are in force all the time."""
    stays = [rule_event(f"@stays{number}:x") for number in range(STEP)]
    goes = [rule_event(f"@goes{number}:x") for number in range(3 * STEP)]
    comes = [rule_event(f"@comes{number}*:x") for number in range(2 * STEP)]
    store = loaded(*stays, *goes)
    number_of_steps = 0
    changes: list[Change] = []
    replacement = store.replacement(LIST)
    for event in stays + comes:
        replacement.take(event)
    assert decided(store, "@goes1:x") == "ban @goes1:x"
    for step in store.replace_in_steps(replacement):
        number_of_steps += 1
        assert len(step) <= STEP
        changes += step
        assert decided(store, "@stays1:x") == "ban @stays1:x"
    assert number_of_steps > 5
    assert len(changes) == len(goes) + len(comes)
    assert decided(store, "@goes1:x") is None
    assert decided(store, "@comes1y:x") == "ban @comes1*:x"


def test_the_later_of_two_events_under_a_key_counts() -> None:
    first, second = rule_event("@a:x", key="k"), rule_event("@b:x", key="k")
    store = loaded(first, second)
    assert decided(store, "@b:x") == "ban @b:x"
    assert decided(store, "@a:x") is None
    assert store.replace(LIST, [first, second]) == ()


def test_saved_rules_are_loaded() -> None:
    store = loaded(rule_event("@a:x"), rule_event("x*", kind="server", prefix=PREFIXES[1]))
    other = RuleStore()
    rules = store.rules_of(LIST)
    other.load(reversed(rules))
    assert other.generation > 0
    assert sorted(rule.key for rule in other.rules_of(LIST)) == sorted(rule.key for rule in rules)
    assert decided(other, "@b:xy") == "ban x*"


def test_counts() -> None:
    store = loaded(
        rule_event("@a:x"),
        rule_event("@a:x", prefix=PREFIXES[1]),
        rule_event("@b:x", prefix=PREFIXES[1]),
        rule_event("x", kind="server"),
        rule_event("!r:x", kind="room"),
        rule_event("@c:x", "unknown"),
    )
    counts = store.counts(LIST)
    assert counts.rules == {RuleKind.USER: 2, RuleKind.SERVER: 1, RuleKind.ROOM: 1}
    assert counts.refused == 1
    assert [refused.state_key for refused in counts.latest] == ["rule:@c:x"]
    empty = store.counts("!unknown:x")
    assert set(empty.rules.values()) == {0} and empty.refused == 0


def test_unusable_events_are_counted_while_they_stand() -> None:
    broken = [rule_event(f"@{number}:x", "unknown") for number in range(50)]
    store = RuleStore()
    changes = store.replace(LIST, broken)
    assert len(changes) == 50 and all(change.refused for change in changes)
    assert store.replace(LIST, broken) == ()  # told once
    counts = store.counts(LIST)
    assert counts.refused == 50
    assert [one.state_key for one in counts.latest] == [
        f"rule:@{number}:x" for number in range(50 - MAX_REFUSED_SHOWN, 50)
    ]
    store.apply(LIST, emptied(broken[49]))
    store.apply(LIST, rule_event("@48:x"))
    counts = store.counts(LIST)
    assert counts.refused == 48
    assert counts.latest[-1].state_key == "rule:@47:x"
    store.replace(LIST, broken[:1])
    assert store.counts(LIST).refused == 1


def test_the_memory_of_unusable_events_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policybot.policy.rule_list.MAX_REFUSED", 30)
    broken = [rule_event(f"@{number}:x", "unknown") for number in range(50)]
    store = loaded(*broken)
    assert store.counts(LIST).refused == 30
    assert len(store.counts(LIST).latest) == MAX_REFUSED_SHOWN
    store.replace(LIST, [])
    assert store.counts(LIST).refused == 0
    assert store.counts(LIST).latest == ()


def test_loose_globs_are_limited() -> None:
    events = [rule_event("?" * number + "*", key=f"{number}") for number in range(1, 300)]
    store = loaded(*events)
    counts = store.counts(LIST)
    assert counts.rules[RuleKind.USER] == MAX_LOOSE_GLOBS
    assert counts.refused == 299 - MAX_LOOSE_GLOBS
    assert "globs" in counts.latest[-1].why
    # One goes: there is room again, for whichever is read next.
    store.apply(LIST, emptied(events[0]))
    change = store.apply(LIST, rule_event("*x", kind="server"))
    assert change.saved is not None
    change = store.apply(LIST, rule_event("*y", kind="server"))
    assert change.refused is not None and change.saved is None
    assert store.matches(RuleKind.SERVER, "y", (LIST,)) == []
    # Another list has a limit of its own.
    assert store.apply("!other:x", rule_event("*y", kind="server")).saved is not None


def test_a_refused_glob_takes_the_place_of_the_rule_before_it() -> None:
    events = [rule_event("?" * number + "*", key=f"{number}") for number in range(MAX_LOOSE_GLOBS)]
    store = loaded(*events, rule_event("@a:x", key="k"))
    before = store.counts(LIST).rules[RuleKind.USER]
    change = store.apply(LIST, rule_event("z*", key="k"))
    assert change.refused is not None and change.after is None
    assert change.removed == RuleKey(LIST, "m.policy.rule.user", "k")
    assert store.counts(LIST).rules[RuleKind.USER] == before - 1
    assert all(rule.state_key != "k" for rule in store.rules_of(LIST))


def test_a_refused_rule_leaves_an_older_named_one_in_force() -> None:
    events = [rule_event("?" * number + "*", key=f"{number}") for number in range(MAX_LOOSE_GLOBS)]
    store = loaded(*events, rule_event("@a:x", key="k", prefix=PREFIXES[1]))
    change = store.apply(LIST, rule_event("z*", key="k"))
    assert change.refused is not None
    assert change.before == change.after
    assert change.after is not None and change.after.entity == "@a:x"


def test_the_number_of_rules_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policybot.policy.rule_list.MAX_RULES", 5)
    store = loaded(*[rule_event(f"@{number}:x") for number in range(8)])
    assert store.counts(LIST).rules[RuleKind.USER] == 5
    assert store.counts(LIST).refused == 3
    assert store.apply(LIST, rule_event("@0:x", reason="changed")).saved is not None
    saved = rule_of(LIST, rule_event("@9:x"))
    store.load([saved])
    assert decided(store, "@9:x") is None
    assert store.counts(LIST).refused == 4
    assert saved.key in [change.removed for change in store.replace(LIST, [])]


def test_alike_globs_are_limited_and_cost_little() -> None:
    """A list made to be slow: all of its globs have the same single piece."""
    patterns = [f"{'?' * number}*:ma{end}" for number in range(200) for end in ("", "*")]
    hostile = [rule_event(pattern, key=f"{n}") for n, pattern in enumerate(patterns)]
    store = loaded(*hostile)
    assert store.counts(LIST).rules[RuleKind.USER] <= MAX_LOOSE_GLOBS + 16
    assert store.decide("@alice:matrix.org", (LIST,)) is not None


def test_globs_with_question_marks_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policybot.policy.rule_list.MAX_QUESTION_GLOBS", 3)
    events = [rule_event(f"@spam?{number}:x.org") for number in range(5)]
    store = loaded(*events, rule_event("@spam*:x.org"))
    assert store.counts(LIST).rules[RuleKind.USER] == 4
    assert store.counts(LIST).refused == 2
    store.apply(LIST, emptied(events[0]))
    assert store.apply(LIST, events[4]).saved is not None
    assert store.apply(LIST, events[3]).refused is None  # as before
    assert store.counts(LIST).refused == 1


def test_rules_for_one_entity_are_limited() -> None:
    events = [rule_event("@a:x", key=f"{number}") for number in range(150)]
    store = loaded(*events, *[rule_event("@*:x", key=f"glob{number}") for number in range(150)])
    assert store.counts(LIST).refused == 50
    assert len(store.matches(RuleKind.USER, "@A:x", (LIST,))) == 250
    for event in events:
        store.apply(LIST, emptied(event))
    assert decided(store, "@a:x") == "ban @*:x"


def test_event_types_are_those_of_the_rules() -> None:
    assert set(RULE_EVENT_TYPES) == {prefix + kind for prefix in PREFIXES for kind in RuleKind}
