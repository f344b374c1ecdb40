"""A verdict: the answer about one event, what it rests on, and what is kept of it."""

from dataclasses import dataclass
from enum import StrEnum

from .rule import Rule

TEXT_MESSAGES = ("m.text", "m.notice", "m.emote")
"""The kinds of messages (``msgtype``) whose text is kept when they are refused."""


class Outcome(StrEnum):
    """What the policy server answers."""

    SIGN = "sign"
    REFUSE = "refuse"


class Ground(StrEnum):
    """What a verdict rests on."""

    EVENT_TYPE = "event type"  # signed whoever sends it: refusing it would split the room
    BOT = "bot"
    CREATOR = "creator"
    POWER = "power level"
    MODERATOR = "moderation room"
    ALLOWED = "local exemption"
    DISABLED = "disabled"
    UNCLAIMED = "unclaimed"  # the room names us, but no moderation room enabled it
    NO_RULE = "no rule"
    RULE = "rule"
    ALLOW_RULE = "allow rule"  # a rule that makes an exception from bans won
    DRY_RUN = "dry run"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision about one event.

    ``rule`` is the rule that won; with an exemption as ground, the rule that the exemption
    overruled, or None if no rule matched.
    """

    outcome: Outcome
    ground: Ground
    rule: Rule | None = None

    @property
    def noteworthy(self) -> bool:
        """Whether details are kept: refusals, dry-run hits and exemptions that overruled a rule.

        A user on an allow list is an ordinary user, of whose events nothing is kept.
        """
        if self.ground is Ground.ALLOW_RULE:
            return False
        return self.rule is not None or self.ground is Ground.DISABLED


@dataclass(frozen=True, slots=True)
class Details:
    """What is kept of a noteworthy verdict, for reports and for ``why``.

    ``received_ts`` and ``origin_server_ts`` are milliseconds since 1970. ``text`` is the start of
    a text message's body, or None; ``msgtype`` tells which kind of message it was. ``old`` marks
    events from before the room was enabled. ``caller`` is the server that asked first.
    ``unverified`` tells that the sender's signature could not be checked for want of a key.
    """

    room_id: str
    moderation_room: str
    event_id: str
    event_type: str
    state_key: str | None
    sender: str
    caller: str
    origin_server_ts: int
    received_ts: int
    ground: Ground
    rule: Rule | None
    unverified: bool
    old: bool
    text: str | None
    msgtype: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What is submitted to the store: the reference hash of the event (32 bytes), whether it is
    signed, and details if the verdict is noteworthy."""

    key: bytes
    signed: bool
    details: Details | None = None


def reference_code(key: bytes) -> str:
    """The short code by which a refused person and a moderator name a verdict, ``XXXX-XXXX``.

    It is made from the reference hash (32 bytes) alone, so every answer about one event carries
    the same code. The alphabet has no letters or digits that are easily confused.
    """
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    number = int.from_bytes(key[:5], "big")
    code = "".join(alphabet[number >> shift & 31] for shift in range(35, -1, -5))
    return f"{code[:4]}-{code[4:]}"
