"""Finding the few globs, out of very many, that may match a text.

Each glob is filed under one piece of its literal parts: of six characters or, where it has none or
those are crowded, of three. A text can only match a glob whose piece it contains, so a look-up
takes the pieces of the text and confirms the globs that are filed under them. The piece is chosen
when the glob is added, as the one with the fewest globs so far; a single addition or removal costs
the same whatever the size of the index.
"""

from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from operator import itemgetter
from typing import Generic, TypeVar

from .glob import Glob

CROWDED = 16
"""A piece takes no more globs than this."""

SPARSE = 2
"""A piece takes no more while there is another, and a short one is taken after the long ones: it
is part of so many texts that with 10,000 globs each look-up would meet dozens of them, far apart
in memory."""

_SHORT, _LONG = 3, 6

_ORDER = ((_LONG, SPARSE), (_SHORT, SPARSE), (_LONG, CROWDED), (_SHORT, CROWDED))

V = TypeVar("V")

# With what the glob begins, by which nearly all are told not to match without a call.
_Entry = tuple[str, Glob, V]


class Pieces:
    """A text with its pieces, which are cut once for any number of indexes."""

    __slots__ = ("text", "_long", "_short")

    def __init__(self, text: str) -> None:
        self.text = text
        self._short: set[str] | None = None
        self._long: set[str] | None = None

    @property
    def short(self) -> set[str]:
        """All pieces of three characters."""
        if self._short is None:
            self._short = set(_pieces(self.text, _SHORT))
        return self._short

    @property
    def long(self) -> set[str]:
        """All pieces of six characters."""
        if self._long is None:
            self._long = set(_pieces(self.text, _LONG))
        return self._long


class GlobIndex(Generic[V]):
    """Globs, each with a value; values are told apart by identity.

    A glob is *loose* if it has no literal part of three characters, or if all of its pieces are
    crowded. Loose globs are compared with every text, so whoever takes globs from strangers
    limits how many `loose` counts.

    Worst case: a text of ``n`` characters is compared with the loose globs and ``2 * n * CROWDED``
    others, however many there are and whoever chose them, each in time linear in ``n``.
    """

    __slots__ = ("_filed", "_loose", "_size", "_size_long")

    def __init__(self) -> None:
        self._filed: dict[str, list[_Entry[V]]] = {}
        self._loose: list[_Entry[V]] = []
        self._size = 0
        self._size_long = 0

    def __len__(self) -> int:
        return self._size

    @property
    def loose(self) -> int:
        """How many globs are loose."""
        return len(self._loose)

    def add(self, glob: Glob, value: V) -> bool:
        """Add a glob; False means that it is loose."""
        self._size += 1
        parts = glob.literal_parts()
        for length, most in _ORDER:
            piece = self._emptiest(parts, length, most)
            if piece is not None:
                break
        else:
            self._loose.append((glob.head, glob, value))
            return False
        self._size_long += length == _LONG
        self._filed.setdefault(piece, []).append((glob.head, glob, value))
        return True

    def remove(self, glob: Glob, value: V) -> None:
        """Remove a glob that was added with this value; any glob of the same pattern will do.

        Raises:
            KeyError: it is not there.
        """
        parts = glob.literal_parts()
        for length in (_SHORT, _LONG):
            for part in parts:
                for piece in _pieces(part, length):
                    entries = self._filed.get(piece)
                    if entries is not None and _take(entries, value):
                        if not entries:
                            del self._filed[piece]
                        self._size -= 1
                        self._size_long -= length == _LONG
                        return
        if not _take(self._loose, value):
            raise KeyError(glob.pattern)
        self._size -= 1

    def matching(self, text: Pieces) -> list[V]:
        """The values of all globs that match, in no particular order."""
        filed, name = self._filed, text.text
        candidates = [self._loose] if self._loose else []
        if filed:
            if self._size - len(self._loose) > self._size_long:
                candidates += [filed[piece] for piece in filed.keys() & text.short]
            if self._size_long:
                candidates += [filed[piece] for piece in filed.keys() & text.long]
        # In one loop: a call for each piece would take as long as all the rest.
        return [
            value
            for entries in candidates
            for head, glob, value in entries
            if name.startswith(head) and glob.matches(name)
        ]

    def _emptiest(self, parts: Iterable[str], length: int, most: int) -> str | None:
        """The piece of this length with the fewest globs, unless all have ``most``."""
        best: str | None = None
        fewest = most
        for part in parts:
            for piece in _pieces(part, length):
                entries = self._filed.get(piece)
                if entries is None:
                    return piece
                if len(entries) < fewest:
                    best, fewest = piece, len(entries)
        return best


def _pieces(text: str, length: int) -> Collection[str]:
    count = len(text) - length + 1
    if count < 2:
        return (text,) if count == 1 else ()
    return _cutter(count, length)(text)


@lru_cache(maxsize=512)
def _cutter(count: int, length: int) -> Callable[[str], tuple[str, ...]]:
    """Cuts all pieces at once, which takes two thirds of the time of a loop."""
    return itemgetter(*[slice(start, start + length) for start in range(count)])


def _take(entries: list[_Entry[V]], value: V) -> bool:
    """Take the entry with this value out of the list; False if there is none."""
    for number, entry in enumerate(entries):
        if entry[2] is value:
            del entries[number]
            return True
    return False
