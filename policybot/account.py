"""Who the bot is, and whether its configuration fits that."""

from collections.abc import Iterable
from dataclasses import dataclass

from .config import Config
from .protocol.identifier import server_of
from .protocol.signing import InvalidKey, SigningKey

POLICY_USER = "policy"
"""The local part of the user that joins rooms for a policy server with a name of its own."""


class StartFailed(Exception):
    """The bot cannot start. The text is one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Account:
    """The bot's account: its user ID and the URL of its homeserver."""

    user_id: str
    homeserver_url: str

    @property
    def server(self) -> str:
        """The name of its homeserver."""
        return server_of(self.user_id)


def policy_user(config: Config, account: Account) -> str | None:
    """The user of the policy server's own name that joins the protected rooms; None where the
    name is that of the bot's homeserver, since the bot itself is such a user then."""
    return policy_users((config.policy_server.name,), account).get(config.policy_server.name)


def policy_users(names: Iterable[str], account: Account) -> dict[str, str]:
    """The policy user by each of the policy server's names that it has to itself."""
    return {name: f"@{POLICY_USER}:{name}" for name in names if name != account.server}


def check_config(config: Config, account: Account) -> None:
    """Check what can be told without the database.

    Raises:
        StartFailed: the configured name or key is not usable.
    """
    if policy_user(config, account) is not None and config.listen is None:
        raise StartFailed(
            "listen is null, but policy_server.name is a name of its own: maubot's web server "
            "changes the paths that other servers have signed. Write host and port of a "
            "listener of its own."
        )
    configured_key(config)
    server = config.policy_server
    if server.federation_key is not None and server.federation_key == server.signing_key:
        raise StartFailed(
            "policy_server.federation_key is the same as policy_server.signing_key. Write another "
            "one, as `policybot keygen` prints it, or null."
        )


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
