"""The chat side, built from (client, tables, values) and connected.

Each part gets what it needs of the others here, and nowhere else.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from policybot.policy.room import ModerationRoom, ProtectedRoom
from policybot.policy.rule_store import RuleStore
from policybot.protocol.policy_event import PolicyServer

from .client import HomeserverAway, MatrixClient, Refused, TokenRejected
from .commands import SLOW_S, Commands
from .errors import CommandError
from .list_changes import ListChanges
from .list_commands import ListCommands
from .list_editor import ListEditor
from .moderation_rooms import ModerationRooms, ModerationRoomSettings, ModerationRoomTable
from .notices import Notices
from .policy_lists import PolicyLists, RuleTable, SubscriptionTable
from .protected_rooms import ProtectedRooms, RoomTable
from .reply import Reply
from .report_text import Titles
from .reports import CursorTable, RefusalLog, Reports, ReportTimes
from .room_commands import Condition, RefusalCounts, RoomCommands
from .room_protection import MemberKeys, PublicEndpoint, ReadBack, RoomProtection
from .room_survey import RoomSurvey
from .sync import SyncBatch
from .updates import Updates
from .verdict_commands import VerdictCommands, VerdictLog

log = logging.getLogger("policybot.rooms")


class Verdicts(RefusalLog, RefusalCounts, VerdictLog, Protocol):
    """What is needed of the stored verdicts."""


@dataclass(frozen=True, slots=True)
class Tables:
    """What the chat side keeps."""

    moderation_rooms: ModerationRoomTable
    rooms: RoomTable
    rules: RuleTable
    subscriptions: SubscriptionTable
    cursors: CursorTable
    verdicts: Verdicts


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """Who the bot is and how it was configured. ``ours`` is the name and key that protected rooms
    carry."""

    bot_user_id: str
    prefix: str
    ours: PolicyServer
    moderation_rooms: Sequence[ModerationRoomSettings]
    report_times: ReportTimes


@dataclass(frozen=True, slots=True)
class Shared:
    """What the chat side writes and the endpoint reads."""

    rooms: dict[str, ProtectedRoom]
    moderation_rooms: dict[str, ModerationRoom]
    rules: RuleStore


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: until a command is shown to be seen, between tries to find the rooms, between two
    checks of what is not settled, until a part that failed begins again. ``read_back``: how a
    state event is read back."""

    slow: float = SLOW_S
    find_again: float = 30.0
    maintenance: float = 3600.0
    restart: float = 10.0
    read_back: ReadBack = ReadBack()


class Chat:
    """Commands, protected rooms, policy lists and reports.

    `load` reads what is kept. Then `work` is to be run and `take` to be called with what happened.
    """

    def __init__(
        self,
        client: MatrixClient,
        tables: Tables,
        settings: ChatSettings,
        shared: Shared,
        *,
        endpoint: PublicEndpoint,
        keys: MemberKeys,
        condition: Callable[[], Condition],
        clock: Callable[[], int],
        pace: Pace,
    ) -> None:
        self._client = client
        self._pace = pace
        bot_user_id, prefix = settings.bot_user_id, settings.prefix
        self.notices = Notices(client, lambda: self.moderation_rooms.ids(), prefix)
        self.moderation_rooms = ModerationRooms(
            client,
            tables.moderation_rooms,
            shared.rules,
            configured=settings.moderation_rooms,
            values=shared.moderation_rooms,
            bot_user_id=bot_user_id,
            on_encrypted=self._tell_encrypted,
        )
        self.protected_rooms = ProtectedRooms(
            client,
            tables.rooms,
            self.notices,
            rooms=shared.rooms,
            ours=settings.ours,
            clock=clock,
        )
        self._survey = RoomSurvey(self.protected_rooms, self.notices, clock)
        self.lists = PolicyLists(
            client,
            shared.rules,
            tables.rules,
            tables.subscriptions,
            self.moderation_rooms,
            self.notices,
            lambda list_id, changes: self._list_changes.note(list_id, changes),
        )
        self._list_changes = ListChanges(
            self.notices,
            lambda list_id: [
                self.moderation_rooms.reports_room(room_id)
                for room_id in self.lists.followers(list_id)
            ],
            self.lists.title,
            settings.report_times.interval,
        )
        self._editor = ListEditor(
            client, self.lists, self.moderation_rooms, bot_user_id=bot_user_id, clock=clock
        )
        titles = Titles(room=self.protected_rooms.name, policy_list=self.lists.title)
        self.reports = Reports(
            client,
            tables.verdicts,
            tables.cursors,
            self.moderation_rooms,
            self.notices,
            titles,
            settings.report_times,
            clock=clock,
            prefix=prefix,
        )
        self._protection = RoomProtection(
            client,
            self.protected_rooms,
            self.moderation_rooms,
            endpoint,
            keys,
            bot_user_id=bot_user_id,
            clock=clock,
            read_back=pace.read_back,
        )
        room_commands = RoomCommands(
            client,
            self._protection,
            self.protected_rooms,
            self.moderation_rooms,
            self.lists,
            tables.verdicts,
            condition,
            bot_user_id=bot_user_id,
            clock=clock,
        )
        list_commands = ListCommands(
            client,
            self.lists,
            self._editor,
            self.protected_rooms,
            self.moderation_rooms,
            titles,
        )
        verdict_commands = VerdictCommands(tables.verdicts, titles)
        self._commands = Commands(
            client,
            self.moderation_rooms,
            self.notices,
            {
                "enable": room_commands.enable,
                "disable": room_commands.disable,
                "status": room_commands.status,
                "watch": list_commands.watch,
                "unwatch": list_commands.unwatch,
                "lists": list_commands.lists,
                "ban": list_commands.ban,
                "unban": list_commands.unban,
                "match": list_commands.match,
                "why": verdict_commands.why,
            },
            bot_user_id=bot_user_id,
            prefix=prefix,
            clock=clock,
            slow_s=pace.slow,
        )
        self.rooms_found = asyncio.Event()
        self.checks = 0
        """How often the hourly check was through."""
        self._told: set[tuple[str, str]] = set()
        self._updates = Updates(
            client,
            self.moderation_rooms,
            self.protected_rooms,
            self._survey,
            self.lists,
            self._commands,
            bot_user_id=bot_user_id,
            on_moderation_room=self._entered,
        )

    async def load(self) -> None:
        """Read what is kept, before the endpoint opens."""
        await self.moderation_rooms.load()
        await self.protected_rooms.load()
        await self.lists.load()
        await self.reports.load()

    def work(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What is to run for ever in the background, by name, once the client is logged in; it
        can be begun again after an error."""
        return {
            "notices": self.notices.run,
            "reports": self.reports.run,
            "list changes": self._list_changes.run,
            "rooms": self._look_after_rooms,
        }

    async def take(self, batch: SyncBatch) -> None:
        """Take in what happened."""
        await self._updates.take(batch)

    async def stop(self) -> None:
        """End commands and readings that are under way."""
        await self._commands.stop()
        await self._updates.stop()

    def _tell_encrypted(self, room_id: str) -> None:
        self._updates.tell_encrypted(room_id, self.notices)

    # -- the rooms -------------------------------------------------------------------------------

    async def _look_after_rooms(self) -> None:
        """Find the rooms once the homeserver answers, then check hourly what is not settled."""
        while True:
            try:
                await self._find_rooms()
                self.rooms_found.set()
                break
            except TokenRejected:
                raise
            except (HomeserverAway, Refused) as error:
                log.warning("The rooms could not be read yet, trying again: %s", error)
                await asyncio.sleep(self._pace.find_again)
        while True:
            await asyncio.sleep(self._pace.maintenance)
            try:
                await self._protection.settle()
                await self.protected_rooms.drop_ended()
                for list_id in self.lists.list_ids():
                    if self.lists.stale(list_id):
                        self._updates.read_list(list_id)
            except TokenRejected:
                raise
            except (HomeserverAway, Refused) as error:
                log.warning("The hourly check of the rooms was broken off: %s", error)
            self.checks += 1

    async def _find_rooms(self) -> None:
        await self.moderation_rooms.find()
        joined = set(await self._client.joined_rooms())
        self._updates.ready(joined)
        for moderation_room in self.moderation_rooms.ids():
            await self._entered(moderation_room)
        for list_id in self.lists.list_ids():
            if list_id not in joined:
                await self.lists.on_left(list_id)
            else:
                self._updates.read_list(list_id)
        for room_id in joined:
            if self._is_other(room_id):
                await self._editor.find_own(room_id)
        if self.moderation_rooms.all_found():
            await self._survey.release(self.moderation_rooms.ids())
        await self._survey.compare(joined, self._is_other)
        await self._protection.settle()
        self._survey.tell_faults()

    def _is_other(self, room_id: str) -> bool:
        """Whether this is neither a moderation or reports room, nor a list, nor protected."""
        return (
            self.protected_rooms.record(room_id) is None
            and not self.moderation_rooms.is_ours(room_id)
            and not self.lists.watched(room_id)
        )

    async def _entered(self, moderation_room: str) -> None:
        """A moderation room was found or entered: follow its configured lists, and report to it
        what it was not told."""
        for text in self.moderation_rooms.settings(moderation_room).lists:
            try:
                list_id = await self._client.join(text)
                if self.lists.find(moderation_room, list_id) is None:
                    await self.lists.watch(moderation_room, list_id)
            except TokenRejected:
                raise
            except (Refused, CommandError) as error:
                why = error.message if isinstance(error, Refused) else error.text
                notice = Reply.problem("The configured list ").code(text)
                notice.text(" cannot be followed: ").name(why, 300)
                if (moderation_room, text) not in self._told:
                    self._told.add((moderation_room, text))
                    self.notices.tell(moderation_room, notice)
        self.reports.wake()
