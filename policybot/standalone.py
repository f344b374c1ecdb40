"""policybot on its own: one process with listener, login and sync loop around the `App`."""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from .app import Account, App, StartFailed
from .bot.client import HomeserverAway, MatrixClient, Refused, TokenRejected, open_api
from .bot.sync import SyncLoop
from .config import Config, StandaloneConfig
from .endpoint.listener import Listener, application
from .store.database import DatabaseUnusable, open_database
from .store.settings import Setting, Settings

LOGIN_FIRST_RETRY_S = 1.0
LOGIN_LONGEST_RETRY_S = 30.0

log = logging.getLogger("policybot")


def run(config: Config) -> int:
    """Run until SIGTERM or Ctrl-C; the exit code."""
    assert config.standalone is not None
    logging.basicConfig(
        level=config.standalone.logging.level,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # One line for each statement and connection, of no use to an operator.
    logging.getLogger("mau").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    return run_on_fast_loop(_run(config, config.standalone))


def run_on_fast_loop(work: Coroutine[Any, Any, int]) -> int:
    """Run on uvloop where it is installed, else on asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


async def _run(config: Config, standalone: StandaloneConfig) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    try:
        database = await open_database(standalone.database)
    except DatabaseUnusable as error:
        return _refuse(str(error))
    # Without an end of the database the process does not end: its thread goes on.
    try:
        return await _run_app(config, standalone, App, database, stop)
    except StartFailed as error:
        return _refuse(str(error))
    except TokenRejected:
        return _refuse(
            "The homeserver no longer takes the bot's access token. Write a new one, or the "
            "password, into standalone.homeserver and start again."
        )
    finally:
        await database.stop()


async def _run_app(
    config: Config,
    standalone: StandaloneConfig,
    app_class: type[App],
    database: Any,
    stop: asyncio.Event,
) -> int:
    homeserver = standalone.homeserver
    client = MatrixClient(open_api(homeserver.url))
    app = app_class(config, Account(homeserver.user_id, homeserver.url), client, database)
    listener: Listener | None = None
    try:
        try:
            await app.load()
        except StartFailed:
            raise
        except Exception as error:
            log.debug("Reading the database failed.", exc_info=True)
            raise StartFailed(
                f"What is stored in the database cannot be read ({type(error).__name__}: {error}). "
                "Put a backup in its place; nothing was changed."
            ) from error
        await app.start()
        assert config.listen is not None
        listener = Listener(application(app.routes), config.listen.host, config.listen.port)
        try:
            await listener.start()
        except OSError as error:
            listener = None
            raise StartFailed(
                f"The endpoint cannot listen on {config.listen.host}, port {config.listen.port}: "
                f"{error.strerror or error}. Change `listen` or end what listens there."
            ) from error
        await _until_stopped(app, client, standalone, Settings(database), stop)
        return 0
    finally:
        # First no new requests, those under way are answered; then what they wait for.
        if listener is not None:
            await listener.stop()
        await app.stop()
        await client.close()


async def _until_stopped(
    app: App,
    client: MatrixClient,
    standalone: StandaloneConfig,
    settings: Settings,
    stop: asyncio.Event,
) -> None:
    """Raises:
    StartFailed, TokenRejected: the account cannot be used.
    """

    async def chat() -> None:
        await log_in(client, standalone, settings)
        app.connect()
        sync = SyncLoop(
            client,
            standalone.homeserver.user_id,
            load=app.load_position,
            save=app.save_position,
            on_batch=app.on_batch,
        )
        await sync.run()

    tasks = [
        asyncio.create_task(chat(), name="chat"),
        asyncio.create_task(app.failed(), name="failed parts"),
        asyncio.create_task(stop.wait(), name="stop signal"),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        log.info("Stopping.")
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(BaseException):
            await asyncio.gather(*tasks, return_exceptions=True)


async def log_in(client: MatrixClient, standalone: StandaloneConfig, settings: Settings) -> None:
    """Use the configured or kept access token, or log in with the password and keep what it gives.

    Waits for the homeserver for as long as it takes.

    Raises:
        StartFailed: there is nothing to log in with, or it is for another account.
        TokenRejected: the token is not valid, and there is no password to get another.
    """
    delay = LOGIN_FIRST_RETRY_S
    while True:
        try:
            return await _log_in_once(client, standalone, settings)
        except HomeserverAway as error:
            log.warning("The homeserver does not answer, trying again: %s", error)
            await asyncio.sleep(delay)
            delay = min(2 * delay, LOGIN_LONGEST_RETRY_S)


async def _log_in_once(
    client: MatrixClient, standalone: StandaloneConfig, settings: Settings
) -> None:
    homeserver = standalone.homeserver
    token = homeserver.access_token or await settings.get(Setting.ACCESS_TOKEN)
    if token is not None:
        client.use_token(token)
        try:
            who = await client.whoami()
        except TokenRejected:
            if homeserver.access_token is not None or homeserver.password is None:
                raise
            log.warning("The kept access token is no longer valid; logging in again.")
        except Refused as error:
            raise StartFailed(
                f"The homeserver refuses the bot's account: {error.message}"
            ) from None
        else:
            _check_account(who.user_id, homeserver.user_id)
            return
    if homeserver.password is None:
        raise StartFailed(
            "There is neither an access token nor a password to log in with: write one into "
            "standalone.homeserver."
        )
    device_id = await settings.get(Setting.DEVICE_ID)
    client.use_token("")
    try:
        login = await client.login(homeserver.user_id, homeserver.password, device_id)
    except Refused as error:
        raise StartFailed(
            f"The homeserver refuses the login of {homeserver.user_id} ({error.message}). Check "
            "user_id and password in standalone.homeserver."
        ) from None
    _check_account(login.user_id, homeserver.user_id)
    await settings.set(Setting.DEVICE_ID, login.device_id)
    await settings.set(Setting.ACCESS_TOKEN, login.access_token)
    client.use_token(login.access_token)


def _check_account(found: str, configured: str) -> None:
    if found != configured:
        raise StartFailed(
            f"The login is for {found}, but standalone.homeserver.user_id says {configured}. "
            "Make them agree."
        )


def _refuse(sentence: str) -> int:
    print(f"policybot: {sentence}", file=sys.stderr)
    return 1
