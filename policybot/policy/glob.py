"""Glob-style patterns as in policy lists: ``*`` any run of characters, ``?`` exactly one.

Everything else is literal, also ``[`` and ``.``; a pattern covers the whole text (specification,
appendices, "Glob-style matching"). Matching takes time linear in the length of the text, whatever
the pattern.
"""

from collections.abc import Iterator

MAX_STARS = 10
"""A pattern with more stars, runs counted once, is not taken from a policy list."""


def is_glob(text: str) -> bool:
    """Whether the text holds a wildcard."""
    return "*" in text or "?" in text


def collapse_stars(pattern: str) -> str:
    """The pattern with each run of stars made one; it matches the same texts."""
    while "**" in pattern:
        pattern = pattern.replace("**", "*")
    return pattern


def fold(text: str) -> str:
    """The text in lower case, character by character.

    Unlike ``str.lower`` no character's form depends on its neighbours (the Greek final sigma), so
    folding the pieces of a text is the same as folding the text.
    """
    folded = text.lower() if text.isascii() else "".join(map(str.lower, text))
    return text if folded == text else folded  # one string in memory for both


class Glob:
    """One pattern, compared as it is: who wants to ignore case folds pattern and text.

    ``head`` is what every matching text begins with.
    """

    __slots__ = ("pattern", "head", "_middle", "_tail", "_shortest", "_automaton")

    def __init__(self, pattern: str) -> None:
        self.pattern = collapse_stars(pattern)
        pieces = self.pattern.split("*")
        self._shortest = sum(map(len, pieces))
        self._middle: tuple[str, ...] | None = None
        self._automaton: _Automaton | None = None
        if "?" not in pattern:
            self._middle = tuple(pieces[1:-1])
            self.head, self._tail = pieces[0], pieces[-1]
        else:
            self.head = pieces[0].partition("?")[0]
            self._tail = pieces[-1].rpartition("?")[2]

    def __repr__(self) -> str:
        return f"Glob({self.pattern!r})"

    def literal_parts(self) -> list[str]:
        """The runs of characters between wildcards, none of them empty."""
        return [part for part in self.pattern.replace("?", "*").split("*") if part]

    def matches(self, text: str) -> bool:
        """Whether the pattern covers the whole text."""
        if (
            len(text) < self._shortest
            or not text.startswith(self.head)
            or not text.endswith(self._tail)
        ):
            return False
        if self._middle is None:
            if self._automaton is None:
                self._automaton = _Automaton(self.pattern)
            return self._automaton.matches(text)
        if "*" not in self.pattern:
            return text == self.pattern
        # The leftmost place for each piece leaves the most room for the next.
        position, end = len(self.head), len(text) - len(self._tail)
        for piece in self._middle:
            found = text.find(piece, position, end)
            if found < 0:
                return False
            position = found + len(piece)
        return True


class _Automaton:
    """All states of a pattern at once, as the bits of an integer: for patterns with ``?``.

    Bit ``i`` is set while the first ``i`` characters of the pattern, stars not counted, cover
    what was read of the text. A star keeps the state in front of it alive.
    """

    __slots__ = ("_accept", "_any", "_goal", "_loops")

    def __init__(self, pattern: str) -> None:
        self._accept: dict[str, int] = {}
        self._any = 0
        self._loops = 0
        position = 0
        for character, bit in _steps(pattern):
            position = bit
            if character == "*":
                self._loops |= 1 << bit
            elif character == "?":
                self._any |= 1 << bit
            else:
                self._accept[character] = self._accept.get(character, 0) | 1 << bit
        self._goal = 1 << position
        self._accept = {key: bits | self._any for key, bits in self._accept.items()}

    def matches(self, text: str) -> bool:
        states, accept, any_character, loops = 1, self._accept, self._any, self._loops
        for character in text:
            states = states << 1 & accept.get(character, any_character) | states & loops
            if not states:
                return False
        return bool(states & self._goal)


def _steps(pattern: str) -> Iterator[tuple[str, int]]:
    """Each character of the pattern with the number of the state that it leads to or, for a
    star, that it keeps alive."""
    bit = 0
    for character in pattern:
        if character != "*":
            bit += 1
        yield character, bit
