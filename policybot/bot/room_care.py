"""Finding the rooms at start, and looking after them as long as the bot runs."""

import asyncio
import contextlib
import logging
from dataclasses import dataclass

from .client import HomeserverAway, MatrixClient, Refused, TokenRejected
from .commands import Commands
from .errors import CommandError
from .former_names import AskFormerName, FormerNames
from .list_editor import ListEditor
from .moderation_rooms import ModerationRooms
from .notices import Notices
from .policy_lists import PolicyLists
from .protected_rooms import ProtectedRooms
from .reply import Reply
from .reports import Reports
from .room_survey import RoomSurvey
from .unfinished import UnfinishedWishes
from .updates import Updates

log = logging.getLogger("policybot.rooms")


@dataclass(frozen=True, slots=True)
class CareTimes:
    """Seconds between tries to find the rooms, and between two checks of what is not settled."""

    find_again: float = 30.0
    maintenance: float = 3600.0


class RoomCare:
    """Looks after all rooms that the bot is in.

    ``found`` is set once the rooms were found; set ``soon`` and the next check begins at once;
    ``checks`` counts the checks that went through.
    """

    def __init__(
        self,
        client: MatrixClient,
        moderation_rooms: ModerationRooms,
        protected_rooms: ProtectedRooms,
        lists: PolicyLists,
        editor: ListEditor,
        survey: RoomSurvey,
        unfinished: UnfinishedWishes,
        updates: Updates,
        commands: Commands,
        reports: Reports,
        notices: Notices,
        ask_former_name: AskFormerName,
        times: CareTimes,
    ) -> None:
        self._client = client
        self._moderation_rooms = moderation_rooms
        self._protected_rooms = protected_rooms
        self._lists = lists
        self._editor = editor
        self._survey = survey
        self._unfinished = unfinished
        self._updates = updates
        self._commands = commands
        self._reports = reports
        self._notices = notices
        self._former_names = FormerNames(
            protected_rooms, moderation_rooms, notices, ask_former_name
        )
        self._times = times
        self._told: set[tuple[str, str]] = set()
        self.found = asyncio.Event()
        self.soon = asyncio.Event()
        self.checks = 0

    async def run(self) -> None:
        """Find the rooms once the homeserver answers, then check hourly what is not settled."""
        while True:
            try:
                await self._find()
                self.found.set()
                break
            except TokenRejected:
                raise
            except (HomeserverAway, Refused) as error:
                log.warning("The rooms could not be read yet, trying again: %s", error)
                await asyncio.sleep(self._times.find_again)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._times.maintenance):
                    await self.soon.wait()
            self.soon.clear()
            try:
                await self._protected_rooms.save_missing()
                await self._lists.save_missing()
                await self._unfinished.settle()
                await self._protected_rooms.drop_ended()
                for list_id in self._lists.list_ids():
                    if self._lists.stale(list_id):
                        self._updates.read_list(list_id)
                await self._former_names.check()
            except TokenRejected:
                raise
            except (HomeserverAway, Refused) as error:
                log.warning("The hourly check of the rooms was broken off: %s", error)
            self.checks += 1

    async def _find(self) -> None:
        await self._moderation_rooms.find()
        joined = set(await self._client.joined_rooms())
        resumed = await self._commands.resume()
        self._updates.ready(joined)
        for moderation_room in self._moderation_rooms.ids():
            await self.entered(moderation_room)
        for list_id in self._lists.list_ids():
            if list_id not in joined:
                await self._lists.on_left(list_id)
            else:
                self._updates.read_list(list_id)
        for room_id in joined:
            if self._is_other(room_id):
                await self._editor.find_own(room_id)
        if self._moderation_rooms.all_found():
            await self._survey.release(self._moderation_rooms.ids())
        # Moderation rooms too: they may be protected, and the database may be new.
        await self._survey.compare(joined, lambda room_id: not self._lists.watched(room_id))
        for answered in resumed:
            await answered.wait()
        await self._unfinished.settle()
        self._survey.tell_faults()
        self._former_names.tell()

    def _is_other(self, room_id: str) -> bool:
        """Whether this is neither a moderation or reports room, nor a list, nor protected."""
        return (
            self._protected_rooms.record(room_id) is None
            and not self._moderation_rooms.is_ours(room_id)
            and not self._lists.watched(room_id)
        )

    async def entered(self, moderation_room: str) -> None:
        """A moderation room was found or entered: follow its configured lists, and report to it
        what it was not told."""
        for text in self._moderation_rooms.settings(moderation_room).lists:
            try:
                list_id = await self._client.join(text)
                if self._lists.subscriptions.find(moderation_room, list_id) is None:
                    await self._lists.watch(moderation_room, list_id)
            except TokenRejected:
                raise
            except (Refused, CommandError) as error:
                why = error.message if isinstance(error, Refused) else error.text
                notice = Reply.problem("The configured list ").code(text)
                notice.text(" cannot be followed: ").name(why, 300)
                if (moderation_room, text) not in self._told:
                    self._told.add((moderation_room, text))
                    self._notices.tell(moderation_room, notice)
        self._reports.wake()
