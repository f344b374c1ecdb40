"""The whole bot, built from (client, database, configuration), with one start and one stop.

It knows neither a sync loop nor a listener: whoever runs it gives it what happened and serves its
routes. So the same object runs on its own and inside another process.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from mautrix.util.async_db import Database

from . import __version__
from .account import Account, check_config, configured_key, policy_users
from .bot.chat import Chat, Shared
from .bot.client import MatrixClient, TokenRejected
from .bot.pace import Pace
from .bot.policy_user import Federation
from .bot.reply import Reply
from .bot.status import Condition
from .bot.sync import SyncBatch
from .chat_parts import chat_settings, chat_tables
from .config import Config
from .endpoint.routes import PolicyRoutes
from .endpoint.sign import FailureAnswer, SignUseCase
from .federation.client import HttpClient
from .federation.direct_keys import DirectKeys
from .federation.key_ring import KeyRing
from .federation.notary import Notary
from .federation.reach import Reach
from .federation_member import FederationMember, federation_member
from .own_faults import OwnFaults
from .policy.rule_store import RuleStore
from .protocol.policy_event import PolicyServer
from .room_checks import NotaryKeys, ask_former_name, public_endpoint
from .store.own_names import OwnNames
from .store.server_keys import ServerKeyTable
from .store.settings import Setting, Settings
from .store.transaction import settle
from .store.verdicts import VerdictStore

log = logging.getLogger("policybot")


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class App:
    """The parts of one policybot, connected.

    ``client`` talks to the homeserver, ``database`` is open and has the tables. After `load` the
    endpoint can answer; `start` begins what it needs; `connect` begins the chat side once the
    client is logged in; `stop` ends all of it. ``clock`` gives milliseconds since 1970. ``served``
    is a sentence for `status` on where the endpoint listens, and ``listener_faults`` gives what is
    wrong there.
    """

    def __init__(
        self,
        config: Config,
        account: Account,
        client: MatrixClient,
        database: Database,
        *,
        clock: Callable[[], int] = now_ms,
        pace: Pace | None = None,
        federation: Federation | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._pace = pace or Pace()
        self._federation = federation
        self.served = ""
        self.listener_faults: Callable[[], list[str]] = list
        self._account = account
        self._client = client
        self._settings = Settings(database)
        self._since_ts = clock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] | None = None
        self._shared = Shared(rooms={}, moderation_rooms={}, rules=RuleStore())
        self._chat: Chat | None = None
        self._database = database
        self._verdicts = VerdictStore(
            database, clock=clock, keep_text_ms=config.reports.keep_text_ms
        )
        self._http = HttpClient()
        self._notary = Notary(account.homeserver_url, account.server, self._http)
        self._reach = Reach.guarded(config.federation.allow_networks, clock)
        self._direct = DirectKeys(self._reach)
        self._keys = KeyRing(self._notary, ServerKeyTable(database), clock, self._direct)

    # -- building --------------------------------------------------------------------------------

    async def load(self) -> None:
        """Read everything that answers need from the database.

        Raises:
            StartFailed: as for `check_config`.
        """
        check_config(self._config, self._account)
        server = self._config.policy_server
        name = server.name
        signing_key = configured_key(self._config) or await self._settings.signing_key()
        instance_id = await self._settings.instance_id()
        self._public_key = signing_key.public_key
        ours = PolicyServer(name, self._public_key)
        former = await OwnNames(self._database).former(ours)
        users = policy_users((name, *sorted(former)), self._account)
        user_id = users.get(name)
        member = await federation_member(
            users,
            user_id,
            self._settings,
            server.federation_key,
            self._reach,
            self._clock,
        )
        self._chat = self._chat_side(ours, former, instance_id, member)
        self._verdicts.on_refusal = self._chat.reports.wake
        faults = OwnFaults(self._chat)
        self._verdicts.outage.on_change = faults.database
        await self._chat.load()
        await self._keys.load()
        self._use_case = SignUseCase(
            name=name,
            former=former,
            signing_key=signing_key,
            # Not those of former names, which others may have got meanwhile.
            own_users=frozenset((self._account.user_id, *filter(None, (user_id,)))),
            rooms=self._shared.rooms,
            moderation_rooms=self._shared.moderation_rooms,
            rules=self._shared.rules,
            keys=self._keys,
            verdicts=self._verdicts,
            clock=self._clock,
            contact=server.contact,
            keep_text=self._config.reports.keep_text_ms > 0,
            on_failure=FailureAnswer(server.on_failure.value),
            on_fault=faults.not_judged,
        )
        self.routes = PolicyRoutes(
            self._use_case,
            public_key=ours.public_key,
            instance_id=instance_id,
            federation=None
            if member is None
            else member.routes(self._chat, self._shared, self._keys, server.contact, instance_id),
        )

    def _chat_side(
        self,
        ours: PolicyServer,
        former: frozenset[str],
        instance_id: str,
        member: FederationMember | None,
    ) -> Chat:
        server = self._config.policy_server
        user_id = member.user_id if member is not None else None
        keys = member.keys if member is not None and user_id is not None else None
        networks = self._config.federation.allow_networks
        self._endpoint = public_endpoint(
            server.name, server.public_url, instance_id, keys, self._http, networks, self._clock
        )
        return Chat(
            self._client,
            chat_tables(self._database, self._verdicts),
            chat_settings(self._config, self._account.user_id, ours, former),
            self._shared,
            endpoint=self._endpoint,
            keys=NotaryKeys(self._notary, self._keys, self._direct),
            ask_former_name=partial(ask_former_name, instance_id, self._http),
            federation=self._federation or member,
            policy_user=user_id,
            condition=self._condition,
            clock=self._clock,
            pace=self._pace,
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
            self._config.policy_server.name,
            self._public_key,
        )

    def connect(self) -> None:
        """Begin the chat side; the client is logged in from now on."""
        if self._chat is not None:
            for name, work in self._chat.work().items():
                self._spawn(name, work)

    def _spawn(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.create_task(self._keep_running(name, work), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _keep_running(
        self, name: str, work: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        """Begin a part again when it fails: the endpoint must go on answering, whatever happens
        to the chat side. Only a rejected token ends the process."""
        logged = ""
        while True:
            try:
                await work()
            except TokenRejected:
                raise
            except Exception as error:
                if repr(error) != logged:
                    log.exception("A part (%s) failed; it begins again until it works.", name)
                logged = repr(error)
            await asyncio.sleep(self._pace.restart)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)

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
        if self._chat is not None:
            await self._chat.stop()
        await self._keys.stop()
        await self._verdicts.stop()
        await settle()
        await self._http.close()
        await self._reach.close()
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
        if self._chat is not None:
            await self._chat.take(batch)

    # -- telling ---------------------------------------------------------------------------------

    def tell_problem(self, sentence: str, details: str) -> None:
        """Tell all moderation rooms, once they are found, about something that needs the operator;
        ``details`` may hold texts from outside."""
        notice = Reply.problem(sentence).text(" ").name(details, 500)
        task = asyncio.create_task(self._tell_all(notice), name="tell a problem")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _tell_all(self, notice: Reply) -> None:
        if self._chat is not None:
            await self._chat.care.found.wait()
            self._chat.notices.tell_all(notice)

    async def farewell(self) -> None:
        """Tell the moderation rooms, before `stop`, that nobody is going to answer any more."""
        if self._chat is not None:
            await self._chat.farewell()

    async def _condition(self) -> Condition:
        faults = [*self.listener_faults(), *await self._endpoint.faults()]
        if self._verdicts.failing:
            faults.append(
                f"The database cannot be written; {self._verdicts.waiting_count:,} verdicts wait "
                f"in memory, {self._verdicts.dropped:,} were lost."
            )
        keys = self._keys.status()
        if keys.notary_fault:
            faults.append(f"The homeserver does not deliver keys of others: {keys.notary_fault}.")
        if keys.in_grace:
            faults.append(f"{keys.in_grace:,} servers live on expired keys.")
        counts = self._use_case.counts
        if counts["faults"]:
            faults.append(f"I failed to judge {counts['faults']:,} events; see my log.")
        answered = counts["signed"] + counts["refused"]
        return Condition(self._since_ts, answered, faults, self.served)
