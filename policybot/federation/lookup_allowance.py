"""How many look-ups of keys that nobody heard of may be begun: for each address, and in all.

Anybody can send requests in the name of servers that do not exist, and each name costs a question
to the homeserver, and further ones to DNS and to whoever the name leads to.
"""

from collections import OrderedDict
from dataclasses import dataclass

MAX_ADDRESSES = 10_000


@dataclass(frozen=True, slots=True)
class LookupLimits:
    """So many look-ups under way at a time; and so many begun at once, and each second after."""

    at_a_time: int
    at_once: int
    per_second: float


ADDRESS_LIMITS = LookupLimits(at_a_time=10, at_once=50, per_second=1.0)
ALL_LIMITS = LookupLimits(at_a_time=1_000, at_once=1_000, per_second=50.0)


class _Account:
    """What one address, or all together, may still begin."""

    __slots__ = ("_left", "_limits", "_since_ms", "under_way")

    def __init__(self, limits: LookupLimits, now_ms: int) -> None:
        self.under_way = 0
        self._limits = limits
        self._left = float(limits.at_once)
        self._since_ms = now_ms

    def may_begin(self, now_ms: int) -> bool:
        # The clock may have been set back.
        gained = max(0, now_ms - self._since_ms) / 1000 * self._limits.per_second
        self._left = min(self._left + gained, self._limits.at_once)
        self._since_ms = now_ms
        return self._left >= 1 and self.under_way < self._limits.at_a_time

    def begin(self) -> None:
        self._left -= 1
        self.under_way += 1


class LookupAllowance:
    """Counts look-ups by the address that caused them; an empty address is only counted in all.

    At most ``size`` addresses are kept; the one that began nothing for longest goes first.
    """

    def __init__(
        self,
        each: LookupLimits = ADDRESS_LIMITS,
        together: LookupLimits = ALL_LIMITS,
        size: int = MAX_ADDRESSES,
    ) -> None:
        self._each = each
        self._size = size
        self._all = _Account(together, 0)
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    def __len__(self) -> int:
        return len(self._accounts)

    def begin(self, address: str, now_ms: int) -> bool:
        """Whether a look-up may be begun now (milliseconds); it is counted if so, until `end`."""
        if not self._all.may_begin(now_ms):
            return False
        if address:
            account = self._accounts.get(address) or _Account(self._each, now_ms)
            if not account.may_begin(now_ms):
                return False
            account.begin()
            self._accounts[address] = account
            self._accounts.move_to_end(address)
            if len(self._accounts) > self._size:
                self._accounts.popitem(last=False)
        self._all.begin()
        return True

    def end(self, address: str) -> None:
        """A look-up of this address is over."""
        self._all.under_way -= 1
        account = self._accounts.get(address)
        if account is not None and account.under_way:
            account.under_way -= 1
