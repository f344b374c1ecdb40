"""What a list's full state has to change; test_rule_store compares the whole with a model."""

from typing import Any

import pytest

from policybot.policy.replacement import Replacement
from policybot.policy.rule import Removal, Rule
from policybot.policy.rule_list import RuleList

from .events import rule_event

LIST = "!list:x"


def known(*events: dict[str, Any]) -> RuleList:
    policy_list = RuleList(LIST)
    for rule in taken(Replacement(RuleList(LIST)), *events):
        assert isinstance(rule, Rule)
        policy_list.put(rule)
    return policy_list


def taken(replacement: Replacement, *events: dict[str, Any]) -> list[Any]:
    for event in events:
        replacement.take(event)
    return list(replacement)


def test_what_stays_is_not_held() -> None:
    stays, goes = rule_event("@stays:x"), rule_event("@goes:x", key="k")
    replacement = Replacement(known(stays, goes))
    replacement.take(stays)
    assert replacement._pending == {}
    assert list(replacement) == [Removal(LIST, goes["type"], "k")]


def test_rules_come_in_the_order_of_their_places() -> None:
    """As the database files them, so that many go onto one page of it."""
    events = [rule_event(f"@a{n}:x", key=f"{n * 7 % 100:03}") for n in range(100)]
    keys = [rule.state_key for rule in taken(Replacement(RuleList(LIST)), *events)]
    assert keys == sorted(keys)
    assert len(keys) == 100


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policybot.policy.replacement.MAX_NEW", 10)
    replacement = Replacement(known(rule_event("@old:x", key="k")))
    events = [rule_event(f"@new{n}:x") for n in range(100)]
    changed = taken(replacement, *events, rule_event("@changed:x", key="k"))
    assert len(changed) == 11
    assert any(rule.entity == "@changed:x" for rule in changed)
