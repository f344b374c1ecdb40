"""What is kept of rooms, subscriptions and commands across restarts: values that the bot makes and
the store saves."""

from dataclasses import dataclass

from policybot.protocol.canonical_json import JsonObject

from .room import RoomMode


@dataclass(frozen=True, slots=True)
class RoomRecord:
    """A protected room as the moderators wish it to be.

    ``mode`` is the wish (enabled, dry run or disabled), ``settled`` whether the room's state was
    read back and agrees with it. Times are milliseconds since 1970. ``state`` holds the raw state
    events that a `ProtectedRoom` is made of.
    """

    room_id: str
    moderation_room: str
    mode: RoomMode
    enabled_ts: int
    disabled_ts: int | None
    settled: bool
    state: tuple[JsonObject, ...]


@dataclass(frozen=True, slots=True)
class ModerationRoomRecord:
    """What exemptions need of a moderation room while the homeserver is away."""

    room_id: str
    join_rule: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Subscription:
    """A policy list that a moderation room watches; ``position`` orders its lists from 0.

    ``own`` marks a list that the bot made for this moderation room; with a position below 0 it is
    no longer watched.
    """

    moderation_room: str
    list_id: str
    position: int
    shortcode: str
    own: bool


@dataclass(frozen=True, slots=True)
class Exemption:
    """A user whom no list decides about in the rooms of one moderation room.

    ``user_id`` is in lower case, as it is compared. ``allowed_ts`` is milliseconds since 1970.
    """

    moderation_room: str
    user_id: str
    reason: str
    allowed_by: str
    allowed_ts: int


@dataclass(frozen=True, slots=True)
class ReportNotice:
    """A notice in a reports room, which later reports may go on in by editing it.

    It tells of the refusals with numbers above ``after``. Milliseconds since 1970: it was sent at
    ``begun_ts``, and sent or edited last at ``told_ts``.
    """

    event_id: str
    after: int
    begun_ts: int
    told_ts: int


@dataclass(frozen=True, slots=True)
class ReportCursor:
    """How far the reports room ``room_id`` has been told.

    Everything up to ``number`` was told, the end of it in ``notice``. If ``pending_to`` is set,
    telling the numbers up to that was begun at ``pending_since`` (milliseconds since 1970): by an
    edit of ``notice``, or if that is None by a new one. It was sent or not, so the same request is
    made again, with the same transaction ID.
    """

    room_id: str
    number: int
    pending_to: int | None = None
    pending_since: int | None = None
    notice: ReportNotice | None = None


@dataclass(frozen=True, slots=True)
class RefusalGroup:
    """So many refusals (``count``) that are alike: by the same sender, in the same room, by the
    same rule (list, kind, entity and its hash).

    ``dry_run``: they were signed, since the room is only tried out. ``latest`` is the largest of
    their numbers; ``first_ts`` and ``last_ts`` tell when they were decided, in milliseconds since
    1970. ``old`` and ``unverified`` as in `Details`.
    """

    dry_run: bool
    old: bool
    unverified: bool
    sender: str
    room_id: str
    rule: tuple[str, ...] | None
    count: int
    latest: int
    first_ts: int
    last_ts: int


@dataclass(frozen=True, slots=True)
class CommandRecord:
    """A command that was taken at ``taken_ts`` (milliseconds since 1970) and not answered yet.

    ``event_id`` gave it, the reply goes to ``reply_to``. After a yes to a question these are the
    yes and the question, and ``agreed`` is how many people the question said it would hit.
    ``again`` tells that the process ended while it was carried out, and that it is carried out
    once more.
    """

    event_id: str
    room_id: str
    sender: str
    text: str
    taken_ts: int
    reply_to: str
    agreed: int | None = None
    again: bool = False
