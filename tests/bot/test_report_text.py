"""The words of reports."""

from dataclasses import dataclass, replace

import pytest

from policybot.bot.report_tally import MAX_NAMES, Tally
from policybot.bot.report_text import MAX_BYTES, Titles, count, kind_of, numbers_shown, report
from policybot.policy.records import RefusalGroup
from policybot.policy.verdict import Details, Ground
from tests.store.samples import NOW, RULE, refusal_details

TITLES = Titles(room=lambda room_id: "Lobby", policy_list=lambda list_id: "Coffee")
HOSTILE = "<b>@room\u202e https://evil.example\n**x** " + "y" * 10_000
MINUTE_MS = 60_000


@dataclass(frozen=True)
class Refused:
    number: int
    reference: str
    details: Details


def refused(number: int, **changes: object) -> Refused:
    return Refused(number, f"REF{number}", refusal_details(number, **changes))


def tally_of(refusals: list[Refused]) -> Tally:
    """The counts of refusals, as the store gives them."""
    tally = Tally.empty(0)
    tally.add(len(refusals) + 1, map(group_of, refusals))
    return tally


def group_of(refusal: Refused) -> RefusalGroup:
    details, rule = refusal.details, refusal.details.rule
    return RefusalGroup(
        dry_run=details.ground is Ground.DRY_RUN,
        old=details.old,
        unverified=details.unverified,
        sender=details.sender,
        room_id=details.room_id,
        rule=(rule.list_id, rule.kind.value, rule.entity, rule.entity_hash) if rule else None,
        count=1,
        latest=refusal.number,
        first_ts=details.received_ts,
        last_ts=details.received_ts,
    )


def plain(refusals: list[Refused], titles: Titles = TITLES, prefix: str = "!guard") -> str:
    fresh = [r for r in refusals if not r.details.old and not r.details.unverified]
    return report(tally_of(refusals), fresh, titles).render(prefix).plain


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "message"),
        ({"msgtype": "m.text"}, "message"),
        ({"msgtype": "m.image"}, "image"),
        ({"msgtype": "<b>evil"}, "message"),
        ({"event_type": "m.reaction"}, "reaction"),
        ({"event_type": "m.reaction", "msgtype": "m.image"}, "reaction"),
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
@pytest.mark.parametrize("hostile", [HOSTILE, "😀" * 1_000, '"' * 1_000, "&\\" * 1_000])
def test_every_report_is_short_however_many_there_are(number: int, hostile: str) -> None:
    refusals = [
        refused(
            n,
            sender=f"@user{n}:{hostile}",
            room_id=f"!{n}",
            rule=replace(RULE, entity=f"@{n}{hostile}", reason=hostile),
        )
        for n in range(number)
    ]
    titles = Titles(room=lambda room_id: hostile, policy_list=lambda list_id: hostile)
    rendered = report(tally_of(refusals), refusals, titles).render("!guard", MAX_BYTES)
    assert len(rendered.plain) < 6000
    assert len((rendered.plain + rendered.html).encode()) < MAX_BYTES
    assert "<b>@" not in rendered.html
    for text in (rendered.plain, rendered.html):
        assert "\u202e" not in text and "**x**\n" not in text
    assert len(rendered.plain.splitlines()) <= 10


def test_a_hashed_rule_is_named_as_such() -> None:
    rule = replace(RULE, entity="", entity_hash="A" * 44, reason="")
    assert "Rule: a hashed rule (user rule of the list “Coffee”). Reference: REF1" in plain(
        [refused(1, rule=rule)]
    )


def test_old_and_unverified_events_are_counted_apart() -> None:
    many = [refused(1), refused(2, old=True), refused(3, unverified=True, old=True)]
    many += [refused(n, unverified=True) for n in range(4, 7)]
    text = plain(many)
    assert text.count("Reference: ") == 1
    assert "\nAlso refused: 2 events sent before the room was protected." in text
    assert "\nAlso refused: 3 events whose sender could not be verified" in text


def test_the_digest_names_the_first_few() -> None:
    many = [refused(n, sender=f"@user{n % 8}:a.example") for n in range(80)]
    text = plain(many)
    assert text.startswith("🚫 Refused: 80 events by 8 senders in 1 room\n")
    assert "@user4:a.example 10× and 3 more" in text
    assert "• Servers: a.example 80×\n" in text
    assert text.endswith("The latest: !guard why REF79")


def test_the_rules_of_a_digest_are_each_on_a_line() -> None:
    rules = [replace(RULE, entity=f"@{n}:*", reason="") for n in range(5)]
    many = [refused(n, rule=rules[min(n // 10, 4)]) for n in range(100)]
    assert numbers_shown(tally_of(many)) == [9, 19, 99]
    text = plain(many)
    assert "• Rule: @4:* (user rule of the list “Coffee”) 60×\n• Rule: @0:* " in text
    assert "\n• and 2 more rules\n" in text


def test_what_is_no_longer_kept_is_left_out() -> None:
    many = [refused(n) for n in range(10)]
    text = report(tally_of(many), [], TITLES).render().plain
    assert text.startswith("🚫 Refused: 10 events") and "Rule" not in text
    few = report(tally_of(many[:2]), many[1:2], TITLES).render().plain
    assert few.startswith("🚫 Refused: 2 events\n") and few.count("Reference") == 1


def test_more_senders_than_are_counted() -> None:
    many = [refused(n, sender=f"@{n}:a.example") for n in range(MAX_NAMES + 1)]
    text = plain(many)
    assert f"{MAX_NAMES + 1:,} events by more than {MAX_NAMES:,} senders in 1 room" in text
    assert "@4:a.example 1× and many more" in text


@pytest.mark.parametrize(
    ("until_ms", "words"),
    [
        (0, "At 00:00 UTC"),
        (5 * MINUTE_MS, "From 00:00 to 00:05 UTC"),
        (24 * 60 * MINUTE_MS, "From 2024-10-04 00:00 to 2024-10-05 00:00 UTC"),
        (2**62, "At an unknown time"),
    ],
)
def test_the_time_of_a_digest(until_ms: int, words: str) -> None:
    many = [refused(n) for n in range(9)] + [refused(9, received_ts=NOW + until_ms)]
    assert plain(many).splitlines()[1] == words


def test_dry_run_hits_are_told_apart() -> None:
    tried = [refused(n, ground=Ground.DRY_RUN) for n in range(3)]
    title = "Dry run, would have been refused"
    assert plain(tried[:1]).startswith(f"🚫 {title}: message by ")
    assert plain(tried).startswith(f"🚫 {title}: 3 events\n• message by ")
    mixed = plain([*tried, refused(3)]).splitlines()
    assert mixed[0].startswith("🚫 Refused: message by ")
    assert mixed[1] == f"{title}: 3 events"
    assert len(mixed) == 5
    many = plain([*tried, refused(3, old=True), *(refused(n) for n in range(4, 14))])
    assert many.startswith("🚫 Refused: 10 events by 1 sender in 1 room\n")
    assert "\nAlso refused: 1 event sent before the room was protected.\n" in many
    assert f"\n{title}: 3 events\n• message by " in many
    old = plain([refused(1, ground=Ground.DRY_RUN, old=True)])
    assert old == f"🚫 {title}: 1 event sent before the room was protected."
