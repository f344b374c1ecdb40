"""Logging the bot in: by the configured or kept access token, else by the password, once."""

import asyncio
import logging

from .account import StartFailed
from .bot.client import HomeserverAway, MatrixClient, Refused, TokenRejected
from .config import HomeserverConfig
from .store.settings import Setting, Settings

FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 30.0

TOKEN_REJECTED = (
    "The homeserver does not take the bot's access token (any more). Write a new one, or the "
    "password, into standalone.homeserver and start again."
)

log = logging.getLogger("policybot")


async def log_in(client: MatrixClient, homeserver: HomeserverConfig, settings: Settings) -> None:
    """Log in as `log_in_once` does, and wait for the homeserver for as long as it takes.

    Raises:
        StartFailed: see `log_in_once`.
    """
    delay = FIRST_RETRY_S
    while True:
        try:
            return await log_in_once(client, homeserver, settings)
        except HomeserverAway as error:
            log.warning("The homeserver does not answer, trying again: %s", error)
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_RETRY_S)


async def log_in_once(
    client: MatrixClient, homeserver: HomeserverConfig, settings: Settings
) -> None:
    """Let ``client`` use an access token that is valid. One got by password is kept.

    Raises:
        StartFailed: there is nothing to log in with, it is not valid, or it is for another
            account.
        HomeserverAway: the homeserver did not answer.
    """
    if homeserver.access_token is not None:
        client.use_token(homeserver.access_token)
        if not await _token_is_valid(client, homeserver.user_id):
            raise StartFailed(TOKEN_REJECTED)
        return
    kept = await settings.get(Setting.ACCESS_TOKEN)
    if kept is not None:
        client.use_token(kept)
        if await _token_is_valid(client, homeserver.user_id):
            return
        if homeserver.password is None:
            raise StartFailed(TOKEN_REJECTED)
        log.warning("The kept access token is no longer valid; logging in again.")
    elif homeserver.password is None:
        raise StartFailed(
            "There is neither an access token nor a password to log in with: write one into "
            "standalone.homeserver."
        )
    await _log_in_by_password(client, homeserver.user_id, homeserver.password, settings)


async def _token_is_valid(client: MatrixClient, user_id: str) -> bool:
    """Raises:
    StartFailed: it is another account's, or the account is refused.
    """
    try:
        who = await client.whoami()
    except TokenRejected:
        return False
    except Refused as error:
        raise StartFailed(f"The homeserver refuses the bot's account: {error.message}") from None
    _check_account(who.user_id, user_id)
    return True


async def _log_in_by_password(
    client: MatrixClient, user_id: str, password: str, settings: Settings
) -> None:
    device_id = await settings.get(Setting.DEVICE_ID)
    client.use_token("")
    try:
        login = await client.login(user_id, password, device_id)
    except Refused as error:
        raise StartFailed(
            f"The homeserver refuses the login of {user_id} ({error.message}). Check user_id and "
            "password in standalone.homeserver."
        ) from None
    _check_account(login.user_id, user_id)
    await settings.set(Setting.DEVICE_ID, login.device_id)
    await settings.set(Setting.ACCESS_TOKEN, login.access_token)
    client.use_token(login.access_token)


def _check_account(found: str, configured: str) -> None:
    if found != configured:
        raise StartFailed(
            f"The login is for {found}, but standalone.homeserver.user_id says {configured}. "
            "Make them agree."
        )
