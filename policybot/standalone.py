"""policybot on its own: one process with listener, login and sync loop around the `App`."""

import asyncio
import gc
import logging
import re
import resource
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from .account import Account, StartFailed
from .app import App
from .bot.client import MatrixClient, TokenRejected, open_api
from .bot.sync import SyncLoop
from .config import Config, HomeserverConfig, ListenConfig
from .listening import open_listener
from .login import TOKEN_REJECTED, log_in
from .store.database import DatabaseUnusable, close_database, open_database
from .store.failure import passes
from .store.settings import Settings

DATABASE_RETRY_S = 5.0
OPEN_FILES = 8_192

log = logging.getLogger("policybot")

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def run(config: Config) -> int:
    """Run until SIGTERM or Ctrl-C; the exit code, after one line on stderr if it is not 0."""
    assert config.standalone is not None
    _open_log(config.standalone.logging.level)
    _allow_open_files()
    try:
        run_on_fast_loop(_run(config))
    except (DatabaseUnusable, StartFailed) as error:
        print(f"policybot: {error}", file=sys.stderr)
        return 1
    except TokenRejected:
        print(f"policybot: {TOKEN_REJECTED}", file=sys.stderr)
        return 1
    return 0


class _EntryFormatter(logging.Formatter):
    """Each entry begins a line and no other text does: names from outside, such as of users and
    rooms, may hold line ends and commands to a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return _UNPRINTABLE.sub(_escaped, super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"    {_UNPRINTABLE.sub(_escaped, line)}" for line in lines)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def _open_log(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_EntryFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    # One line for each statement and connection, of no use to an operator; and aiosqlite writes
    # the values as well, with the signing key and the access token among them.
    for name in ("mau", "asyncio", "aiosqlite"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # A traceback for each request that is not proper HTTP: anybody could fill the disk. Faults of
    # our own are logged by the endpoint.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)


def _allow_open_files() -> None:
    """Ask for as many open files as connections need. The usual 1,024 could be used up by
    strangers, and then neither homeserver nor database could be reached."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    if resource.RLIM_INFINITY != allowed < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def run_on_fast_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where it is installed, else on asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


async def _run(config: Config) -> None:
    """Raises:
    DatabaseUnusable, StartFailed, TokenRejected: the bot cannot start or go on.
    """
    assert config.standalone is not None and config.listen is not None
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    homeserver = config.standalone.homeserver
    database = await open_database(config.standalone.database)
    # Without an end of the database the process does not end: its thread goes on.
    try:
        client = MatrixClient(open_api(homeserver.url))
        app = App(config, Account(homeserver.user_id, homeserver.url), client, database)
        try:
            await _load(app)
            # Rules stay: a collector that looked through 10,000 of them again and again would
            # cost a tenth of each answer.
            gc.collect()
            gc.freeze()
            await app.start()
            # Not before: a 404 for a room that is ours would be final.
            async with _listening(app, config.listen):
                await _until_stopped(app, client, homeserver, Settings(database), stop)
        finally:
            await app.stop()
            await client.close()
    finally:
        await close_database(database)


async def _load(app: App) -> None:
    try:
        await app.load()
    except (StartFailed, AttributeError, NameError, ImportError):
        raise  # the last three are faults of ours and not of the data
    except Exception as error:
        log.debug("Reading the database failed.", exc_info=True)
        raise StartFailed(
            f"What is stored in the database cannot be read ({type(error).__name__}: {error}). "
            "Put a backup in its place; nothing was changed."
        ) from error


@asynccontextmanager
async def _listening(app: App, listen: ListenConfig) -> AsyncIterator[None]:
    """Serve the endpoint; at the end no new requests, and those under way are answered.

    Raises:
        StartFailed: the address or the certificate cannot be used.
    """
    listener = await open_listener(app.routes, listen)
    app.listener_faults = listener.faults
    try:
        yield
    finally:
        await listener.stop()


async def _until_stopped(
    app: App,
    client: MatrixClient,
    homeserver: HomeserverConfig,
    settings: Settings,
    stop: asyncio.Event,
) -> None:
    """Follow the homeserver until ``stop`` is set.

    Raises:
        StartFailed, TokenRejected: the account cannot be used.
    """
    tasks = {
        asyncio.create_task(_follow(app, client, homeserver, settings), name="homeserver"),
        asyncio.create_task(app.failed(), name="failed parts"),
        asyncio.create_task(stop.wait(), name="stop signal"),
    }
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        log.info("Stopping.")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _follow(
    app: App, client: MatrixClient, homeserver: HomeserverConfig, settings: Settings
) -> None:
    """Log in, begin the chat side and hand on what happens. The endpoint does not wait for it."""
    position = await log_in_patiently(client, homeserver, settings, app.load_position)

    async def load() -> str | None:
        return position

    app.connect()
    sync = SyncLoop(
        client,
        homeserver.user_id,
        load=load,
        save=app.save_position,
        on_batch=app.on_batch,
    )
    await sync.run()


async def log_in_patiently(
    client: MatrixClient,
    homeserver: HomeserverConfig,
    settings: Settings,
    load_position: Callable[[], Awaitable[str | None]],
) -> str | None:
    """Log in and return the sync position. A database that is away is waited for, since to end
    for that would close the rooms.

    Raises:
        StartFailed: see `log_in`.
    """
    while True:
        try:
            await log_in(client, homeserver, settings)
            return await load_position()
        except Exception as error:
            if not passes(error):
                raise
            log.warning("The database does not answer, trying again: %s", error)
            await asyncio.sleep(DATABASE_RETRY_S)
