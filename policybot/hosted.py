"""policybot inside another process, which has the client, the database and the configuration.

One `App` at a time stands behind a gate. A new configuration means a new App: requests wait until
the old one has written its verdicts, since only one may write.
"""

import asyncio
import copy
import json
import logging
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mautrix.util.async_db import Database

from .account import Account, StartFailed, check_config, policy_user
from .app import App
from .bot.client import HomeserverAway, MatrixClient, Refused, TokenRejected
from .bot.sync import SYNC_FILTER, SyncBatch, parse_sync
from .config import Config, ConfigError, ListenConfig, parse_config
from .endpoint.gate import Gate
from .endpoint.listener import Listener
from .listening import change_certificate, open_listener
from .outside import rule
from .store.settings import Setting, Settings

MOST_WAITING = 1_000
"""So many batches wait while the rooms are not found yet; beyond, the oldest go."""

RETRY_S = 10.0

log = logging.getLogger("policybot")


@dataclass(frozen=True, slots=True)
class WebApp:
    """The web server of the process around us: a sentence saying how the reverse proxy reaches it,
    and how our endpoint is put there and taken away."""

    rule: str
    serve: Callable[[Gate], None]
    withdraw: Callable[[], None]


class DatabaseFailed(StartFailed):
    """The configuration may be right, but the database cannot be read."""


class Host:
    """Runs policybot for one account: `configure` begins and changes it, `take` is to be called
    with what happened, `stop` ends it. ``retry_s`` are the seconds until what could not be read is
    tried again."""

    def __init__(
        self,
        account: Account,
        client: MatrixClient,
        database: Database,
        web_app: WebApp,
        *,
        retry_s: float = RETRY_S,
    ) -> None:
        self._retry_s = retry_s
        self._account = account
        self._client = client
        self._database = database
        self._settings = Settings(database)
        self._web_app = web_app
        self._gate = Gate()
        self._changing = asyncio.Lock()
        self._app: App | None = None
        self._config: Config | None = None
        self._listener: Listener | None = None
        self._batches: deque[SyncBatch] = deque()
        self._arrived = asyncio.Event()
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._again: set[asyncio.Task[None]] = set()
        self._behind = True

    # -- configuration ---------------------------------------------------------------------------

    async def configure(self, mapping: Mapping[str, Any]) -> None:
        """Work by this configuration from now on.

        One that cannot be used changes nothing: what runs goes on, or else what ran before a
        restart runs again, and the log and the moderation rooms are told why.
        """
        async with self._changing:
            try:
                await self._use(parse_config(mapping, standalone=False))
            except (ConfigError, StartFailed) as error:
                log.error("The configuration cannot be used: %s", error)
                if self._app is None:
                    await self._use_kept()
                if self._app is None and isinstance(error, DatabaseFailed):
                    task = asyncio.create_task(self._try_again(mapping), name="try again")
                    self._again.add(task)
                    task.add_done_callback(self._again.discard)
                self._refuse(str(error))
            else:
                await self._keep(mapping)

    def refuse(self, why: str) -> None:
        """The configuration could not even be read."""
        log.error("The configuration cannot be used: %s", why)
        self._refuse(why)

    def _refuse(self, why: str) -> None:
        if self._app is not None:
            self._app.tell_problem(
                "My configuration was changed, and the new one cannot be used; I go on with the "
                "one before:",
                why,
            )

    async def _use_kept(self) -> None:
        """Rooms would be closed by a wrong value otherwise."""
        try:
            kept = await self._settings.get(Setting.CONFIGURATION)
            if kept is not None:
                await self._use(parse_config(json.loads(kept), standalone=False))
                log.warning("The configuration before is used.")
        except Exception as error:
            log.error("The configuration before cannot be used either: %s", error)

    async def _keep(self, mapping: Mapping[str, Any]) -> None:
        try:
            await self._settings.set(Setting.CONFIGURATION, json.dumps(mapping))
        except Exception as error:
            log.warning("The configuration could not be kept for the next start: %s", error)

    async def _try_again(self, mapping: Mapping[str, Any]) -> None:
        """Nobody answers while the database is away, so it is tried until it is back."""
        await asyncio.sleep(self._retry_s)
        if self._app is None:
            await self.configure(mapping)

    async def _use(self, config: Config) -> None:
        """Raises:
        StartFailed: it cannot be used; what ran runs.
        """
        check_config(config, self._account)
        before = self._config
        moved = before is None or _address(before.listen) != _address(config.listen)
        opened = self._listener
        try:
            async with self._gate.closed():
                if moved:
                    opened = await self._open(config.listen)
                elif before is not None and before.listen != config.listen:
                    await self._show_certificate(config.listen)
                await self._end()
                try:
                    await self._begin(config, opened)
                except BaseException:
                    if before is not None:
                        if not moved:
                            with suppress(StartFailed):
                                await self._show_certificate(before.listen)
                        await self._begin(before, self._listener)
                    raise
        except BaseException:
            if opened is not None and opened is not self._listener:
                await opened.stop()
            raise
        if moved:
            await self._close()
            self._listener = opened
            if opened is None:
                self._web_app.serve(self._gate)
        assert self._app is not None
        log.info(self._app.served)

    async def _open(self, listen: ListenConfig | None) -> Listener | None:
        return None if listen is None else await open_listener(self._gate, listen)

    async def _show_certificate(self, listen: ListenConfig | None) -> None:
        if self._listener is not None and listen is not None:
            await change_certificate(self._listener, listen)

    async def _close(self) -> None:
        if self._listener is not None:
            await self._listener.stop()
            self._listener = None
        self._web_app.withdraw()

    # -- life ------------------------------------------------------------------------------------

    async def _begin(self, config: Config, listener: Listener | None) -> None:
        """Raises:
        StartFailed: the configuration or the database cannot be used.
        """
        app = App(config, self._account, self._client, self._database)
        try:
            await app.load()
            await app.start()
        except BaseException as error:
            await app.stop()
            if isinstance(error, StartFailed) or not isinstance(error, Exception):
                raise
            log.debug("Reading the database failed.", exc_info=True)
            raise DatabaseFailed(
                f"What is stored in the database cannot be read ({type(error).__name__}: {error})."
            ) from error
        if listener is None:
            app.served = f"The endpoint is served by maubot. {self._web_app.rule}"
        else:
            app.listener_faults = listener.faults
            name, own = config.policy_server.name, policy_user(config, self._account) is not None
            app.served = f"The endpoint has a listener of its own. {rule(name, own, listener.url)}"
        self._app, self._config = app, config
        self._gate.leads_to = app.routes
        app.connect()
        self._tasks = (
            asyncio.create_task(self._follow(app), name="homeserver"),
            asyncio.create_task(self._watch(app), name="failed parts"),
        )

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = ()
        if self._app is not None:
            app, self._app = self._app, None
            self._gate.leads_to = None
            await app.stop()

    async def stop(self, *, for_good: bool) -> None:
        """End everything; ``for_good``: nobody is about to start it again, so the moderation rooms
        are warned. Who has our endpoint in his web server takes it away himself."""
        for task in tuple(self._again):
            task.cancel()
        await asyncio.gather(*self._again, return_exceptions=True)
        async with self._changing:
            if self._app is not None and for_good:
                await self._app.farewell()
            if self._listener is not None:
                await self._listener.stop()
            async with self._gate.closed():
                await self._end()
            await self._client.close()

    # -- the homeserver --------------------------------------------------------------------------

    def take(self, batch: SyncBatch) -> None:
        """What happened; it is worked on later."""
        if len(self._batches) >= MOST_WAITING:
            self._batches.popleft()
            log.warning("Too much has happened while nothing could be read; the oldest is lost.")
        self._batches.append(batch)
        self._arrived.set()

    async def _follow(self, app: App) -> None:
        if self._behind:
            await self._catch_up(app)
            self._behind = False
        while True:
            self._arrived.clear()
            while self._batches:
                await self._hand_on(app, self._batches.popleft())
            await self._arrived.wait()

    async def _hand_on(self, app: App, batch: SyncBatch) -> None:
        try:
            await app.save_position(batch.next_batch)
        except Exception:
            log.exception("The sync position could not be saved")
        try:
            await app.on_batch(batch)
        except Exception:
            log.exception("A batch of events could not be handled")

    async def _catch_up(self, app: App) -> None:
        """Take in what happened while we did not run and the client went on."""
        try:
            since = await app.load_position()
        except Exception:
            log.exception("The sync position could not be read")
            return
        wanted = copy.deepcopy(SYNC_FILTER)
        if self._client.decrypted is not None:
            wanted["room"]["timeline"]["types"].append("m.room.encrypted")
        while since is not None:
            try:
                filter_id = await self._client.upload_filter(self._account.user_id, wanted)
                answer = await self._client.sync(since, filter_id, 0)
                return await self._hand_on(app, parse_sync(since, answer))
            except HomeserverAway as error:
                log.warning("The homeserver does not answer, trying again: %s", error)
                await asyncio.sleep(self._retry_s)
            except Refused as error:
                log.warning("What happened meanwhile could not be asked for: %s", error)
                return

    async def _watch(self, app: App) -> None:
        try:
            await app.failed()
        except TokenRejected:
            log.error(
                "The homeserver does not take the bot's access token (any more). Write a new one "
                "into the client in maubot, then stop and start this instance. Until then the "
                "endpoint answers, and nothing else works."
            )


def _address(listen: ListenConfig | None) -> tuple[str, int] | None:
    return None if listen is None else (listen.host, listen.port)
