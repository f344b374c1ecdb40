"""The whole bot, built from (client, database, configuration), with one start and one stop.

It knows neither a sync loop nor a listener: whoever runs it gives it what happened and serves its
routes. So the same object runs on its own and inside another process.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from mautrix.util.async_db import Database

from . import __version__
from .bot.client import HomeserverAway, MatrixClient, Refused, TokenRejected
from .bot.commands import Commands
from .bot.list_changes import ListChanges
from .bot.list_commands import ListCommands
from .bot.list_editor import ListEditor
from .bot.moderation_rooms import ModerationRooms, ModerationRoomSettings
from .bot.notices import Notices
from .bot.policy_lists import PolicyLists
from .bot.protected_rooms import ProtectedRooms
from .bot.reply import Reply
from .bot.report_text import Titles
from .bot.reports import Reports, ReportTimes
from .bot.room_commands import Condition, RoomCommands
from .bot.room_protection import EndpointFault, RoomProtection
from .bot.sync import SyncBatch
from .bot.updates import Updates
from .bot.verdict_commands import VerdictCommands
from .config import Config
from .endpoint.routes import PolicyRoutes
from .endpoint.sign import FailureAnswer, SignUseCase
from .federation.client import HttpClient
from .federation.key_ring import KeyRing
from .federation.notary import Notary
from .federation.probe import ProbeOutcome, check_key_delivery, probe_endpoint
from .policy.room import ModerationRoom, ProtectedRoom
from .policy.rule_store import RuleStore
from .protocol.identifier import server_of
from .protocol.policy_event import PolicyServer
from .protocol.signing import InvalidKey, SigningKey
from .store.report_cursor import ReportCursorTable
from .store.rooms import ModerationRoomTable, RoomTable
from .store.rules import RuleTable
from .store.server_keys import ServerKeyTable
from .store.settings import Setting, Settings
from .store.subscriptions import SubscriptionTable
from .store.verdicts import VerdictStore

FAULT_NOTICE_INTERVAL_S = 3600.0
MAINTENANCE_INTERVAL_S = 3600.0
FIND_AGAIN_S = 30.0
PREFETCH_WAIT_S = 10.0
KEY_CHECK_SERVERS = 5

log = logging.getLogger("policybot")


class StartFailed(Exception):
    """The bot cannot start. The text is one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Account:
    """The bot's account: its user ID and the URL of its homeserver."""

    user_id: str
    homeserver_url: str


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class App:
    """The parts of one policybot, connected.

    ``client`` talks to the homeserver, ``database`` is open and has the tables. After `load` the
    endpoint can answer; `start` begins what it needs; `connect` begins the chat side once the
    client is logged in; `stop` ends all of it.
    """

    def __init__(
        self, config: Config, account: Account, client: MatrixClient, database: Database
    ) -> None:
        self._config = config
        self._account = account
        self._client = client
        self._settings = Settings(database)
        self._since_ts = now_ms()
        self._faults_told_at = float("-inf")
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] | None = None
        self._key_is_new = False
        self._rooms: dict[str, ProtectedRoom] = {}
        self._moderation_values: dict[str, ModerationRoom] = {}
        self._rules = RuleStore()
        self._database = database
        self._verdicts = VerdictStore(
            database, clock=now_ms, keep_text_ms=config.reports.keep_text_ms
        )
        name = config.policy_server.name
        self._http = HttpClient()
        self._notary = Notary(account.homeserver_url, name, self._http)
        self._keys = KeyRing(self._notary, ServerKeyTable(database), now_ms)

    # -- building --------------------------------------------------------------------------------

    async def load(self) -> None:
        """Read everything that answers need from the database.

        Raises:
            StartFailed: the configured name or key is not usable.
        """
        name = self._config.policy_server.name
        own_server = server_of(self._account.user_id)
        if name != own_server:
            raise StartFailed(
                f"policy_server.name is {name}, but the bot's homeserver is {own_server}: this "
                "version only works with the homeserver's own name. Write that."
            )
        signing_key = await self._signing_key()
        instance_id = await self._settings.instance_id()
        ours = PolicyServer(name, signing_key.public_key)
        self._connect(ours, instance_id)
        await self._moderation_rooms.load()
        await self._protected_rooms.load()
        await self._lists.load()
        await self._reports.load()
        await self._keys.load()
        server = self._config.policy_server
        self._use_case = SignUseCase(
            name=name,
            signing_key=signing_key,
            bot_user_id=self._account.user_id,
            rooms=self._rooms,
            moderation_rooms=self._moderation_values,
            rules=self._rules,
            keys=self._keys,
            verdicts=self._verdicts,
            clock=now_ms,
            contact=server.contact,
            keep_text=self._config.reports.keep_text_ms > 0,
            on_failure=FailureAnswer(server.on_failure.value),
            on_fault=self._tell_fault,
        )
        self.routes = PolicyRoutes(
            self._use_case, name=name, public_key=ours.public_key, instance_id=instance_id
        )

    async def _signing_key(self) -> SigningKey:
        configured = self._config.policy_server.signing_key
        if configured is not None:
            try:
                return SigningKey.from_base64(configured)
            except InvalidKey as error:
                raise StartFailed(f"policy_server.signing_key: {error}") from None
        stored = await self._settings.get(Setting.SIGNING_KEY)
        self._key_is_new = stored is None
        if stored is None:
            stored = await self._settings.get_or_set(
                Setting.SIGNING_KEY, SigningKey.generate().seed
            )
        return SigningKey.from_base64(stored)

    def _connect(self, ours: PolicyServer, instance_id: str) -> None:
        """Make the parts of the chat side and give each what it needs of the others."""
        client, bot_user_id = self._client, self._account.user_id
        prefix = self._config.command_prefix
        self._notices = Notices(client, lambda: self._moderation_rooms.ids(), prefix)
        self._moderation_rooms = ModerationRooms(
            client,
            ModerationRoomTable(self._database),
            self._rules,
            configured=[
                ModerationRoomSettings(
                    room=room.room,
                    reports=room.reports,
                    lists=room.lists,
                    command_power_level=room.command_power_level,
                )
                for room in self._config.moderation_rooms
            ],
            values=self._moderation_values,
            bot_user_id=bot_user_id,
            on_encrypted=self._tell_encrypted,
        )
        self._protected_rooms = ProtectedRooms(
            client,
            RoomTable(self._database),
            self._notices,
            rooms=self._rooms,
            ours=ours,
            clock=now_ms,
        )
        self._lists = PolicyLists(
            client,
            self._rules,
            RuleTable(self._database),
            SubscriptionTable(self._database),
            self._moderation_rooms,
            self._notices,
            lambda list_id, changes: self._list_changes.note(list_id, changes),
        )
        self._list_changes = ListChanges(
            self._notices,
            lambda list_id: [
                self._moderation_rooms.reports_room(room_id)
                for room_id in self._lists.followers(list_id)
            ],
            self._lists.title,
            self._config.reports.interval_ms / 1000,
        )
        self._editor = ListEditor(
            client, self._lists, self._moderation_rooms, bot_user_id=bot_user_id, clock=now_ms
        )
        titles = Titles(room=self._protected_rooms.name, policy_list=self._lists.title)
        self._reports = Reports(
            client,
            self._verdicts,
            ReportCursorTable(self._database),
            self._moderation_rooms,
            titles,
            ReportTimes(
                self._config.reports.first_delay_ms / 1000, self._config.reports.interval_ms / 1000
            ),
            clock=now_ms,
            prefix=prefix,
        )
        self._verdicts.on_refusal = self._reports.wake
        self._protection = RoomProtection(
            client,
            self._protected_rooms,
            self._moderation_rooms,
            _PublicEndpoint(self._config, instance_id, self._http),
            _MemberKeys(self._notary, self._keys),
            bot_user_id=bot_user_id,
            clock=now_ms,
        )
        room_commands = RoomCommands(
            client,
            self._protection,
            self._protected_rooms,
            self._moderation_rooms,
            self._lists,
            self._verdicts,
            self._condition,
            bot_user_id=bot_user_id,
            clock=now_ms,
        )
        list_commands = ListCommands(
            client,
            self._lists,
            self._editor,
            self._protected_rooms,
            self._moderation_rooms,
            titles,
        )
        verdict_commands = VerdictCommands(self._verdicts, titles)
        self._commands = Commands(
            client,
            self._moderation_rooms,
            self._notices,
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
            clock=now_ms,
        )
        self._updates = Updates(
            client,
            self._moderation_rooms,
            self._protected_rooms,
            self._lists,
            self._commands,
            bot_user_id=bot_user_id,
            on_moderation_room=self._entered,
        )

    # -- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin what the endpoint needs: writing verdicts, fetching keys."""
        self._failed = asyncio.get_running_loop().create_future()
        await self._verdicts.start()
        await self._keys.start()
        log.info(
            "policybot %s signs as %s with key %s.",
            __version__,
            self._protected_rooms.ours.via,
            self._protected_rooms.ours.public_key,
        )

    def connect(self) -> None:
        """Begin the chat side; the client is logged in from now on."""
        self._spawn(self._notices.run(), "notices")
        self._spawn(self._reports.run(), "reports")
        self._spawn(self._list_changes.run(), "list changes")
        self._spawn(self._look_after_rooms(), "rooms")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is None or self._failed is None:
            return
        if not self._failed.done():
            self._failed.set_exception(task.exception() or RuntimeError(task.get_name()))

    async def failed(self) -> None:
        """Wait until a part ends that must not, and raise its error.

        Raises:
            TokenRejected: the access token is no longer valid.
        """
        if self._failed is not None:
            await asyncio.shield(self._failed)

    async def stop(self) -> None:
        """End the background work and write what waits. The routes must no longer be served."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if hasattr(self, "_commands"):
            await self._commands.stop()
            await self._updates.stop()
        await self._keys.stop()
        await self._verdicts.stop()
        await self._http.close()
        if self._failed is not None:
            self._failed.cancel()

    # -- the homeserver --------------------------------------------------------------------------

    async def load_position(self) -> str | None:
        """The sync position, or None at the first start."""
        return await self._settings.get(Setting.SYNC_POSITION)

    async def save_position(self, position: str) -> None:
        """Keep the sync position."""
        await self._settings.set(Setting.SYNC_POSITION, position)

    async def on_batch(self, batch: SyncBatch) -> None:
        """Take in what happened."""
        await self._updates.take(batch)

    async def _look_after_rooms(self) -> None:
        """Find the rooms once the homeserver answers, then check hourly what is not settled."""
        while True:
            try:
                await self._find_rooms()
                break
            except TokenRejected:
                raise
            except (HomeserverAway, Refused) as error:
                log.warning("The rooms could not be read yet, trying again: %s", error)
                await asyncio.sleep(FIND_AGAIN_S)
        while True:
            await asyncio.sleep(MAINTENANCE_INTERVAL_S)
            try:
                await self._protection.settle()
                await self._protected_rooms.drop_ended()
                for list_id in self._lists.list_ids():
                    if self._lists.stale(list_id):
                        await self._lists.read_again(list_id)
            except TokenRejected:
                raise
            except (HomeserverAway, Refused) as error:
                log.warning("The hourly check of the rooms was broken off: %s", error)

    async def _find_rooms(self) -> None:
        await self._moderation_rooms.find()
        joined = set(await self._client.joined_rooms())
        self._updates.ready(joined)
        for moderation_room in self._moderation_rooms.ids():
            await self._entered(moderation_room)
        for list_id in self._lists.list_ids():
            if list_id not in joined:
                await self._lists.on_left(list_id)
            else:
                await self._lists.read_again(list_id)
        others = {
            room_id
            for room_id in joined
            if not self._moderation_rooms.is_ours(room_id) and not self._lists.watched(room_id)
        }
        for room_id in others:
            if self._protected_rooms.record(room_id) is None:
                await self._editor.find_own(room_id)
        await self._protected_rooms.compare(
            room_id for room_id in others if not self._lists.watched(room_id)
        )
        await self._protection.settle()
        if self._key_is_new:
            self._protected_rooms.tell_foreign_keys()

    async def _entered(self, moderation_room: str) -> None:
        """A moderation room was found or entered: follow its configured lists, and report to it
        what it was not told."""
        for text in self._moderation_rooms.settings(moderation_room).lists:
            try:
                list_id = await self._client.join(text)
                if self._lists.find(moderation_room, list_id) is None:
                    await self._lists.watch(moderation_room, list_id)
            except Refused as error:
                notice = Reply.problem("The configured list ").code(text)
                notice.text(" cannot be read: ").name(error.message)
                self._notices.tell(moderation_room, notice)
        self._reports.wake()

    # -- telling ---------------------------------------------------------------------------------

    def _tell_fault(self, room_id: str) -> None:
        """A fault of our own while judging: told at most once an hour."""
        now = time.monotonic()
        if now - self._faults_told_at < FAULT_NOTICE_INTERVAL_S:
            return
        self._faults_told_at = now
        signed = self._config.policy_server.on_failure.value == "sign"
        record = self._protected_rooms.record(room_id)
        notice = Reply.problem("I failed to judge an event in ")
        notice.name(self._protected_rooms.name(room_id)).text(" by a fault of mine, and ")
        notice.text("signed it unchecked" if signed else "refused it")
        notice.text(". The operator finds the details in my log. I say this once an hour at most.")
        self._notices.tell(record.moderation_room if record is not None else "", notice)

    def _tell_encrypted(self, room_id: str) -> None:
        self._updates.tell_encrypted(room_id, self._notices)

    def _condition(self) -> Condition:
        faults = []
        if self._verdicts.failing:
            faults.append(
                f"The database cannot be written; {self._verdicts.waiting_count:,} verdicts wait "
                f"in memory, {self._verdicts.dropped:,} were lost."
            )
        keys = self._keys.status()
        if keys.notary_fault:
            faults.append(f"Keys of other servers do not come: {keys.notary_fault}")
        if keys.in_grace:
            faults.append(f"{keys.in_grace:,} servers live on expired keys.")
        counts = self._use_case.counts
        if counts["faults"]:
            faults.append(f"I failed to judge {counts['faults']:,} events; see my log.")
        return Condition(self._since_ts, counts["signed"] + counts["refused"], faults)


class _PublicEndpoint:
    """Asks for our endpoint as other servers find it."""

    def __init__(self, config: Config, instance_id: str, http: HttpClient) -> None:
        self._server = config.policy_server
        self._instance_id = instance_id
        self._http = http

    async def probe(self) -> EndpointFault | None:
        result = await probe_endpoint(
            self._server.name, self._instance_id, self._http, self._server.public_url
        )
        if result.ok:
            return None
        return EndpointFault(result.text, result.outcome is ProbeOutcome.UNREACHABLE)


class _MemberKeys:
    """The keys of the servers in a room."""

    def __init__(self, notary: Notary, keys: KeyRing) -> None:
        self._notary = notary
        self._keys = keys

    async def check_delivery(self, servers: tuple[str, ...]) -> str | None:
        return await check_key_delivery(self._notary, *servers[:KEY_CHECK_SERVERS])

    async def prefetch(self, servers: tuple[str, ...]) -> None:
        # The ring goes on in the background when the wait is over.
        task = asyncio.ensure_future(self._keys.prefetch(servers))
        try:
            await asyncio.wait({task}, timeout=PREFETCH_WAIT_S)
        finally:
            task.cancel()
