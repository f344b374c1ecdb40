"""Counts are exact, and small however many names there are."""

from typing import Any

import pytest

from policybot.bot.report_tally import MAX_NAMES, SINGLY, Ranking, Tally
from policybot.policy.records import RefusalGroup


def group(latest: int, **changes: Any) -> RefusalGroup:
    fields: dict[str, Any] = {
        "dry_run": False,
        "old": False,
        "unverified": False,
        "sender": "@a:a.example",
        "room_id": "!r",
        "rule": ("!list", "user", "@a:*", ""),
        "count": 1,
        "latest": latest,
        "first_ts": 1_000,
        "last_ts": 2_000,
    }
    return RefusalGroup(**fields | changes)


def test_groups_are_added_up() -> None:
    tally = Tally.empty(10)
    tally.add(500, [group(20, count=3), group(30, sender="@b:a.example:80", first_ts=500)])
    tally.add(600, [group(510, room_id="!s", rule=None, last_ts=3_000), group(520, dry_run=True)])
    assert (tally.after, tally.upto, tally.events) == (10, 600, 6)
    counts = tally.refused
    assert (counts.named, counts.events, tally.tried.named, tally.tried.latest) == (5, 5, 1, 520)
    assert counts.senders.top(9) == [("@a:a.example", 4), ("@b:a.example:80", 1)]
    assert counts.servers.top(9) == [("a.example", 4), ("a.example:80", 1)]
    assert counts.rooms.top(1) == [("!r", 4)]
    assert counts.rules.top(9) == [(("!list", "user", "@a:*", ""), 4)]
    assert counts.examples == {("!list", "user", "@a:*", ""): 30}
    assert (counts.first_ts, counts.last_ts, counts.latest) == (500, 3_000, 510)


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_is_only_counted(dry_run: bool) -> None:
    tally = Tally.empty(0)
    tally.add(
        9,
        [
            group(1, old=True, unverified=True, count=2, dry_run=dry_run),
            group(2, unverified=True, dry_run=dry_run),
        ],
    )
    counts = tally.tried if dry_run else tally.refused
    assert (counts.old, counts.unverified, counts.named, tally.events) == (2, 1, 0, 3)
    assert (len(counts.senders), counts.latest, tally.spans) == (0, 0, [])


def test_where_the_first_few_are() -> None:
    tally = Tally.empty(0)
    for number in range(10):
        tally.add(10 * number + 10, [group(10 * number + 1, old=number % 2 == 0)])
    assert tally.spans == [(10, 20), (30, 40), (50, 60), (70, 80), (90, 100)]
    tally.add(1_000, [group(200), group(201)])
    assert len(tally.spans) == SINGLY + 1
    tally.add(2_000, [group(1_200)])
    assert len(tally.spans) == SINGLY + 1
    tally.add(3_000, [group(2_200, dry_run=True)])
    assert tally.spans[-1] == (2_000, 3_000)


def test_more_names_than_are_counted() -> None:
    ranking: Ranking[str] = Ranking()
    for number in range(MAX_NAMES):
        ranking.add(str(number), 1)
    ranking.add("5", 6)
    full = [ranking.full]
    ranking.add("one more", 99)
    assert [*full, ranking.full] == [False, True]
    assert len(ranking) == MAX_NAMES
    assert ranking.top(1) == [("5", 7)]


def test_a_tally_stays_small() -> None:
    tally = Tally.empty(0)
    for start in range(0, 30_000, 500):
        groups = [
            group(n, sender=f"@{n}:{n}.example", room_id=f"!{n}", rule=("!l", "user", str(n), ""))
            for n in range(start, start + 500)
        ]
        tally.add(start + 500, groups)
    assert tally.events == 30_000
    counts = tally.refused
    assert len(counts.examples) == MAX_NAMES
    for names in (counts.senders, counts.servers, counts.rooms, counts.rules):
        assert len(names) == MAX_NAMES
    assert len(tally.spans) <= SINGLY
