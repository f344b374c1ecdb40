"""The chat side, built from (client, tables, values) and connected.

Each part gets what it needs of the others here, and nowhere else.
"""

import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from policybot.policy.room import ModerationRoom, ProtectedRoom
from policybot.policy.rule_store import RuleStore
from policybot.protocol.policy_event import PolicyServer

from .client import MatrixClient
from .commands import Commands
from .enable_checks import EnableChecks, MemberKeys, PublicEndpoint
from .exemptions import Exemptions, ExemptionTable
from .farewell import say_farewell
from .former_names import AskFormerName
from .handlers import StoredVerdicts, command_handlers
from .hints import Hints
from .invitations import Invitations
from .list_changes import ListChanges
from .list_editor import ListEditor
from .migrate_command import MigrateCommand
from .moderation_rooms import ModerationRooms, ModerationRoomSettings, ModerationRoomTable
from .notices import Notices
from .pace import Pace
from .policy_lists import PolicyLists
from .policy_state import PolicyState
from .policy_user import Federation, PolicyUser
from .protected_rooms import ProtectedRooms
from .rejoin import RejoinCommand
from .report_text import Titles
from .reports import CursorTable, RefusalLog, Reports, ReportTimes
from .room_care import RoomCare
from .room_commands import RoomCommands
from .room_protection import RoomProtection
from .room_release import RoomRelease
from .room_survey import RoomSurvey
from .status import Condition
from .subscriptions import SubscriptionTable
from .sync import SyncBatch
from .unanswered import CommandTable, Unanswered
from .unfinished import UnfinishedWishes
from .unsaved import PatientRooms, PatientRules, RoomTable, RuleTable
from .updates import Updates

log = logging.getLogger("policybot.rooms")


class Verdicts(StoredVerdicts, Protocol):
    """What is needed of the stored verdicts."""

    @property
    def refusals(self) -> RefusalLog: ...


@dataclass(frozen=True, slots=True)
class Tables:
    """What the chat side keeps."""

    moderation_rooms: ModerationRoomTable
    rooms: RoomTable
    rules: RuleTable
    subscriptions: SubscriptionTable
    exemptions: ExemptionTable
    cursors: CursorTable
    commands: CommandTable
    verdicts: Verdicts


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """Who the bot is and how it was configured. ``ours`` is the name and key that protected rooms
    carry, ``former`` are names that some still carry."""

    bot_user_id: str
    prefix: str
    ours: PolicyServer
    former: frozenset[str]
    moderation_rooms: Sequence[ModerationRoomSettings]
    report_times: ReportTimes
    keep_text_ms: int


@dataclass(frozen=True, slots=True)
class Shared:
    """What the chat side writes and the endpoint reads."""

    rooms: dict[str, ProtectedRoom]
    moderation_rooms: dict[str, ModerationRoom]
    rules: RuleStore


class Chat:
    """Commands, protected rooms, policy lists and reports.

    `load` reads what is kept. Then `work` is to be run and `take` to be called with what happened.
    ``policy_user`` is the user of a policy server with a name of its own and ``federation`` joins
    as it; ``invitations`` and ``hints`` are what the endpoint of such a name asks and tells.
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
        ask_former_name: AskFormerName,
        condition: Callable[[], Awaitable[Condition]],
        federation: Federation | None = None,
        policy_user: str | None = None,
        clock: Callable[[], int],
        pace: Pace,
    ) -> None:
        self._client = client
        self._pace = pace
        bot_user_id, prefix = settings.bot_user_id, settings.prefix
        self._prefix = prefix
        self.notices = Notices(client, lambda: self.moderation_rooms.ids(), prefix)
        self.moderation_rooms = ModerationRooms(
            client,
            tables.moderation_rooms,
            shared.rules,
            configured=settings.moderation_rooms,
            values=shared.moderation_rooms,
            bot_user_id=bot_user_id,
            policy_user=policy_user,
            on_encrypted=self._tell_encrypted,
        )
        self.exemptions = Exemptions(tables.exemptions, self.moderation_rooms)
        self.protected_rooms = ProtectedRooms(
            client,
            PatientRooms(tables.rooms),
            self.notices,
            rooms=shared.rooms,
            bot_user_id=bot_user_id,
            ours=settings.ours,
            former=settings.former,
            policy_user=PolicyUser(
                client, federation, policy_user, bot_user_id=bot_user_id, times=pace.joins
            ),
            clock=clock,
        )
        survey = RoomSurvey(self.protected_rooms, self.notices, clock)
        self.lists = PolicyLists(
            client,
            shared.rules,
            PatientRules(tables.rules),
            tables.subscriptions,
            self.moderation_rooms,
            self.notices,
            lambda list_id, changes: self._list_changes.note(list_id, changes),
        )
        self._list_changes = ListChanges(
            self.notices,
            lambda list_id: [
                self.moderation_rooms.reports_room(room_id)
                for room_id in self.lists.subscriptions.followers(list_id)
            ],
            self.lists.title,
            settings.report_times.interval,
        )
        editor = ListEditor(
            client,
            self.lists,
            self.moderation_rooms,
            bot_user_id=bot_user_id,
            policy_user=policy_user,
            clock=clock,
        )
        titles = Titles(room=self.protected_rooms.name, policy_list=self.lists.title)
        self.reports = Reports(
            client,
            tables.verdicts.refusals,
            tables.cursors,
            self.moderation_rooms,
            self.notices,
            titles,
            settings.report_times,
            clock=clock,
            prefix=prefix,
        )
        state = PolicyState(client, self.protected_rooms, pace.read_back)
        checks = EnableChecks(client, endpoint, keys, self.protected_rooms.policy_user.server)
        unfinished = UnfinishedWishes(
            state,
            self.protected_rooms,
            checks,
            self.notices,
            bot_user_id=bot_user_id,
            times=pace.joins,
        )
        self._joins = unfinished.joins
        self.invitations = Invitations(
            self.protected_rooms, self.moderation_rooms, self._joins, bot_user_id=bot_user_id
        )
        protection = RoomProtection(
            state,
            self.protected_rooms,
            self.moderation_rooms,
            checks,
            self._joins,
            bot_user_id=bot_user_id,
            clock=clock,
        )
        self.release = RoomRelease(state, self.protected_rooms, self.moderation_rooms, clock=clock)
        room_commands = RoomCommands(
            client,
            protection,
            self.release,
            self.protected_rooms,
            self.moderation_rooms,
            self.lists,
            bot_user_id=bot_user_id,
        )
        self._unanswered = Unanswered(tables.commands, self.notices, clock=clock)
        self._commands = Commands(
            client,
            self.moderation_rooms,
            self.notices,
            self._unanswered,
            command_handlers(
                client,
                room_commands,
                RejoinCommand(
                    client, self.protected_rooms, checks, self._joins, bot_user_id=bot_user_id
                ),
                MigrateCommand(client, protection, self.protected_rooms, bot_user_id=bot_user_id),
                self.protected_rooms,
                self.moderation_rooms,
                self.lists,
                editor,
                self.exemptions,
                tables.verdicts,
                titles,
                condition,
                keep_text_ms=settings.keep_text_ms,
                clock=clock,
            ),
            bot_user_id=bot_user_id,
            prefix=prefix,
            clock=clock,
            slow_s=pace.slow,
        )
        self._updates = Updates(
            client,
            self.moderation_rooms,
            self.protected_rooms,
            survey,
            self.lists,
            self._commands,
            self.notices,
            self._joins,
            bot_user_id=bot_user_id,
            on_moderation_room=lambda room_id: self.care.entered(room_id),
        )
        self.hints = Hints(self.protected_rooms, self._updates.read_room, pace.hints)
        self.care = RoomCare(
            client,
            self.moderation_rooms,
            self.protected_rooms,
            self.lists,
            editor,
            survey,
            unfinished,
            self._updates,
            self._commands,
            self.reports,
            self.notices,
            ask_former_name,
            pace.care,
        )

    async def load(self) -> None:
        """Read what is kept, before the endpoint opens."""
        await self.exemptions.load()
        await self.moderation_rooms.load()
        await self.protected_rooms.load()
        await self.lists.load()
        await self.reports.load()
        await self._unanswered.load()

    def work(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What is to run for ever in the background, by name, once the client is logged in; it
        can be begun again after an error."""
        return {
            "notices": self.notices.run,
            "reports": self.reports.run,
            "list changes": self._list_changes.run,
            "rooms": self.care.run,
        }

    async def take(self, batch: SyncBatch) -> None:
        """Take in what happened."""
        await self._updates.take(batch)

    async def farewell(self) -> None:
        """Tell the moderation rooms which rooms nobody can talk in from now on."""
        await say_farewell(self._client, self.moderation_rooms, self.protected_rooms, self._prefix)

    async def stop(self) -> None:
        """End commands, joins and readings that are under way."""
        self.hints.stop()
        await self._commands.stop()
        await self._joins.stop()
        await self._updates.stop()

    def _tell_encrypted(self, room_id: str) -> None:
        self._updates.tell_encrypted(room_id)
