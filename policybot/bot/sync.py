"""Following the homeserver: a loop over ``/sync`` that hands on what happened as values.

mautrix's own loop hides which timelines are limited (have a gap) and parses each event strictly;
here a limited room is marked, so that its state is read anew, and odd events do no harm.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from policybot.policy.rule import RULE_EVENT_TYPES
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.policy_event import POLICY_EVENT, UNSTABLE_POLICY_EVENT

from .client import HomeserverAway, MatrixClient, Refused, TokenRejected
from .raw_event import events_of

logger = logging.getLogger(__name__)

POLL_MS = 30_000
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 30.0
TIMELINE_LIMIT = 100

_STATE_TYPES = (
    "m.room.create",
    "m.room.member",
    "m.room.power_levels",
    POLICY_EVENT,
    UNSTABLE_POLICY_EVENT,
    "m.room.join_rules",
    "m.room.server_acl",
    "m.room.tombstone",
    "m.room.name",
    "m.room.canonical_alias",
    "m.room.encryption",
)
_NOTHING = {"not_types": ["*"]}

SYNC_FILTER: JsonObject = {
    "presence": _NOTHING,
    "account_data": _NOTHING,
    "room": {
        "ephemeral": _NOTHING,
        "account_data": _NOTHING,
        # Without rules: a list's state is read in full when it is watched, and again after a gap.
        # Here a list of 100,000 would come as one answer of 50 MB.
        "state": {"types": list(_STATE_TYPES), "lazy_load_members": True},
        "timeline": {
            "types": ["m.room.message", "m.reaction", *_STATE_TYPES, *RULE_EVENT_TYPES],
            "limit": TIMELINE_LIMIT,
            "lazy_load_members": True,
        },
    },
}
"""What the homeserver is asked for: no presence, typing or account data, and only the types of
events that the bot reads."""


class Membership(StrEnum):
    """What the bot is in a room."""

    JOINED = "join"
    INVITED = "invite"
    LEFT = "leave"  # left, kicked, banned, or an invitation declined


@dataclass(frozen=True, slots=True)
class RoomUpdate:
    """What happened in one room. ``limited``: events are missing, so read the state again.

    ``state`` is what changed before ``timeline`` begins; of an invited room it is the stripped
    state, whose events have no ID. Every event has a type, a sender and a content that is an
    object; nothing else about it is sure.
    """

    room_id: str
    kind: Membership
    state: tuple[JsonObject, ...]
    timeline: tuple[JsonObject, ...]
    limited: bool


@dataclass(frozen=True, slots=True)
class SyncBatch:
    """One answer. ``since`` is None at the very first: then the timelines are old events."""

    since: str | None
    next_batch: str
    rooms: tuple[RoomUpdate, ...]


def parse_sync(since: str | None, answer: JsonObject) -> SyncBatch:
    """Turn a raw answer into values, leaving out what does not fit.

    Raises:
        HomeserverAway: it has no position to go on from.
    """
    next_batch = answer.get("next_batch")
    if not isinstance(next_batch, str):
        raise HomeserverAway("answered /sync without next_batch")
    rooms = _object(answer, "rooms")
    updates = []
    for kind in Membership:
        for room_id in (section := _object(rooms, kind)):
            room = _object(section, room_id)
            timeline = _object(room, "timeline")
            state = "invite_state" if kind is Membership.INVITED else "state"
            updates.append(
                RoomUpdate(
                    room_id=room_id,
                    kind=kind,
                    state=tuple(events_of(_object(room, state).get("events"))),
                    timeline=tuple(events_of(timeline.get("events"))),
                    limited=timeline.get("limited") is True,
                )
            )
    return SyncBatch(since, next_batch, tuple(updates))


def _object(value: JsonObject, key: str) -> JsonObject:
    below: Any = value.get(key)
    return below if isinstance(below, dict) else {}


class SyncLoop:
    """Asks for what happened and hands each answer to ``on_batch``, one at a time, for ever.

    ``load`` and ``save`` keep the position. It is saved *before* the batch is handled, so that a
    crash loses a batch rather than running its commands twice. If it cannot be saved the batch is
    handled all the same: a bot that is deaf while the disk is full helps nobody.

    ``outage`` tells why the homeserver does not answer, or is None while it does.
    """

    def __init__(
        self,
        client: MatrixClient,
        user_id: str,
        *,
        load: Callable[[], Awaitable[str | None]],
        save: Callable[[str], Awaitable[None]],
        on_batch: Callable[[SyncBatch], Awaitable[None]],
        poll_ms: int = POLL_MS,
        first_retry_s: float = FIRST_RETRY_S,
        longest_retry_s: float = LONGEST_RETRY_S,
    ) -> None:
        self._client = client
        self._user_id = user_id
        self._load = load
        self._save = save
        self._on_batch = on_batch
        self._poll_ms = poll_ms
        self._first_retry_s = first_retry_s
        self._longest_retry_s = longest_retry_s
        self._filter_id: str | None = None
        self._position: str | None = None
        self.outage: str | None = None
        self._unsaved = False

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            TokenRejected: the access token is no longer valid.
        """
        self._position = await self._load()
        delay = self._first_retry_s
        while True:
            try:
                batch = await self._ask()
            except TokenRejected:
                raise
            except (HomeserverAway, Refused) as error:
                self._note_outage(error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, self._longest_retry_s)
                continue
            delay = self._first_retry_s
            if self.outage is not None:
                logger.info("The homeserver answers again")
                self.outage = None
            await self._hand_on(batch)

    async def _ask(self) -> SyncBatch:
        if self._filter_id is None:
            self._filter_id = await self._client.upload_filter(self._user_id, SYNC_FILTER)
        # After an outage, an answer at once tells that it is over.
        poll_ms = self._poll_ms if self.outage is None else 0
        answer = await self._client.sync(self._position, self._filter_id, poll_ms)
        return parse_sync(self._position, answer)

    def _note_outage(self, error: HomeserverAway | Refused) -> None:
        """Log the first failure of a row, and start anew where filter or position are refused."""
        first = self.outage is None
        if first:
            logger.warning("The homeserver does not answer /sync, trying again: %s", error)
        self.outage = str(error)
        if not isinstance(error, Refused) or self._filter_id is None:
            return
        self._filter_id = None
        # Synapse says M_INVALID_PARAM for a filter and M_UNKNOWN for a position it does not know.
        maybe_filter = first and error.errcode == "M_INVALID_PARAM"
        if error.status == 400 and not maybe_filter and self._position is not None:
            logger.warning("The homeserver does not know the sync position; starting anew")
            self._position = None

    async def _hand_on(self, batch: SyncBatch) -> None:
        self._position = batch.next_batch
        try:
            await self._save(batch.next_batch)
            self._unsaved = False
        except Exception as error:
            # Once: a log that grows with each message would not help a disk that is full.
            if not self._unsaved:
                logger.warning("The sync position cannot be saved (%s), going on", error)
            self._unsaved = True
        try:
            await self._on_batch(batch)
        except Exception:
            logger.exception("A batch of events could not be handled")
