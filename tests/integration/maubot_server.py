"""A real maubot server with one instance of the plugin, worked as its administrator does."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar

from policybot.demo.bot_process import bot_config
from policybot.demo.cast import Cast
from policybot.demo.child_process import ChildProcess, child_environment
from policybot.demo.network import Network
from policybot.demo.ports import LOOPBACK, free_ports
from policybot.demo.user import Account
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.paths import HEALTH
from scripts.build_plugin import build

PLUGIN = "org.policybot"
INSTANCE = "policybot"
_READY_DEADLINE = 30.0
_REPORTS = {"first_delay": "0s", "interval": "1s"}
_SECRET = "only on loopback"


class MaubotServer:
    """A maubot server in a directory of its own; ``postgres`` is the address of a database for
    everything, None = SQLite."""

    def __init__(self, network: Network, directory: Path, postgres: str | None = None) -> None:
        self.process = ChildProcess("maubot")
        self.directory = directory
        self._network = network
        self._port, self.own_port = free_ports(2)
        self._session: ClientSession | None = None
        plugins = directory / "plugins"
        plugins.mkdir(parents=True)
        (directory / "trash").mkdir()
        config = {
            "database": postgres or f"sqlite:{directory / 'maubot.db'}",
            "plugin_directories": {
                "upload": str(plugins),
                "load": [str(plugins)],
                "trash": str(directory / "trash"),
            },
            "plugin_databases": {
                "sqlite": str(plugins),
                "postgres": "default" if postgres else None,
            },
            "server": {
                "hostname": LOOPBACK,
                "port": self._port,
                "public_url": self.url,
                "unshared_secret": _SECRET,
            },
            "logging": {
                "version": 1,
                "formatters": {
                    "normal": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}
                },
                "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "normal"}},
                "loggers": {"maubot": {"level": "DEBUG"}, "mau": {"level": "WARNING"}},
                "root": {"level": "INFO", "handlers": ["console"]},
            },
        }
        self._file = directory / "config.yaml"
        self._file.write_text(json.dumps(config))

    @property
    def url(self) -> str:
        """Where maubot's own web server listens."""
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def own_url(self) -> str:
        """Where the plugin listens, if it has a listener of its own."""
        return f"http://{LOOPBACK}:{self.own_port}"

    @property
    def plugin_url(self) -> str:
        """Where the plugin answers on maubot's web server, if it has no listener."""
        return f"{self.url}/_matrix/maubot/plugin/{INSTANCE}"

    # -- the process -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Run maubot and log in to its management API."""
        environment = child_environment(
            {"SSL_CERT_FILE": str(self._network.certificates.authority)}
        )
        command = (sys.executable, "-m", "maubot", "-c", str(self._file))
        await self.process.start(command, environment)
        await self.process.wait_for_line(f"Listening on {self.url}", _READY_DEADLINE)
        if self._session is None:
            self._session = ClientSession(
                cookie_jar=DummyCookieJar(),
                timeout=ClientTimeout(total=30),
                trust_env=False,
            )
        answer = await self.manage("POST", "auth/login", {"secret": _SECRET, "user": "root"})
        self._session.headers["Authorization"] = f"Bearer {answer['token']}"

    async def stop(self) -> None:
        """End all instances as maubot does at its end, and then maubot.

        Not by a signal: maubot turns it into an exception wherever it happens to be, which may be
        lost there or break something else.
        """
        for client in await self.manage("GET", "clients"):
            await self.manage("PUT", f"client/{client['id']}", {"started": False})
        await self.process.kill()

    async def close(self) -> None:
        """End maubot for good."""
        try:
            if self.process.pid is not None:
                await self.stop()
        finally:
            await self.process.kill()
            if self._session is not None:
                await self._session.close()

    def log_tail(self, lines: int = 30) -> list[str]:
        """The last lines that maubot logged."""
        return self.process.log_tail(lines)

    # -- its management API ----------------------------------------------------------------------

    async def manage(self, method: str, path: str, body: Any = None) -> Any:
        """A request to the management API; JSON, or the bytes of an archive."""
        assert self._session is not None
        content = {"data": body} if isinstance(body, bytes) else {"json": body}
        url = f"{self.url}/_matrix/maubot/v1/{path}"
        async with self._session.request(method, url, **content) as response:
            answer = await response.text()
            assert response.status < 300, f"{method} {path}: {response.status} {answer}"
            return json.loads(answer) if answer else None

    async def upload(self) -> None:
        """Upload the plugin, or put it in the place of the one that is there."""
        archive = build(self.directory).read_bytes()
        await self.manage("POST", "plugins/upload?allow_override=true", archive)

    async def add_client(
        self, account: Account, *, homeserver: str | None = None, encryption: bool = False
    ) -> None:
        """Make the bot's account known; with ``encryption`` maubot decrypts for it."""
        device = {"device_id": account.device_id} if encryption else {}
        await self.manage(
            "PUT",
            f"client/{account.user_id}",
            {
                "homeserver": homeserver or self._network.hs1.url,
                "access_token": account.access_token,
                "enabled": True,
                "autojoin": False,
                **device,
            },
        )

    async def change(self, **values: Any) -> None:
        """Make or change the instance."""
        await self.manage("PUT", f"instance/{INSTANCE}", values)

    async def instance(self) -> JsonObject:
        """What maubot says about the instance."""
        about: JsonObject = await self.manage("GET", f"instance/{INSTANCE}")
        return about

    async def add_instance(self, account: Account, config: Mapping[str, Any]) -> None:
        """Make the instance with a configuration (YAML takes JSON)."""
        await self.change(
            type=PLUGIN, primary_user=account.user_id, enabled=True, config=json.dumps(config)
        )

    async def health(self, url: str) -> int | None:
        """The status with which the endpoint at this base URL answers, None = nobody does."""
        assert self._session is not None
        try:
            async with self._session.get(url + HEALTH) as response:
                return response.status
        except (ClientError, OSError):
            return None

    async def answers(self, url: str) -> bool:
        """Whether the endpoint at this base URL is healthy."""
        return await self.health(url) == 200

    async def until_healthy(self, url: str) -> None:
        """Return once the endpoint at this base URL is healthy."""
        try:
            async with asyncio.timeout(_READY_DEADLINE):
                while not await self.answers(url):
                    if self.process.pid is None:
                        raise await self.process.ended()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise self.process.not_ready(_READY_DEADLINE) from None


@asynccontextmanager
async def serving(
    network: Network, directory: Path, postgres: str | None = None
) -> AsyncIterator[MaubotServer]:
    """A running server with the plugin; what it logged is shown if the test fails."""
    server = MaubotServer(network, directory, postgres)
    try:
        await server.start()
        await server.upload()
        yield server
    finally:
        try:
            await server.close()
        finally:
            print("--- maubot", *server.log_tail(300), sep="\n")
            for name in (network.hs1.name, network.dedicated_name):
                network.route_policy_to(None, name)


class Instance:
    """The plugin's instance: its configuration, and where its endpoint is. The policy server has
    the name of hs1, until it is renamed."""

    def __init__(self, server: MaubotServer, network: Network, cast: Cast) -> None:
        self.url = server.own_url
        self._server = server
        self._network = network
        self._cast = cast
        self.config: dict[str, Any] = {
            "moderation_rooms": [cast.moderation_room],
            "policy_server": {"name": network.hs1.name},
            "reports": _REPORTS,
            "listen": {"host": LOOPBACK, "port": server.own_port},
        }

    async def begin(self, **client: Any) -> None:
        """Make it, and let the reverse proxy send the policy paths to it."""
        await self._server.add_client(self._cast.bot.account, **client)
        await self._server.add_instance(self._cast.bot.account, self.config)
        await self._server.until_healthy(self.url)
        self._network.route_policy_to(self.url)

    async def rename(self, name: str) -> None:
        """Give the policy server another name, which leads to it, in maubot's editor."""
        self._network.route_policy_to(self.url, name)
        config = bot_config(self._network, self._cast.bot.account, [], name)
        await self.configure(
            policy_server=config["policy_server"], federation=config["federation"]
        )

    async def configure(self, **sections: Any) -> None:
        """Change the configuration in maubot's editor."""
        config = {**self.config, **sections}
        await self._server.change(config=json.dumps(config))
