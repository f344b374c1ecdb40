import pytest

from policybot.policy.rule import RuleKind, hash_of
from policybot.policy.subject import Subject, matcher

from .events import rule_event, rule_of

USER, SERVER, ROOM = RuleKind


def matches(kind: RuleKind, entity: str, rule_kind: RuleKind, text: str) -> bool:
    rule = rule_of("!l:x", rule_event(entity, kind=rule_kind.value))
    return matcher(rule)(Subject(kind, text))


@pytest.mark.parametrize(
    ("kind", "entity", "text", "expected"),
    [
        (USER, "@spam:evil.org", "@spam:evil.org", True),
        (USER, "@Spam:Evil.org", "@spam:evil.ORG", True),
        (USER, "@spam:evil.org", "@spam2:evil.org", False),
        (USER, "@SPAM*:evil.org", "@spam2:Evil.org", True),
        (USER, "@*Σ:x.org", "@ΑΣ:x.org", True),
        (SERVER, "evil.org", "EVIL.org", True),
        (SERVER, "evil.org", "evil.org:8448", True),
        (SERVER, "*.evil.org", "a.evil.org:8448", True),
        (SERVER, "evil.org:8448", "evil.org:8448", True),
        (SERVER, "evil.org:8448", "evil.org", False),
        (SERVER, "evil.org:8448", "evil.org:1", False),
        (SERVER, "[2001:db8::1]", "[2001:DB8::1]:80", True),
        (ROOM, "!room:x.org", "!room:x.org", True),
        (ROOM, "!room:x.org", "!ROOM:x.org", False),
        (ROOM, "#*:x.org", "#a:x.org", True),
        (ROOM, "#A*:x.org", "#a:x.org", False),
    ],
)
def test_forms_compared(kind: RuleKind, entity: str, text: str, expected: bool) -> None:
    assert matches(kind, entity, kind, text) is expected


@pytest.mark.parametrize("entity", ["*", "evil.org"])
def test_kinds_are_never_mixed(entity: str) -> None:
    for kind in RuleKind:
        for rule_kind in RuleKind:
            assert matches(kind, entity, rule_kind, "evil.org") is (kind is rule_kind)


@pytest.mark.parametrize(
    ("kind", "hashed", "text", "expected"),
    [
        (USER, "@spam:evil.org", "@spam:evil.org", True),
        (USER, "@spam:evil.org", "@SPAM:evil.org", False),
        (SERVER, "evil.org", "evil.org", True),
        (SERVER, "evil.org", "evil.org:8448", True),
        (SERVER, "evil.org", "Evil.org:8448", True),
        (SERVER, "evil.org:8448", "evil.org:8448", True),
        (ROOM, "!a:x", "!a:x", True),
    ],
)
def test_hashes(kind: RuleKind, hashed: str, text: str, expected: bool) -> None:
    event = rule_event("", kind=kind.value, key="k")
    event["content"]["hashes"] = {"sha256": hash_of(hashed)}
    assert matcher(rule_of("!l:x", event))(Subject(kind, text)) is expected


@pytest.mark.parametrize("text", ["", ":", "[", "]:1", "a" * 5000, "\ud800"])
@pytest.mark.parametrize("kind", RuleKind)
def test_any_text_can_be_a_subject(kind: RuleKind, text: str) -> None:
    subject = Subject(kind, text)
    assert subject.hashes and subject.pieces
