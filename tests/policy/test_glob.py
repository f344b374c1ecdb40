import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from policybot.policy.glob import Glob, collapse_stars, fold, is_glob

PATTERNS = st.text("ab?*", max_size=12)
TEXTS = st.text("ab", max_size=14)


def oracle(pattern: str, text: str) -> bool:
    parts = {"*": ".*", "?": "."}
    expression = "".join(parts.get(character, re.escape(character)) for character in pattern)
    return re.fullmatch(expression, text, re.DOTALL) is not None


@given(PATTERNS, TEXTS)
@example("", "")
@example("*", "")
@example("a*a", "a")
@example("*?*", "")
@example("a*?b", "ab")
def test_agrees_with_a_regular_expression(pattern: str, text: str) -> None:
    assert Glob(pattern).matches(text) == oracle(pattern, text)


@given(st.text("a[]!-.\\^$?*\n", max_size=8), st.text("a[]!-.\\^$\n", max_size=8))
def test_all_but_wildcards_is_literal(pattern: str, text: str) -> None:
    assert Glob(pattern).matches(text) == oracle(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("@spam*:evil.org", "@spam1:evil.org", True),
        ("@spam*:evil.org", "@spam:evil.org", True),
        ("@spam*:evil.org", "@spam1:evil.org.uk", False),
        ("@spam*:evil.org", "x@spam1:evil.org", False),
        ("*.evil.org", "a.b.evil.org", True),
        ("*.evil.org", "evil.org", False),
        ("@?:x", "@a:x", True),
        ("@?:x", "@:x", False),
        ("@?:x", "@ab:x", False),
        ("@?:x", "@\U0001f600:x", True),
        ("@[ab]:x", "@a:x", False),
        ("@a**b:x", "@ab:x", True),
        ("***", "anything", True),
        ("a", "A", False),
    ],
)
def test_matches(pattern: str, text: str, matches: bool) -> None:
    assert Glob(pattern).matches(text) is matches


@pytest.mark.parametrize("pattern", ["*a*a*a*a*a*a*a*a*a*ab", "*a?*a?*a?*a?*a?*a?*a?*a?*a?*b"])
def test_repetitive_texts_do_not_explode(pattern: str) -> None:
    # With backtracking this would not end.
    assert not Glob(pattern).matches("a" * 100_000)


def test_many_question_marks() -> None:
    assert Glob("?" * 255).matches("a" * 255)
    assert not Glob("?" * 255).matches("a" * 254)
    assert Glob("*" + "?" * 254).matches("a" * 255)


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        ("", []),
        ("*?*", []),
        ("@spam*:evil.or?", ["@spam", ":evil.or"]),
        ("a?b**c", ["a", "b", "c"]),
    ],
)
def test_literal_parts(pattern: str, parts: list[str]) -> None:
    assert Glob(pattern).literal_parts() == parts


def test_is_glob() -> None:
    assert is_glob("a*") and is_glob("?") and not is_glob("@a[b]:c.org")


@given(st.text("a*?", max_size=10))
def test_collapsing_leaves_no_two_stars_together(pattern: str) -> None:
    collapsed = collapse_stars(pattern)
    assert "**" not in collapsed
    assert collapsed == re.sub(r"\*+", "*", pattern)


@given(st.text(max_size=10), st.text(max_size=10))
@example("Α", "Σ")
def test_folding_does_not_depend_on_neighbours(start: str, end: str) -> None:
    assert fold(start + end) == fold(start) + fold(end)
    assert fold(fold(start)) == fold(start)


def test_folding_is_lower_case() -> None:
    assert fold("@Spam:EVIL.org") == "@spam:evil.org"
    assert fold("Ä") == "ä"
