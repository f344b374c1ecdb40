"""The words of a report about refused events. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from policybot.policy.rule import Rule
from policybot.policy.verdict import Details, Ground

from .reply import MAX_NAME, Reply
from .report_tally import SINGLY, Counts, Name, Ranking, Tally

TOP = 5
"""So many senders, servers and rooms are named in a digest."""

TOP_RULES = 3
SHORT = 60
"""Characters of a text from outside in a digest, which names many."""

MAX_BYTES = 25_000
"""Bytes of both forms of a report together. An edit holds them twice."""

_KINDS = {
    "m.room.message": "message",
    "m.room.encrypted": "encrypted message",
    "m.reaction": "reaction",
    "m.sticker": "sticker",
    "m.room.name": "change of the room's name",
    "m.room.topic": "change of the room's topic",
    "m.room.avatar": "change of the room's picture",
}
_MESSAGES = {
    "m.image": "image",
    "m.video": "video",
    "m.audio": "audio message",
    "m.file": "file",
    "m.location": "location",
}


class Refusal(Protocol):
    """A stored refusal."""

    @property
    def number(self) -> int: ...

    @property
    def reference(self) -> str: ...

    @property
    def details(self) -> Details: ...


@dataclass(frozen=True, slots=True)
class Titles:
    """How rooms and lists are called; both give texts from outside."""

    room: Callable[[str], str]
    policy_list: Callable[[str], str]


def kind_of(details: Details) -> str:
    """What kind of event it was, in words. Our own words only: types come from outside."""
    if details.event_type == "m.room.message" and details.msgtype in _MESSAGES:
        return _MESSAGES[details.msgtype]
    if details.event_type in _KINDS:
        return _KINDS[details.event_type]
    if details.event_type == "m.room.member":
        return "membership change"
    return "state event" if details.state_key is not None else "event"


def add_rule(reply: Reply, rule: Rule, titles: Titles, length: int = MAX_NAME) -> Reply:
    """Name a rule and its list. ``length`` bounds the characters of each name."""
    if rule.entity:
        reply.code(rule.entity, max(length, MAX_NAME))
    else:
        reply.text("a hashed rule")
    reply.text(f" ({rule.kind.value} rule of the list ")
    reply.name(titles.policy_list(rule.list_id), length).text(")")
    if rule.reason:
        reply.text(", reason ").name(rule.reason, length)
    return reply


def report(tally: Tally, shown: Sequence[Refusal], titles: Titles) -> Reply:
    """One notice about refusals: each by itself if they are few, else counts. What was signed in
    dry run is told and counted apart.

    ``shown`` holds the refusals that are shown themselves (see `numbers_shown`); those that are no
    longer kept are missing.
    """
    reply = Reply("🚫")
    if tally.refused.events:
        refused = [r for r in shown if r.details.ground is not Ground.DRY_RUN]
        _tell(reply, tally.refused, refused, titles, "Refused", "Also refused")
    if tally.tried.events:
        if tally.refused.events:
            reply.line()
        tried = [r for r in shown if r.details.ground is Ground.DRY_RUN]
        title = "Dry run, would have been refused"
        _tell(reply, tally.tried, tried, titles, title, "Also in dry run")
    return reply


def _tell(
    reply: Reply,
    counts: Counts,
    shown: Sequence[Refusal],
    titles: Titles,
    title: str,
    also: str,
) -> None:
    if counts.named > SINGLY:
        _digest(reply, counts, shown, titles, title)
    elif counts.named == len(shown) == 1:
        _single(reply.strong(f"{title}: "), shown[0], titles)
    elif counts.named:
        reply.strong(f"{title}: {count(counts.named, 'event')}")
        for refusal in shown:
            _single(reply.item(), refusal, titles)
    begun = bool(counts.named)
    for number, which in (
        (counts.old, "sent before the room was protected"),
        (
            counts.unverified,
            "whose sender could not be verified, since their server's keys do not come",
        ),
    ):
        if not number:
            continue
        if begun:
            reply.line().text(f"{also}: ")
        else:
            reply.strong(f"{title}: ")
        reply.text(f"{count(number, 'event')} {which}.")
        begun = True


def _single(reply: Reply, refusal: Refusal, titles: Titles) -> Reply:
    details = refusal.details
    reply.text(f"{kind_of(details)} by ").code(details.sender)
    reply.text(" in ").name(titles.room(details.room_id)).text(". ")
    if details.rule is not None:
        add_rule(reply.text("Rule: "), details.rule, titles).text(". ")
    return reply.text("Reference: ").code(refusal.reference)


def _digest(
    reply: Reply, counts: Counts, shown: Sequence[Refusal], titles: Titles, title: str
) -> None:
    reply.strong(
        f"{title}: {count(counts.named, 'event')} by {_many(counts.senders, 'sender')} in "
        f"{_many(counts.rooms, 'room')}"
    )
    reply.line().text(_period(counts.first_ts, counts.last_ts))
    _top(reply, "Senders", counts.senders, lambda sender: Reply().code(sender, MAX_NAME))
    _top(reply, "Servers", counts.servers, lambda server: Reply().code(server, SHORT))
    _top(reply, "Rooms", counts.rooms, lambda room: Reply().name(titles.room(room), SHORT))
    by_number = {refusal.number: refusal for refusal in shown}
    for rule, events in counts.rules.top(TOP_RULES):
        example = by_number.get(counts.examples.get(rule, 0))
        if example is not None and example.details.rule is not None:
            reply.item().text("Rule: ")
            add_rule(reply, example.details.rule, titles, SHORT).text(f" {events:,}×")
    if len(counts.rules) > TOP_RULES:
        reply.item().text(f"and {len(counts.rules) - TOP_RULES:,} more rules")
    latest = by_number.get(counts.latest)
    if latest is not None:
        reply.item().text("The latest: ").command(f"why {latest.reference}")


def numbers_shown(tally: Tally) -> list[int]:
    """The numbers of the refusals that digests show themselves: the latest, and one for each rule
    that is named. Those of few events are in the tally's spans."""
    numbers: set[int] = set()
    for counts in (tally.refused, tally.tried):
        if counts.named > SINGLY:
            numbers |= {counts.examples.get(rule, 0) for rule, _ in counts.rules.top(TOP_RULES)}
            numbers.add(counts.latest)
    return sorted(numbers)


def _top(reply: Reply, title: str, names: Ranking[Name], shown: Callable[[Name], Reply]) -> None:
    reply.item().text(f"{title}: ")
    for index, (name, events) in enumerate(names.top(TOP)):
        reply.text(", " if index else "").add(shown(name)).text(f" {events:,}×")
    if names.full:
        reply.text(" and many more")
    elif len(names) > TOP:
        reply.text(f" and {len(names) - TOP:,} more")


def _many(names: Ranking[Name], noun: str) -> str:
    return f"{'more than ' if names.full else ''}{count(len(names), noun)}"


def _period(first_ts: int, last_ts: int) -> str:
    try:
        first = datetime.fromtimestamp(first_ts / 1000, UTC)
        last = datetime.fromtimestamp(last_ts / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return "At an unknown time"
    if first.date() != last.date():
        return f"From {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
    if (first.hour, first.minute) == (last.hour, last.minute):
        return f"At {first:%H:%M} UTC"
    return f"From {first:%H:%M} to {last:%H:%M} UTC"


def count(number: int, noun: str) -> str:
    """A number with its noun, in the singular or plural: “1 event”, “2 events”."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
