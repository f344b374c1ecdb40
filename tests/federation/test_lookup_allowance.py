from policybot.federation.lookup_allowance import LookupAllowance, LookupLimits

SECOND = 1_000
MANY = LookupLimits(at_a_time=1_000, at_once=1_000, per_second=1_000)


def begun(allowance: LookupAllowance, address: str, now_ms: int, tries: int) -> int:
    return sum(allowance.begin(address, now_ms) for _ in range(tries))


def test_so_many_at_a_time() -> None:
    allowance = LookupAllowance(LookupLimits(2, 100, 100), MANY)
    assert begun(allowance, "a", 0, 5) == 2
    assert begun(allowance, "b", 0, 5) == 2
    allowance.end("a")
    assert begun(allowance, "a", 0, 5) == 1
    assert begun(allowance, "b", 0, 5) == 0


def test_so_many_at_once_and_each_second_after() -> None:
    allowance = LookupAllowance(LookupLimits(100, 3, 0.5), MANY)
    assert begun(allowance, "a", 0, 5) == 3
    assert begun(allowance, "a", 2 * SECOND - 1, 5) == 0
    assert begun(allowance, "a", 2 * SECOND, 5) == 1
    assert begun(allowance, "a", 6 * SECOND, 5) == 2
    assert begun(allowance, "a", 1_000_000 * SECOND, 5) == 3
    # A clock that is set back gives nothing and takes nothing.
    assert begun(allowance, "a", 0, 5) == 0
    assert begun(allowance, "a", 2 * SECOND, 5) == 1


def test_all_together() -> None:
    allowance = LookupAllowance(MANY, LookupLimits(3, 5, 1))
    assert [begun(allowance, address, 0, 1) for address in "abcd"] == [1, 1, 1, 0]
    for address in "abc":
        allowance.end(address)
    assert [begun(allowance, address, 0, 1) for address in "abcd"] == [1, 1, 0, 0]
    assert [begun(allowance, address, SECOND, 1) for address in "abcd"] == [1, 0, 0, 0]


def test_an_address_that_may_begin_nothing_takes_nothing_from_the_others() -> None:
    allowance = LookupAllowance(LookupLimits(1, 1, 1), LookupLimits(100, 3, 0))
    assert begun(allowance, "a", 0, 50) == 1
    assert begun(allowance, "b", 0, 1) == 1


def test_requests_of_no_known_address_are_counted_in_all_only() -> None:
    allowance = LookupAllowance(LookupLimits(1, 1, 1), LookupLimits(4, 10, 1))
    assert begun(allowance, "", 0, 10) == 4
    allowance.end("")
    assert begun(allowance, "a", 0, 10) == 1


def test_the_addresses_kept_are_bounded() -> None:
    allowance = LookupAllowance(LookupLimits(5, 2, 0), MANY, size=2)
    for address in ("a", "b", "a", "c"):
        assert allowance.begin(address, 0)
    assert len(allowance) == 2
    assert not allowance.begin("a", 0)
    assert allowance.begin("b", 0)  # forgotten meanwhile
    for address in ("a", "b", "a", "c", "b"):
        allowance.end(address)
    assert len(allowance) == 2
