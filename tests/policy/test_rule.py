import base64
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policybot.policy.rule import (
    MAX_REASON,
    RULE_EVENT_TYPES,
    NotARule,
    Recommendation,
    Removal,
    Rule,
    RuleKey,
    RuleKind,
    event_types,
    parse_rule,
    rule_state_key,
)

LIST = "!list:example.org"
HASH = base64.b64encode(hashlib.sha256(b"@spam:evil.org").digest()).decode()


def event(content: Any, **fields: Any) -> dict[str, Any]:
    return {
        "type": "m.policy.rule.user",
        "state_key": "key",
        "event_id": "$event",
        "sender": "@mod:example.org",
        "origin_server_ts": 1_700_000_000_000,
        "content": content,
        **fields,
    }


def ban(entity: Any = "@spam:evil.org", **fields: Any) -> dict[str, Any]:
    return {"entity": entity, "recommendation": "m.ban", "reason": "spam", **fields}


def test_a_rule() -> None:
    rule = parse_rule(LIST, event(ban()))
    assert rule == Rule(
        list_id=LIST,
        kind=RuleKind.USER,
        event_type="m.policy.rule.user",
        state_key="key",
        entity="@spam:evil.org",
        entity_hash="",
        recommendation=Recommendation.BAN,
        reason="spam",
        event_id="$event",
        sender="@mod:example.org",
        origin_server_ts=1_700_000_000_000,
    )
    assert rule.key == RuleKey(LIST, "m.policy.rule.user", "key")
    assert not rule.is_glob


@pytest.mark.parametrize(
    ("event_type", "kind"),
    [
        (prefix + kind.value, kind)
        for kind in RuleKind
        for prefix in ("m.policy.rule.", "m.room.rule.", "org.matrix.mjolnir.rule.")
    ],
)
def test_all_type_names(event_type: str, kind: RuleKind) -> None:
    rule = parse_rule(LIST, event(ban(), type=event_type))
    assert isinstance(rule, Rule)
    assert rule.kind is kind
    assert RULE_EVENT_TYPES[event_type] is kind
    assert event_type in event_types(kind)


def test_event_types_are_newest_first() -> None:
    assert event_types(RuleKind.SERVER) == (
        "m.policy.rule.server",
        "m.room.rule.server",
        "org.matrix.mjolnir.rule.server",
    )
    assert len(RULE_EVENT_TYPES) == 9


@pytest.mark.parametrize(
    ("text", "recommendation"),
    [
        ("m.ban", Recommendation.BAN),
        ("org.matrix.mjolnir.ban", Recommendation.BAN),
        ("m.takedown", Recommendation.TAKEDOWN),
        ("org.matrix.msc4204.takedown", Recommendation.TAKEDOWN),
        ("m.allow", Recommendation.ALLOW),
        ("org.matrix.mjolnir.allow", Recommendation.ALLOW),
        ("fi.mau.meowlnir.unban", Recommendation.ALLOW),
    ],
)
def test_recommendations(text: str, recommendation: Recommendation) -> None:
    rule = parse_rule(LIST, event(ban(recommendation=text)))
    assert isinstance(rule, Rule)
    assert rule.recommendation is recommendation


@pytest.mark.parametrize("recommendation", ["m.opinion", "M.BAN", "", None, 1, True, [], {}])
def test_other_recommendations_are_no_rule(recommendation: Any) -> None:
    parsed = parse_rule(LIST, event(ban(recommendation=recommendation)))
    assert isinstance(parsed, NotARule)
    assert "recommendation" in parsed.why


@pytest.mark.parametrize("key", ["hashes", "org.matrix.msc4205.hashes"])
@pytest.mark.parametrize(
    "text",
    [HASH, HASH.rstrip("="), HASH.replace("+", "-").replace("/", "_")],
)
def test_hashed_entities(key: str, text: str) -> None:
    content = {"recommendation": "m.ban", key: {"sha256": text}}
    rule = parse_rule(LIST, event(content))
    assert isinstance(rule, Rule)
    assert (rule.entity, rule.entity_hash) == ("", HASH)
    assert not rule.is_glob


def test_a_wrong_stable_hash_leaves_the_unstable_one() -> None:
    content = {
        "recommendation": "m.ban",
        "hashes": {"sha256": "?"},
        "org.matrix.msc4205.hashes": {"sha256": HASH},
    }
    rule = parse_rule(LIST, event(content))
    assert isinstance(rule, Rule)
    assert rule.entity_hash == HASH


def test_a_plain_entity_goes_before_its_hash() -> None:
    rule = parse_rule(LIST, event(ban(hashes={"sha256": HASH})))
    assert isinstance(rule, Rule)
    assert (rule.entity, rule.entity_hash) == ("@spam:evil.org", "")


@pytest.mark.parametrize(
    "hashes",
    [
        {},
        None,
        "text",
        {"sha256": None},
        {"sha256": ""},
        {"sha256": HASH[:20]},
        {"sha256": "é" * 43},
        {"sha256": "!" * 43},
        {"sha256": "=" * 44},
        {"sha256": HASH + "="},
        {"sha512": HASH},
    ],
)
def test_unusable_hashes(hashes: Any) -> None:
    parsed = parse_rule(LIST, event({"recommendation": "m.ban", "hashes": hashes}))
    assert isinstance(parsed, NotARule)


@pytest.mark.parametrize("entity", [None, "", 1, True, [], {}, ["@a:b"], "a\0b", "\ud800"])
def test_unusable_entities(entity: Any) -> None:
    assert isinstance(parse_rule(LIST, event(ban(entity))), NotARule)


@pytest.mark.parametrize(
    ("entity", "usable"),
    [
        ("a" * 255, True),
        ("a" * 256, False),
        ("é" * 127, True),
        ("é" * 128, False),
        ("*", True),
        ("*a" * 10, True),
        ("*a" * 11, False),
        ("*" * 50, True),
        ("*?" * 50, False),
        ("a" + "?" * 254, True),
    ],
)
def test_bounds_of_entities(entity: str, usable: bool) -> None:
    parsed = parse_rule(LIST, event(ban(entity)))
    assert isinstance(parsed, Rule) is usable
    if isinstance(parsed, Rule):
        assert parsed.entity == entity  # as written, so that it is found again


@pytest.mark.parametrize("entity", ["*", "**", "?*", "@*", "@*:*", "*.*"])
def test_allowing_everyone_is_no_rule(entity: str) -> None:
    content = ban(entity, recommendation="org.matrix.mjolnir.allow")
    assert isinstance(parse_rule(LIST, event(content)), NotARule)
    assert isinstance(parse_rule(LIST, event(ban(entity))), Rule)


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("spam", "spam"),
        (None, ""),
        (1, ""),
        ({"a": "b"}, ""),
        ("x" * 100_000, "x" * MAX_REASON),
        ("a\0b\ud800", "a\ufffdb\ufffd"),
    ],
)
def test_reasons(reason: Any, kept: str) -> None:
    rule = parse_rule(LIST, event(ban(reason=reason)))
    assert isinstance(rule, Rule)
    assert rule.reason == kept


def test_a_reason_may_be_missing() -> None:
    rule = parse_rule(LIST, event({"entity": "@a:b", "recommendation": "m.takedown"}))
    assert isinstance(rule, Rule)
    assert rule.reason == ""


def test_empty_content_removes_the_rule() -> None:
    removal = Removal(LIST, "m.policy.rule.user", "key")
    assert parse_rule(LIST, event({})) == removal
    redacted = event({}, unsigned={"redacted_because": {"type": "m.room.redaction"}})
    assert parse_rule(LIST, redacted) == removal


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "m.room.message"},
        {"type": None},
        {"type": ["m.policy.rule.user"]},
        {"state_key": None},
        {"state_key": 7},
        {"state_key": "x" * 256},
        {"state_key": "\0"},
        {"state_key": "\udfff"},
        {"content": None},
        {"content": []},
        {"content": "text"},
    ],
)
def test_events_that_hold_no_rule(fields: dict[str, Any]) -> None:
    parsed = parse_rule(LIST, event(ban()) | fields)
    assert isinstance(parsed, NotARule)
    assert parsed.why
    (parsed.state_key + parsed.event_type).encode()


@pytest.mark.parametrize("timestamp", [None, "1", 1.5, True, -1, 1 << 63, [], {}])
def test_hostile_metadata(timestamp: Any) -> None:
    rule = parse_rule(LIST, event(ban(), origin_server_ts=timestamp, sender=[], event_id=5))
    assert isinstance(rule, Rule)
    assert (rule.origin_server_ts, rule.sender, rule.event_id) == (0, "", "")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)
FIELDS = {
    "entity": JSON,
    "recommendation": JSON | st.just("m.ban"),
    "reason": JSON,
    "hashes": JSON | st.fixed_dictionaries({"sha256": JSON}),
}


@given(
    st.fixed_dictionaries(
        {"content": JSON | st.fixed_dictionaries({}, optional=FIELDS)},
        optional={
            "type": JSON | st.sampled_from(sorted(RULE_EVENT_TYPES)),
            "state_key": JSON,
            "event_id": JSON,
            "sender": JSON,
            "origin_server_ts": JSON,
        },
    )
)
def test_any_json_is_parsed(hostile: dict[str, Any]) -> None:
    parsed = parse_rule(LIST, hostile)
    assert isinstance(parsed, Rule | Removal | NotARule)
    if isinstance(parsed, Rule):
        assert bool(parsed.entity) != bool(parsed.entity_hash)
        (parsed.entity + parsed.reason + parsed.sender + parsed.event_id).encode()


def test_state_key_is_the_one_of_other_tools() -> None:
    digest = hashlib.sha256(b"@spam:evil.orgm.ban").digest()
    assert rule_state_key("@spam:evil.org", "m.ban") == base64.b64encode(digest).decode()
    assert len(rule_state_key("é", "m.ban")) == 44


def test_same_effect() -> None:
    rule = parse_rule(LIST, event(ban()))
    assert isinstance(rule, Rule)
    for changed, same in [
        (event(ban(reason="other")), True),
        (event(ban(), state_key="elsewhere", event_id="$b"), True),
        (event(ban("@other:evil.org")), False),
        (event(ban(recommendation="m.takedown")), False),
        (event(ban(), type="m.policy.rule.room"), False),
    ]:
        other = parse_rule(LIST, changed)
        assert isinstance(other, Rule)
        assert rule.same_effect(other) is same
