from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policybot.policy.glob import Glob
from policybot.policy.glob_index import CROWDED, GlobIndex, Pieces

PATTERNS = st.text("ab*?:", max_size=9)
TEXTS = st.text("ab:", max_size=12)


class Value:
    """Stands for a rule: values are told apart by identity."""

    def __init__(self, pattern: str) -> None:
        self.glob = Glob(pattern)


def numbered(count: int, pattern: str) -> list[Value]:
    return [Value(pattern.format(number)) for number in range(count)]


def add_all(index: GlobIndex[Value], values: list[Value]) -> None:
    for value in values:
        index.add(value.glob, value)


def matching(index: GlobIndex[Value], text: str) -> set[int]:
    found = index.matching(Pieces(text))
    assert len(found) == len(set(map(id, found)))
    return set(map(id, found))


@settings(max_examples=300)
@given(
    st.lists(st.tuples(PATTERNS, st.integers(1, 2 * CROWDED)), max_size=12),
    st.randoms(use_true_random=False),
    st.lists(TEXTS, min_size=1, max_size=8),
)
def test_agrees_with_a_scan(
    patterns: list[tuple[str, int]], random: Random, texts: list[str]
) -> None:
    index: GlobIndex[Value] = GlobIndex()
    values = [Value(pattern) for pattern, times in patterns for _ in range(times)]
    random.shuffle(values)
    there: list[Value] = []
    for value in values:
        if there and random.random() < 0.3:
            gone = there.pop(random.randrange(len(there)))
            index.remove(Glob(gone.glob.pattern), gone)
        index.add(value.glob, value)
        there.append(value)
    assert len(index) == len(there)
    for text in texts:
        assert matching(index, text) == {id(one) for one in there if one.glob.matches(text)}
    for value in there:
        index.remove(value.glob, value)
    assert len(index) == 0
    assert index.loose == 0
    assert all(matching(index, text) == set() for text in texts)


@pytest.mark.parametrize("pattern", ["*", "@*", "a*b", "ab?cd", "?" * 255, ""])
def test_without_three_literal_characters_a_glob_is_loose(pattern: str) -> None:
    index: GlobIndex[Value] = GlobIndex()
    value = Value(pattern)
    assert not index.add(value.glob, value)
    assert index.loose == 1
    index.remove(value.glob, value)
    assert index.loose == 0


def test_globs_that_share_all_pieces_become_loose() -> None:
    index: GlobIndex[Value] = GlobIndex()
    values = [Value("?" * number + "*:ab*") for number in range(100)]
    add_all(index, values)
    assert index.loose == 100 - CROWDED
    assert len(matching(index, "@x:ab")) == 3


def test_crowded_pieces_are_left_for_longer_ones() -> None:
    index: GlobIndex[Value] = GlobIndex()
    values = numbered(20_000, "@{:06}*:matrix.org")
    add_all(index, values)
    assert index.loose == 0
    for number in (0, 12_345, 19_999):
        assert matching(index, f"@{number:06}x:matrix.org") == {id(values[number])}


def test_a_stranger_meets_few_candidates() -> None:
    """However many globs end in the same server name."""
    index: GlobIndex[Value] = GlobIndex()
    add_all(index, numbered(20_000, "@{:06}*:matrix.org"))
    compared = []

    class Counted(str):
        def startswith(self, *arguments: object) -> bool:
            compared.append(arguments)
            return False

    text = "@alice:matrix.org"
    index.matching(Pieces(Counted(text)))
    assert len(compared) <= 2 * len(text) * CROWDED


def test_removing_what_is_not_there() -> None:
    index: GlobIndex[Value] = GlobIndex()
    value = Value("@spam*")
    index.add(value.glob, value)
    for other in (Value("@spam*"), Value("*")):
        with pytest.raises(KeyError):
            index.remove(other.glob, other)
    assert matching(index, "@spammer:x") == {id(value)}


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 6, 7, 300])
def test_pieces_of_short_and_long_texts(length: int) -> None:
    text = "".join(chr(1000 + number) for number in range(length))
    pieces = Pieces(text)
    assert pieces.short == {text[start : start + 3] for start in range(max(0, length - 2))}
    assert pieces.long == {text[start : start + 6] for start in range(max(0, length - 5))}
