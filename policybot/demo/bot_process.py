"""The real bot as a process of its own: ``policybot run`` with a configuration file."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

from .child_process import ChildProcess, child_environment
from .network import Network
from .ports import LOOPBACK
from .user import Account

_COMMAND = (sys.executable, "-m", "policybot")
_LISTENING = "Listening on "
_READY_DEADLINE = 30.0
_LOOPBACK_NETWORKS = ("127.0.0.0/8", "::1/128")


def bot_config(
    network: Network,
    account: Account,
    moderation_rooms: Sequence[str | Mapping[str, Any]],
    name: str | None = None,
) -> dict[str, Any]:
    """A configuration for a bot on hs1; a plain mapping, to be changed.

    ``name`` is the policy server's, None = that of hs1. The database is left out: ``BotProcess``
    puts it beside the configuration file.
    """
    return {
        "moderation_rooms": list(moderation_rooms),
        "policy_server": {"name": name or network.hs1.name},
        "listen": {"host": LOOPBACK, "port": 0},
        # With a name of its own policybot talks to the homeservers, which are on loopback here.
        "federation": {"allow_networks": [] if name is None else list(_LOOPBACK_NETWORKS)},
        "standalone": {
            "homeserver": {
                "url": network.hs1.url,
                "user_id": account.user_id,
                "password": account.password,
            },
            "logging": {"level": "INFO"},
        },
    }


class BotProcess:
    """policybot behind a reverse proxy, with a database that outlives restarts."""

    def __init__(self, network: Network, directory: Path, config: Mapping[str, Any]) -> None:
        self.process = ChildProcess("policybot")
        self.url: str | None = None
        self._network = network
        self._names: set[str] = set()
        self._file = directory / "config.yaml"
        directory.mkdir(parents=True, exist_ok=True)
        self.configure(config)

    def configure(self, config: Mapping[str, Any]) -> None:
        """Write the configuration for the next start. A name that it had before goes on leading
        to it."""
        self._names.add(config["policy_server"]["name"])
        database = f"sqlite://{self._file.parent / 'policybot.db'}"
        standalone = {"database": database, **config["standalone"]}
        self._file.write_text(json.dumps({**config, "standalone": standalone}, indent=2))

    async def start(self) -> None:
        """Run it, return when it is healthy and the proxies send to it what is for its names.

        Raises:
            ProcessFailed: it ended or was not ready in time.
        """
        environment = child_environment(
            {"SSL_CERT_FILE": str(self._network.certificates.authority)}
        )
        await self.process.start((*_COMMAND, "run", "-c", str(self._file)), environment)
        try:
            line = await self.process.wait_for_line(_LISTENING, _READY_DEADLINE)
            self.url = line[line.index(_LISTENING) + len("Listening on ") :].split()[0]
            await self._until_healthy(self.url)
        except BaseException:
            await self.process.kill()
            raise
        for name in self._names:
            self._network.route_policy_to(self.url, name)

    async def stop(self) -> int | None:
        """End it in order (SIGTERM) and return its exit code.

        The proxy goes on sending requests to where it was, as it would in real life.
        """
        return await self.process.stop()

    async def kill(self) -> None:
        """End it without any warning (SIGKILL)."""
        await self.process.kill()

    async def restart(self) -> None:
        """Stop it and run it again with the same configuration and database."""
        await self.stop()
        await self.start()

    def log_tail(self, lines: int = 30) -> list[str]:
        """The last lines that the bot logged."""
        return self.process.log_tail(lines)

    async def _until_healthy(self, url: str) -> None:
        async with ClientSession(
            connector=TCPConnector(ssl=self._network.certificates.client_context()),
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=5),
            trust_env=False,
        ) as session:
            try:
                async with asyncio.timeout(_READY_DEADLINE):
                    while not await _answers_ok(session, f"{url}/_policybot/health"):
                        if self.process.pid is None:
                            raise await self.process.ended()
                        await asyncio.sleep(0.05)
            except TimeoutError:
                raise self.process.not_ready(_READY_DEADLINE) from None


async def _answers_ok(session: ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.status == 200
    except (ClientError, OSError):
        return False
