"""Policy rules: from a state event of a policy list to a value (protocol section 13, MSC2313).

Newer-named event types come first everywhere. Hashed entities are MSC4205, takedowns MSC4204,
allowing is MSC4150.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from sys import intern
from types import MappingProxyType
from typing import Any, NamedTuple

from policybot.protocol.canonical_json import JsonObject

from .glob import MAX_STARS, collapse_stars, is_glob

MAX_REASON = 500
"""Characters of a reason that are kept."""

MAX_BYTES = 255
"""Bytes of an entity or of a state key; longer ones cannot name anything in Matrix."""


class RuleKind(StrEnum):
    """What a rule is about."""

    USER = "user"
    SERVER = "server"
    ROOM = "room"


class Recommendation(StrEnum):
    """What a rule asks for. A takedown is treated as a ban; ALLOW is an exception from bans."""

    BAN = "ban"
    TAKEDOWN = "takedown"
    ALLOW = "allow"


_TYPE_NAMES = ("m.policy.rule.", "m.room.rule.", "org.matrix.mjolnir.rule.")

_EVENT_TYPES = {
    kind: tuple(intern(name + kind.value) for name in _TYPE_NAMES) for kind in RuleKind
}

RULE_EVENT_TYPES: Mapping[str, RuleKind] = MappingProxyType(
    {event_type: kind for kind, types in _EVENT_TYPES.items() for event_type in types}
)
"""All event types of rules, newer and older names."""

RECOMMENDATIONS: Mapping[str, Recommendation] = MappingProxyType(
    {
        "m.ban": Recommendation.BAN,
        "org.matrix.mjolnir.ban": Recommendation.BAN,
        "m.takedown": Recommendation.TAKEDOWN,
        "org.matrix.msc4204.takedown": Recommendation.TAKEDOWN,
        "m.allow": Recommendation.ALLOW,
        "org.matrix.mjolnir.allow": Recommendation.ALLOW,
        "fi.mau.meowlnir.unban": Recommendation.ALLOW,
    }
)
"""All spellings of recommendations that are understood."""

_HASH_KEYS = ("hashes", "org.matrix.msc4205.hashes")

# Lone surrogates cannot be encoded, and no database takes a NUL.
_UNSTORABLE = re.compile("[\ud800-\udfff\x00]")


class RuleKey(NamedTuple):
    """Where a rule stands: the policy list's room ID and the state event in it."""

    list_id: str
    event_type: str
    state_key: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a policy list.

    Either ``entity`` is set, a name or a glob, or ``entity_hash``: the padded standard base64 of
    the SHA-256 of a name. ``origin_server_ts`` is milliseconds since 1970, as its server says.
    """

    list_id: str
    kind: RuleKind
    event_type: str
    state_key: str
    entity: str
    entity_hash: str
    recommendation: Recommendation
    reason: str
    event_id: str
    sender: str
    origin_server_ts: int

    @property
    def key(self) -> RuleKey:
        """What a later event of the list must have in common to replace this rule."""
        return RuleKey(self.list_id, self.event_type, self.state_key)

    @property
    def is_glob(self) -> bool:
        """Whether it stands for more than one entity."""
        return is_glob(self.entity)

    def same_effect(self, other: "Rule") -> bool:
        """Whether the other rule asks for the same for the same entity."""
        return (
            self.kind is other.kind
            and self.entity == other.entity
            and self.entity_hash == other.entity_hash
            and self.recommendation is other.recommendation
        )


@dataclass(frozen=True, slots=True)
class Removal:
    """A state event that takes a rule away."""

    list_id: str
    event_type: str
    state_key: str


@dataclass(frozen=True, slots=True)
class NotARule:
    """An event that cannot be used as a rule, and why: a few words for moderators.

    As with a removal, there is no rule (any more) under its state key.
    """

    list_id: str
    event_type: str
    state_key: str
    event_id: str
    why: str


def event_types(kind: RuleKind) -> tuple[str, ...]:
    """The event types for a kind of rule, newest name first."""
    return _EVENT_TYPES[kind]


def rule_state_key(entity: str, recommendation: str) -> str:
    """The state key under which a rule is written, the one that Draupnir and meowlnir choose.

    ``recommendation`` is the event's text, for instance ``m.ban``.
    """
    return hash_of(entity + recommendation)


def is_usable_name(text: str) -> bool:
    """Whether a text is short enough and of characters that can be encoded and stored."""
    return (
        len(text) <= MAX_BYTES
        and _UNSTORABLE.search(text) is None
        and (text.isascii() or len(text.encode()) <= MAX_BYTES)
    )


def printable(value: Any, length: int) -> str:
    """The start of a text from outside, fit to be encoded and stored; "" if it is no text."""
    return _UNSTORABLE.sub("\ufffd", value[:length]) if isinstance(value, str) else ""


def hash_of(text: str) -> str:
    """The SHA-256 of a text as padded standard base64, the form of hashed entities."""
    return base64.b64encode(hashlib.sha256(text.encode(errors="surrogatepass")).digest()).decode()


def parse_rule(list_id: str, event: JsonObject) -> Rule | Removal | NotARule:
    """Read a state event of a policy list, whatever JSON it holds. Never raises."""
    event_type, state_key = event.get("type"), event.get("state_key")
    event_id = printable(event.get("event_id"), MAX_BYTES)
    try:
        if not isinstance(event_type, str) or event_type not in RULE_EVENT_TYPES:
            raise _Unusable("the event is not of a rule's type")
        if not isinstance(state_key, str):
            raise _Unusable("the event has no state key")
        if not is_usable_name(state_key):
            raise _Unusable(f"its state key is longer than {MAX_BYTES} bytes or not valid text")
        content = event.get("content")
        if not isinstance(content, dict):
            raise _Unusable("the content is not an object")
        if not content:
            return Removal(list_id, intern(event_type), state_key)
        kind = RULE_EVENT_TYPES[event_type]
        recommendation = _recommendation(content)
        entity, entity_hash = _entity(content)
        if recommendation is Recommendation.ALLOW and entity and not entity.strip("*?@:."):
            # Allow lists often begin so ("everyone may come in by default"). As an exception
            # from bans it would switch off this list and all that follow.
            raise _Unusable("it allows everyone, which would switch off all other rules")
    except _Unusable as error:
        return NotARule(
            list_id,
            printable(event_type, MAX_BYTES),
            printable(state_key, MAX_BYTES),
            event_id,
            str(error),
        )
    return Rule(
        list_id=intern(list_id),
        kind=kind,
        event_type=intern(event_type),
        state_key=state_key,
        entity=entity,
        entity_hash=entity_hash,
        recommendation=recommendation,
        reason=intern(printable(content.get("reason"), MAX_REASON)),
        event_id=event_id,
        sender=intern(printable(event.get("sender"), MAX_BYTES)),
        origin_server_ts=_timestamp(event.get("origin_server_ts")),
    )


class _Unusable(Exception):
    """Why an event is not a rule."""


def _recommendation(content: JsonObject) -> Recommendation:
    text = content.get("recommendation")
    if not isinstance(text, str):
        raise _Unusable("it has no recommendation")
    recommendation = RECOMMENDATIONS.get(text)
    if recommendation is None:
        raise _Unusable(f"its recommendation is not known: {printable(text, 50)}")
    return recommendation


def _entity(content: JsonObject) -> tuple[str, str]:
    """The entity or its hash; one of the two is empty."""
    entity = content.get("entity")
    if entity is None or entity == "":
        return "", _hashed_entity(content)
    if not isinstance(entity, str):
        raise _Unusable("its entity is not a text")
    if not is_usable_name(entity):
        raise _Unusable(f"its entity is longer than {MAX_BYTES} bytes or not valid text")
    if collapse_stars(entity).count("*") > MAX_STARS:
        raise _Unusable(f"its entity has more than {MAX_STARS} stars")
    return entity, ""


def _hashed_entity(content: JsonObject) -> str:
    for key in _HASH_KEYS:
        hashes = content.get(key)
        digest = _digest(hashes.get("sha256")) if isinstance(hashes, dict) else None
        if digest is not None:
            return base64.b64encode(digest).decode()
    if any(key in content for key in _HASH_KEYS):
        raise _Unusable("its hash is not a SHA-256 in base64")
    raise _Unusable("it has no entity")


def _digest(text: Any) -> bytes | None:
    """The 32 bytes of a hash, whichever base64 alphabet and padding was used."""
    if not isinstance(text, str) or len(text) not in (43, 44):
        return None
    try:
        digest = base64.b64decode(text.rstrip("=") + "=", altchars=_altchars(text), validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest if len(digest) == 32 else None


def _altchars(text: str) -> bytes | None:
    return b"-_" if "-" in text or "_" in text else None


def _timestamp(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 1 << 63 else 0
