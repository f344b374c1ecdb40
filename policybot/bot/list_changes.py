"""Changes of watched lists by others, told in one digest per interval.

Only what has an effect is told: a rule that was merely worded anew is no news.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from policybot.policy.rule import Recommendation, Rule
from policybot.policy.rule_store import Change

from .notices import Notices
from .reply import Reply

MAX_NOTED = 1_000
"""Changes per list that are held for one digest; beyond, they are only counted."""

SHOWN = 5


class ListChanges:
    """Gathers changes of lists. ``followers`` gives the rooms that hear of a list, ``title`` what
    to call it (a text from outside); ``interval`` is in seconds."""

    def __init__(
        self,
        notices: Notices,
        followers: Callable[[str], Sequence[str]],
        title: Callable[[str], str],
        interval: float,
    ) -> None:
        self._notices = notices
        self._followers = followers
        self._title = title
        self._interval = interval
        self._noted: dict[str, list[Change]] = {}
        self._more: dict[str, int] = {}
        self._wake = asyncio.Event()

    def note(self, list_id: str, changes: Iterable[Change]) -> None:
        """Note what changed in a list."""
        for change in changes:
            if change.before == change.after or change.reason_only:
                continue
            noted = self._noted.setdefault(list_id, [])
            if len(noted) < MAX_NOTED:
                noted.append(change)
            else:
                self._more[list_id] = self._more.get(list_id, 0) + 1
            self._wake.set()

    async def run(self) -> None:
        """Tell what was noted, for ever."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(self._interval)
            self._wake.clear()
            noted, self._noted = self._noted, {}
            more, self._more = self._more, {}
            for list_id, changes in noted.items():
                notice = digest(self._title(list_id), changes, more.get(list_id, 0))
                for room_id in self._followers(list_id):
                    self._notices.tell(room_id, notice)


def digest(title: str, changes: Sequence[Change], more: int = 0) -> Reply:
    """One notice about the changes of one list; ``more`` were not kept."""
    reply = Reply("📋").text("The list ").name(title).text(" changed")
    before = [change.before for change in changes if change.before is not None]
    after = [change.after for change in changes if change.after is not None]
    bans = [rule for rule in after if rule.recommendation is not Recommendation.ALLOW]
    exceptions = [rule for rule in after if rule.recommendation is Recommendation.ALLOW]
    _add(reply, "banned", bans)
    _add(reply, "excepted from bans", exceptions)
    _add(reply, "taken out", before)
    if more:
        reply.item().text(f"and {more:,} changes more")
    return reply


def _add(reply: Reply, what: str, rules: Sequence[Rule]) -> None:
    if not rules:
        return

    def shown(rule: Rule) -> Reply:
        name = Reply().code(rule.entity or "(hashed)")
        few = len(rules) <= SHOWN
        return name.text(" ").name(rule.reason) if rule.reason and few else name

    reply.item().text(f"{what}: ").several(rules, SHOWN, shown)
