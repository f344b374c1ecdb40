"""What rules are matched against: a user ID, a server name or a room, in the forms compared.

User IDs and server names are compared in lower case. A server is compared without its port and,
if it has one, with it too. Hashed entities are compared as they were hashed, letter by letter.
"""

from collections.abc import Callable
from functools import lru_cache

from policybot.protocol.server_name import without_port

from .glob import Glob, fold
from .glob_index import Pieces
from .rule import Rule, RuleKind, hash_of


class Subject:
    """A name with its forms; what only some rules need is made when the first of them asks."""

    __slots__ = ("kind", "names", "_hashed", "_hashes", "_pieces")

    def __init__(self, kind: RuleKind, text: str) -> None:
        self.kind = kind
        self._hashed: tuple[str, ...] = (text,)
        if kind is RuleKind.SERVER:
            bare = without_port(text)
            self._hashed = (text,) if bare == text else (bare, text)
        self.names: tuple[str, ...] = self._hashed
        if kind is not RuleKind.ROOM:
            self.names = tuple(map(fold, self._hashed))
        if kind is RuleKind.SERVER and self.names != self._hashed:
            self._hashed += self.names
        self._hashes: tuple[str, ...] | None = None
        self._pieces: tuple[Pieces, ...] | None = None

    @property
    def hashes(self) -> tuple[str, ...]:
        """The hashes by which hashed rules may mean this subject."""
        if self._hashes is None:
            self._hashes = tuple(map(hash_of, self._hashed))
        return self._hashes

    @property
    def pieces(self) -> tuple[Pieces, ...]:
        """The names, cut for look-ups in glob indexes."""
        if self._pieces is None:
            self._pieces = tuple(map(Pieces, self.names))
        return self._pieces


@lru_cache(maxsize=500)
def server_subject(name: str) -> Subject:
    """A server as subject; new senders are mostly of servers seen before."""
    return Subject(RuleKind.SERVER, name)


def comparable(rule: Rule) -> str:
    """The rule's entity in the form that is compared with a subject's names."""
    return rule.entity if rule.kind is RuleKind.ROOM else fold(rule.entity)


def matcher(rule: Rule) -> Callable[[Subject], bool]:
    """A test whether this one rule matches a subject; for counting whom a rule would hit."""
    if rule.entity_hash:
        return lambda subject: subject.kind is rule.kind and rule.entity_hash in subject.hashes
    entity = comparable(rule)
    if not rule.is_glob:
        return lambda subject: subject.kind is rule.kind and entity in subject.names
    glob = Glob(entity)
    return lambda subject: subject.kind is rule.kind and any(map(glob.matches, subject.names))
