"""The words of reports."""

from dataclasses import dataclass, replace

import pytest

from policybot.bot.report_text import Titles, count, kind_of, report
from policybot.policy.verdict import Details
from tests.store.samples import RULE, refusal_details

TITLES = Titles(room=lambda room_id: "Lobby", policy_list=lambda list_id: "Coffee")
HOSTILE = "<b>@room\u202e https://evil.example\n**x** " + "y" * 10_000


@dataclass(frozen=True)
class Refused:
    number: int
    reference: str
    details: Details


def refused(number: int, **changes: object) -> Refused:
    return Refused(number, f"REF{number}", refusal_details(number, **changes))


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "message"),
        ({"event_type": "m.reaction"}, "reaction"),
        ({"event_type": "m.room.member", "state_key": "@a:b"}, "membership change"),
        ({"event_type": "<b>evil", "state_key": ""}, "state event"),
        ({"event_type": "<b>evil"}, "event"),
    ],
)
def test_kinds_are_in_our_own_words(changes: dict[str, object], kind: str) -> None:
    assert kind_of(refusal_details("x", **changes)) == kind


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 events"), (1, "1 event"), (2, "2 events"), (5000, "5,000 events")]
)
def test_count(number: int, text: str) -> None:
    assert count(number, "event") == text


@pytest.mark.parametrize("number", [1, 2, 5, 6, 5000])
def test_every_report_is_short_however_many_there_are(number: int) -> None:
    details = [
        refused(
            n, sender=f"@user{n}:{HOSTILE}", room_id=f"!{n}", rule=replace(RULE, reason=HOSTILE)
        )
        for n in range(number)
    ]
    titles = Titles(room=lambda room_id: HOSTILE, policy_list=lambda list_id: HOSTILE)
    rendered = report(details, titles).render()
    assert len(rendered.plain) < 6000
    assert "<b>@" not in rendered.html
    for text in (rendered.plain, rendered.html):
        assert "\u202e" not in text and "**x**\n" not in text
    lines = rendered.plain.splitlines()
    assert len(lines) <= (6 if number <= 5 else 5)


def test_a_hashed_rule_is_named_as_such() -> None:
    rule = replace(RULE, entity="", entity_hash="A" * 44, reason="")
    plain = report([refused(1, rule=rule)], TITLES).render().plain
    assert "Rule: a hashed rule (user rule of the list “Coffee”). Reference: REF1" in plain


def test_old_and_unverified_events_are_counted_apart() -> None:
    many = [refused(1), refused(2, old=True), refused(3, unverified=True, old=True)]
    many += [refused(n, unverified=True) for n in range(4, 7)]
    plain = report(many, TITLES).render("!guard").plain
    assert plain.count("Reference: ") == 1
    assert "\nAlso refused: 2 events sent before the room was protected." in plain
    assert "\nAlso refused: 3 events whose sender could not be verified" in plain


def test_the_digest_names_the_first_few() -> None:
    many = [refused(n, sender=f"@user{n % 8}:a.example") for n in range(80)]
    plain = report(many, TITLES).render("!guard").plain
    assert plain.startswith("🚫 Refused: 80 events by 8 senders in 1 room\n")
    assert "@user4:a.example 10× and 3 more" in plain
    assert plain.endswith("The latest: !guard why REF79")
