"""What came by sync, handed to the part that it concerns.

State events are hints: they make a room or list be read again. Rules and messages are used as they
come. A timeline with a gap means that the room is read in full.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from policybot.policy.room import ROOM_STATE
from policybot.protocol.canonical_json import JsonObject

from .client import HomeserverAway, MatrixClient, Refused
from .commands import Commands
from .joins import Joins
from .moderation_rooms import ModerationRooms
from .notices import Notices
from .policy_lists import PolicyLists
from .policy_user import MEMBER
from .protected_rooms import ProtectedRooms
from .raw_event import Decrypt
from .reply import Reply
from .room_survey import RoomSurvey
from .sync import Membership, RoomUpdate, SyncBatch

RETRY_FIRST_S = 1.0
RETRY_MOST_S = 60.0
UNREADABLE_INTERVAL_S = 3600.0

_ROOM_TYPES = frozenset(event_type for event_type, _ in ROOM_STATE)
_MODERATION_TYPES = frozenset({"m.room.member", "m.room.join_rules", "m.room.encryption"})

log = logging.getLogger("policybot.sync")


class Updates:
    """Routes sync batches. Work that reads from the homeserver runs in tasks of its own, ordered
    by the locks of rooms and lists, so that a slow room does not hold up commands."""

    def __init__(
        self,
        client: MatrixClient,
        moderation_rooms: ModerationRooms,
        protected_rooms: ProtectedRooms,
        survey: RoomSurvey,
        lists: PolicyLists,
        commands: Commands,
        notices: Notices,
        joins: Joins,
        *,
        bot_user_id: str,
        on_moderation_room: Callable[[str], Awaitable[None]],
    ) -> None:
        self._client = client
        self._on_moderation_room = on_moderation_room
        self._moderation_rooms = moderation_rooms
        self._protected_rooms = protected_rooms
        self._survey = survey
        self._lists = lists
        self._commands = commands
        self._notices = notices
        self._joins = joins
        self._bot_user_id = bot_user_id
        self._joined: set[str] = set()
        self._encrypted: set[str] = set()
        self._unread: set[str] = set()
        self._reading: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = asyncio.Event()
        self._decrypting = asyncio.Lock()
        self._unreadable_at: dict[str, float] = {}

    def ready(self, joined: set[str]) -> None:
        """The rooms are known now; until then batches wait, since nothing is known to route by."""
        self._joined = set(joined)
        self._ready.set()

    async def stop(self) -> None:
        """End what is still being read."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def take(self, batch: SyncBatch) -> None:
        """Take in one batch."""
        await self._ready.wait()
        for update in batch.rooms:
            if update.kind is Membership.INVITED:
                self._do(f"enter {update.room_id}", partial(self._invited, update))
            elif update.kind is Membership.LEFT:
                await self._left(update)
            else:
                await self._joined_room(update, batch)

    def read_list(self, list_id: str) -> None:
        """Read a list again, now or as soon as the homeserver answers."""
        self._do(f"read the list {list_id}", lambda: self._lists.read_again(list_id))

    def _do(self, what: str, work: Callable[[], Awaitable[object]]) -> None:
        """Do a piece of work; again and again while the homeserver does not answer, since nothing
        else would tell what was missed."""

        async def run() -> None:
            pause = RETRY_FIRST_S
            while True:
                try:
                    await work()
                    return
                except HomeserverAway as error:
                    log.warning("Could not %s, trying again: %s", what, error)
                except Refused as error:
                    log.warning("Could not %s: %s", what, error)
                    return
                except Exception:
                    log.exception("Could not %s.", what)
                    return
                await asyncio.sleep(pause)
                pause = min(2 * pause, RETRY_MOST_S)

        task = asyncio.create_task(run(), name=what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _joined_room(self, update: RoomUpdate, batch: SyncBatch) -> None:
        room_id = update.room_id
        events = (*update.state, *update.timeline)
        types = {event["type"] for event in events if "state_key" in event}
        new = room_id not in self._joined
        self._joined.add(room_id)
        if room_id in self._moderation_rooms.ids():
            if new or update.limited or types & _MODERATION_TYPES:
                self._do(f"read {room_id}", lambda: self._moderation_rooms.refresh(room_id))
            entered = new or batch.since is None
            await self._commands.take(room_id, update.timeline, entered=entered)
            sealed = [event for event in update.timeline if event["type"] == "m.room.encrypted"]
            if sealed and self._client.decrypted is not None:
                work = partial(self._take_sealed, self._client.decrypted, room_id, sealed, entered)
                self._do(f"decrypt messages of {room_id}", work)
        if self._lists.watched(room_id):
            if new or update.limited:
                self.read_list(room_id)
            else:
                # Not awaited: a list that is being read must not hold up commands. The list's
                # lock keeps the order.
                self._do(
                    f"apply rules of {room_id}", lambda: self._lists.on_events(room_id, events)
                )
        if self._protected_rooms.record(room_id) is not None:
            memberships = self._policy_user_in(events)
            if new or update.limited or types & _ROOM_TYPES or memberships:
                self.read_room(room_id)
            if "invite" in memberships or "join" in memberships:
                self._joins.now(room_id)
        elif not self._lists.watched(room_id) and (new or types & _ROOM_TYPES):
            self._do(f"look at {room_id}", lambda: self._survey.compare_one(room_id))

    async def _take_sealed(
        self, decrypted: Decrypt, room_id: str, sealed: list[JsonObject], entered: bool
    ) -> None:
        async with self._decrypting:  # in the order in which they came
            for event in sealed:
                message = await decrypted(room_id, event)
                if message is not None:
                    await self._commands.take(room_id, (message,), entered=entered)
                elif not entered:
                    self._tell_unreadable(room_id)

    def _tell_unreadable(self, room_id: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._unreadable_at.get(room_id, float("-inf")) < UNREADABLE_INTERVAL_S:
            return
        self._unreadable_at[room_id] = now
        self._notices.tell(
            room_id,
            Reply.problem(
                "I could not decrypt a message here. If it was a command, it was not carried out: "
                "send it again. If that does not help, the operator finds the reason in my log. "
                "I say this once an hour at most."
            ),
        )

    def _policy_user_in(self, events: tuple[JsonObject, ...]) -> list[object]:
        """The memberships of the policy user that events tell of."""
        user_id = self._protected_rooms.policy_user.user_id
        return [
            event["content"].get("membership")
            for event in events
            if event["type"] == MEMBER and event.get("state_key") == user_id is not None
        ]

    def read_room(self, room_id: str) -> None:
        """Read a protected room again; many events at once are one reading. While the room cannot
        be read, no more than one waits for that, however often this is called."""
        self._unread.add(room_id)
        if room_id not in self._reading:
            self._reading.add(room_id)
            self._do(f"read {room_id}", lambda: self._read_room(room_id))

    async def _read_room(self, room_id: str) -> None:
        try:
            while room_id in self._unread:
                self._unread.discard(room_id)
                await self._protected_rooms.refresh(room_id)
        except HomeserverAway:
            self._unread.add(room_id)
            raise  # and so done again
        except BaseException:
            self._reading.discard(room_id)
            raise
        self._reading.discard(room_id)

    async def _left(self, update: RoomUpdate) -> None:
        self._joined.discard(update.room_id)
        by = ""
        for event in (*update.state, *update.timeline):
            if event["type"] == "m.room.member" and event.get("state_key") == self._bot_user_id:
                by = event["sender"]
        if self._lists.watched(update.room_id):
            await self._lists.on_left(update.room_id)
        await self._protected_rooms.on_left(update.room_id, by)

    async def _invited(self, update: RoomUpdate) -> None:
        """Accept invitations into configured and watched rooms from anyone, elsewhere from members
        of moderation rooms only."""
        # The inviting server adds events of its own making to the true one, and before it.
        inviters = {
            event["sender"]
            for event in update.state
            if event["type"] == "m.room.member" and event.get("state_key") == self._bot_user_id
        }
        room_id = update.room_id
        ours = self._moderation_rooms.is_ours(room_id) or self._lists.watched(room_id)
        if not ours:
            # A room that is configured by an alias may have got it just now.
            await self._moderation_rooms.find_missing()
            ours = self._moderation_rooms.is_ours(room_id)
        who = ", ".join(sorted(inviters))
        if ours or (inviters and all(map(self._moderation_rooms.is_member, inviters))):
            log.info("Invited to %s by %s: joining.", room_id, who)
            await self._client.join(room_id)
            if room_id in self._moderation_rooms.ids():
                await self._moderation_rooms.refresh(room_id)
                await self._on_moderation_room(room_id)
        else:
            log.info("Invited to %s by %s, who is in no moderation room: ignored.", room_id, who)

    def tell_encrypted(self, room_id: str) -> None:
        """Tell an encrypted moderation room, once, that the bot cannot read there."""
        if room_id in self._encrypted:
            return
        self._encrypted.add(room_id)
        self._notices.tell(
            room_id,
            Reply.problem(
                "This room is encrypted, and I cannot read encrypted messages, so I take no "
                "commands here. Encryption cannot be switched off: make a new invite-only room "
                "without it, invite me, and put it into my configuration under moderation_rooms."
            ),
        )
