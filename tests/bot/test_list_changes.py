from policybot.bot.list_changes import digest
from policybot.policy.rule_store import Change, RuleStore


def event(entity: str, recommendation: str = "m.ban", reason: str = "") -> dict[str, object]:
    return {
        "type": "m.policy.rule.user",
        "state_key": entity,
        "content": {"entity": entity, "recommendation": recommendation, "reason": reason},
        "sender": "@mod:example.org",
        "event_id": f"${entity}{recommendation}{reason}",
        "origin_server_ts": 1,
    }


def changes(*events: dict[str, object]) -> list[Change]:
    rules = RuleStore()
    return [rules.apply("!list:example.org", item) for item in events]


def test_a_few_changes_are_named_with_their_reasons() -> None:
    text = str(digest("Bans", changes(event("@a:x.org", reason="spam"), event("@b:x.org"))))
    assert "The list “Bans” changed" in text
    assert "banned: @a:x.org “spam”, @b:x.org" in text


def test_what_was_taken_out_is_named() -> None:
    removal = {**event("@a:x.org"), "content": {}}
    text = str(digest("Bans", changes(event("@a:x.org"), removal)[1:]))
    assert "taken out: @a:x.org" in text
    assert "banned" not in text


def test_many_changes_are_counted() -> None:
    text = str(digest("Bans", changes(*(event(f"@u{n}:x.org") for n in range(30))), more=7))
    assert "and 25 more" in text
    assert "and 7 changes more" in text


def test_exceptions_are_no_bans() -> None:
    text = str(digest("Bans", changes(event("@a:x.org", "org.matrix.mjolnir.allow"))))
    assert "excepted from bans: @a:x.org" in text
