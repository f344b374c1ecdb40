"""The counts of one report, added up from groups of refusals. Pure.

However many senders a raid has, a tally stays small: of each kind of name so many are counted one
by one, and the events of all further names only in the totals, which are always exact.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from policybot.policy.records import RefusalGroup

SINGLY = 5
"""Up to so many refusals are told one by one; more are counted."""

MAX_NAMES = 10_000

Name = TypeVar("Name", str, tuple[str, ...])


class Ranking(Generic[Name]):
    """How many events each name has. ``full`` tells that there are more names than are counted."""

    def __init__(self) -> None:
        self._counts: Counter[Name] = Counter()
        self.full = False

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, name: Name, count: int) -> None:
        """Count events."""
        if name in self._counts or len(self._counts) < MAX_NAMES:
            self._counts[name] += count
        else:
            self.full = True

    def top(self, most: int) -> list[tuple[Name, int]]:
        """The names with the most events, at most so many."""
        return self._counts.most_common(most)


@dataclass(slots=True)
class Counts:
    """Events of one kind: ``named`` ones are told with names, ``old`` and ``unverified`` ones only
    counted.

    Times and ``latest`` (the largest number) are those of the named ones; ``examples`` holds one
    number for each rule.
    """

    named: int = 0
    old: int = 0
    unverified: int = 0
    first_ts: int = 0
    last_ts: int = 0
    latest: int = 0
    senders: Ranking[str] = field(default_factory=Ranking)
    servers: Ranking[str] = field(default_factory=Ranking)
    rooms: Ranking[str] = field(default_factory=Ranking)
    rules: Ranking[tuple[str, ...]] = field(default_factory=Ranking)
    examples: dict[tuple[str, ...], int] = field(default_factory=dict)

    @property
    def events(self) -> int:
        """How many there are in all."""
        return self.named + self.old + self.unverified

    def add(self, group: RefusalGroup) -> None:
        """Count events that are alike."""
        # Events from before the room was protected are no news, and those whose sender could not
        # be verified may be forged to flood or to defame.
        if group.old:
            self.old += group.count
            return
        if group.unverified:
            self.unverified += group.count
            return
        self.first_ts = min(self.first_ts, group.first_ts) if self.named else group.first_ts
        self.last_ts = max(self.last_ts, group.last_ts)
        self.latest = max(self.latest, group.latest)
        self.named += group.count
        self.senders.add(group.sender, group.count)
        self.servers.add(group.sender.partition(":")[2], group.count)
        self.rooms.add(group.room_id, group.count)
        if group.rule is not None:
            self.rules.add(group.rule, group.count)
            if group.rule in self.examples or len(self.examples) < MAX_NAMES:
                self.examples[group.rule] = group.latest


@dataclass(slots=True)
class Tally:
    """What happened after the number ``after``, as far as the number ``upto``: what was refused,
    and what would have been but for dry run (``tried``).

    ``spans`` holds the slices of numbers in which the first named ones are, as long as those are
    few enough to be told one by one.
    """

    after: int
    upto: int
    refused: Counts = field(default_factory=Counts)
    tried: Counts = field(default_factory=Counts)
    spans: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def empty(cls, after: int) -> "Tally":
        """A tally that begins after a number."""
        return cls(after, after)

    @property
    def events(self) -> int:
        """How many events there are in all."""
        return self.refused.events + self.tried.events

    def add(self, upto: int, groups: Iterable[RefusalGroup]) -> None:
        """Add the groups of the slice that ends at the number ``upto``."""
        few = False
        for group in groups:
            counts = self.tried if group.dry_run else self.refused
            before = counts.named
            counts.add(group)
            few = few or before < counts.named and before <= SINGLY
        if few:
            self.spans.append((self.upto, upto))
        self.upto = upto
