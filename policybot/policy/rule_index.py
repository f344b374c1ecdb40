"""The rules of one list and one kind, found by the names they match."""

from collections.abc import Sequence

from .glob import Glob
from .glob_index import GlobIndex
from .rule import Rule
from .subject import Subject, comparable

Named = dict[str, Rule | tuple[Rule, ...]]
"""Rules by name or hash. Nearly all stand alone there, and 100,000 tuples of one would be 6 MB and
as much work for the garbage collector as the rules themselves."""


class RuleIndex:
    """Literal and hashed entities in dicts, globs in an index of their own.

    Rules of the same entity stand side by side; rules are told apart by identity.
    """

    __slots__ = ("_globs", "_hashed", "_literal")

    def __init__(self) -> None:
        self._literal: Named = {}
        self._hashed: Named = {}
        self._globs: GlobIndex[Rule] = GlobIndex()

    @property
    def loose(self) -> int:
        """How many globs have to be compared with every name."""
        return self._globs.loose

    def add(self, rule: Rule) -> bool:
        """Add a rule; False means that it is a loose glob."""
        if rule.is_glob:
            return self._globs.add(Glob(comparable(rule)), rule)
        rules, name = self._place(rule)
        there = _at(rules, name)
        rules[name] = (*there, rule) if there else rule
        return True

    def alike(self, rule: Rule) -> int:
        """How many rules there are with the same name or hash as this one; for a glob 0."""
        if rule.is_glob:
            return 0
        rules, name = self._place(rule)
        return len(_at(rules, name))

    def remove(self, rule: Rule) -> None:
        """Take out a rule that was added.

        Raises:
            KeyError: it is not there.
        """
        if rule.is_glob:
            self._globs.remove(Glob(comparable(rule)), rule)
            return
        rules, name = self._place(rule)
        left = tuple(other for other in _at(rules, name) if other is not rule)
        if left:
            rules[name] = left
        else:
            del rules[name]

    def literal(self, subject: Subject) -> Sequence[Rule]:
        """The rules that name this subject."""
        return _under(self._literal, subject.names)

    def hashed(self, subject: Subject) -> Sequence[Rule]:
        """The rules that name this subject by a hash."""
        return _under(self._hashed, subject.hashes) if self._hashed else ()

    def globs(self, subject: Subject) -> Sequence[Rule]:
        """The globs that match this subject."""
        if not len(self._globs):
            return ()
        if len(subject.pieces) == 1:
            return self._globs.matching(subject.pieces[0])
        found = {id(rule): rule for text in subject.pieces for rule in self._globs.matching(text)}
        return list(found.values())

    def _place(self, rule: Rule) -> tuple[Named, str]:
        if rule.entity_hash:
            return self._hashed, rule.entity_hash
        return self._literal, comparable(rule)


def _at(rules: Named, name: str) -> tuple[Rule, ...]:
    there = rules.get(name, ())
    return (there,) if isinstance(there, Rule) else there


def _under(rules: Named, names: tuple[str, ...]) -> Sequence[Rule]:
    if len(names) == 1:
        return _at(rules, names[0])
    return [rule for name in dict.fromkeys(names) for rule in _at(rules, name)]
