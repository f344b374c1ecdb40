from hypothesis import given
from hypothesis import strategies as st

from policybot.federation.failure_memory import FailureMemory


def waits(memory: FailureMemory, name: str, now: int) -> int:
    """How long the failure is held, found by looking."""
    low, high = 0, 10_000_000
    while low < high:
        middle = (low + high) // 2
        if memory.holds(name, now + middle):
            low = middle + 1
        else:
            high = middle
    return low


def test_wait_doubles_up_to_the_longest_and_success_ends_it() -> None:
    memory = FailureMemory(30_000, 600_000, 10)
    assert not memory.holds("a.example", 0)
    seen = []
    for _ in range(7):
        memory.record("a.example", 1_000)
        seen.append(waits(memory, "a.example", 1_000))
    assert seen == [30_000, 60_000, 120_000, 240_000, 480_000, 600_000, 600_000]
    memory.clear("a.example")
    assert not memory.holds("a.example", 1_000)
    memory.record("a.example", 1_000)
    assert waits(memory, "a.example", 1_000) == 30_000


def test_a_single_failure_may_have_a_shorter_limit() -> None:
    memory = FailureMemory(30_000, 600_000, 10)
    for expected in (30_000, 60_000, 60_000):
        memory.record("a.example", 0, at_most_ms=60_000)
        assert waits(memory, "a.example", 0) == expected


@given(now=st.integers(0, 10**13), back=st.integers(1, 10**13))
def test_a_clock_set_back_frees(now: int, back: int) -> None:
    memory = FailureMemory(30_000, 600_000, 10)
    memory.record("a.example", now)
    assert not memory.holds("a.example", now - back)


@given(st.lists(st.sampled_from([f"{n}.example" for n in range(20)]), max_size=60))
def test_only_the_latest_failures_are_kept(names: list[str]) -> None:
    memory = FailureMemory(30_000, 600_000, 5)
    for name in names:
        memory.record(name, 0)
    latest = list(dict.fromkeys(reversed(names)))
    assert [name for name in latest if memory.holds(name, 0)] == latest[:5]
    assert len(memory) == min(5, len(latest))
