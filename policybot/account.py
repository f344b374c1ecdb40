"""Who the bot is, and whether its configuration fits that."""

from dataclasses import dataclass

from .config import Config
from .protocol.identifier import server_of
from .protocol.signing import InvalidKey, SigningKey


class StartFailed(Exception):
    """The bot cannot start. The text is one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Account:
    """The bot's account: its user ID and the URL of its homeserver."""

    user_id: str
    homeserver_url: str


def check_config(config: Config, account: Account) -> None:
    """Check what can be told without the database.

    Raises:
        StartFailed: the configured name or key is not usable.
    """
    name, own_server = config.policy_server.name, server_of(account.user_id)
    if name != own_server:
        raise StartFailed(
            f"policy_server.name is {name}, but the bot's homeserver is {own_server}: this "
            "version only works with the homeserver's own name. Write that."
        )
    configured_key(config)


def configured_key(config: Config) -> SigningKey | None:
    """The key in the configuration, if there is one.

    Raises:
        StartFailed: it is not usable.
    """
    configured = config.policy_server.signing_key
    if configured is None:
        return None
    try:
        return SigningKey.from_base64(configured)
    except InvalidKey as error:
        raise StartFailed(f"policy_server.signing_key: {error}") from None
