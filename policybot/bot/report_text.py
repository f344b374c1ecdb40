"""The words of a report about refused events. Pure."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from policybot.policy.rule import Rule
from policybot.policy.verdict import Details, Ground

from .reply import Reply

SINGLY = 5
"""Up to so many refusals are told one by one; more are counted."""

TOP = 5
"""So many senders, rooms and rules are named in a digest."""

_KINDS = {
    "m.room.message": "message",
    "m.room.encrypted": "encrypted message",
    "m.reaction": "reaction",
    "m.sticker": "sticker",
    "m.room.name": "change of the room's name",
    "m.room.topic": "change of the room's topic",
    "m.room.avatar": "change of the room's picture",
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
    if details.event_type in _KINDS:
        return _KINDS[details.event_type]
    if details.event_type == "m.room.member":
        return "membership change"
    return "state event" if details.state_key is not None else "event"


def add_rule(reply: Reply, rule: Rule, titles: Titles) -> Reply:
    """Name a rule and its list."""
    if rule.entity:
        reply.code(rule.entity)
    else:
        reply.text("a hashed rule")
    reply.text(f" ({rule.kind.value} rule of the list ").name(titles.policy_list(rule.list_id))
    reply.text(")")
    if rule.reason:
        reply.text(", reason ").name(rule.reason)
    return reply


def report(refusals: Sequence[Refusal], titles: Titles) -> Reply:
    """One notice about refusals: each by itself if they are few, else counts.

    Events from before the room was protected, and events whose sender could not be verified, are
    only counted: the first are no news, the second may be forged to flood or to defame. What was
    signed in dry run is told and counted apart.
    """
    refused = [r for r in refusals if r.details.ground is not Ground.DRY_RUN]
    reported = [r for r in refusals if r.details.ground is Ground.DRY_RUN]
    reply = Reply("🚫")
    if refused:
        _tell(reply, refused, titles, "Refused", "Also refused")
    if reported:
        _tell(
            reply.line() if refused else reply,
            reported,
            titles,
            "Dry run, would have been refused",
            "Also in dry run",
        )
    return reply


def _tell(
    reply: Reply, refusals: Sequence[Refusal], titles: Titles, title: str, also: str
) -> None:
    fresh = [r for r in refusals if not r.details.old and not r.details.unverified]
    old = sum(r.details.old for r in refusals)
    unverified = sum(r.details.unverified and not r.details.old for r in refusals)
    begun = bool(fresh)
    if len(fresh) == 1:
        _single(reply.strong(f"{title}: "), fresh[0], titles)
    elif len(fresh) <= SINGLY:
        if fresh:
            reply.strong(f"{title}: {count(len(fresh), 'event')}")
        for refusal in fresh:
            _single(reply.item(), refusal, titles)
    else:
        _digest(reply, fresh, titles, title)
    for number, which in (
        (old, "sent before the room was protected"),
        (unverified, "whose sender could not be verified, since their server's keys do not come"),
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


def _digest(reply: Reply, refusals: Sequence[Refusal], titles: Titles, title: str) -> None:
    senders = Counter(refusal.details.sender for refusal in refusals)
    rooms = Counter(refusal.details.room_id for refusal in refusals)
    reply.strong(
        f"{title}: {count(len(refusals), 'event')} by {count(len(senders), 'sender')} in "
        f"{count(len(rooms), 'room')}"
    )
    _top(reply, "Senders", senders, lambda sender: Reply().code(sender))
    _top(reply, "Rooms", rooms, lambda room_id: Reply().name(titles.room(room_id)))
    rules: Counter[str] = Counter()
    first: dict[str, Rule] = {}
    for refusal in refusals:
        rule = refusal.details.rule
        if rule is not None:
            text = "\n".join((rule.list_id, rule.kind, rule.entity, rule.entity_hash))
            rules[text] += 1
            first.setdefault(text, rule)
    _top(reply, "Rules", rules, lambda text: add_rule(Reply(), first[text], titles))
    latest = refusals[-1].reference
    reply.line().text("The latest: ").command(f"why {latest}")


def _top(reply: Reply, title: str, counts: Counter[str], shown: Callable[[str], Reply]) -> None:
    reply.line().text(f"{title}: ")
    for index, (key, count) in enumerate(counts.most_common(TOP)):
        reply.text(", " if index else "").add(shown(key)).text(f" {count}×")
    if len(counts) > TOP:
        reply.text(f" and {len(counts) - TOP} more")


def count(number: int, noun: str) -> str:
    """A number with its noun, in the singular or plural: “1 event”, “2 events”."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
