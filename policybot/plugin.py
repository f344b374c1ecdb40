"""The entry for maubot: the wiring of policybot to maubot's client, database, web server and
configuration. The only module that imports maubot."""

import asyncio
import copy
import logging
from collections.abc import Mapping
from typing import Any

from maubot.instance import PluginInstance
from maubot.plugin_base import Plugin
from mautrix.client import InternalEventType
from mautrix.util.async_db import UpgradeTable
from mautrix.util.config import BaseProxyConfig, ConfigUpdateHelper
from ruamel.yaml.error import YAMLError

from .account import Account
from .bot.encrypting_client import EncryptingClient
from .bot.http import HomeserverAway
from .bot.sync import parse_sync
from .endpoint.gate import Gate
from .endpoint.web_app import ANY_PATH, handler_of
from .hosted import Host, WebApp
from .protocol.identifier import server_of
from .protocol.paths import POLICY_PATHS
from .store.database import adjust
from .store.migrations import upgrade_table


class PluginConfig(BaseProxyConfig):
    """Carries the configuration as maubot's editor has it; it is checked elsewhere."""

    def do_update(self, helper: ConfigUpdateHelper) -> None:
        """Keep nothing: only an empty configuration is filled in."""

    def read(self, server_name: str) -> Any:
        """What stands in the editor, as plain values; where nothing does, the commented sample is
        put there, with the server's name.

        Raises:
            YAMLError: it is not YAML.
        """
        self.load()
        if not self._data and self.load_base() is not None:
            self.update(save=False)
            self["policy_server.name"] = server_name
            self.save()
        return plain(self._data)


def plain(value: Any) -> Any:
    """The value without what the YAML library keeps for writing it back."""
    if isinstance(value, Mapping):
        return {key: plain(below) for key, below in value.items()}
    if isinstance(value, list):
        return [plain(below) for below in value]
    return value


class PolicyBot(Plugin):
    """One policybot in maubot."""

    _host: Host
    config: PluginConfig

    @classmethod
    def get_config_class(cls) -> type[BaseProxyConfig]:
        """How maubot carries the configuration."""
        return PluginConfig

    @classmethod
    def get_db_upgrade_table(cls) -> UpgradeTable:
        """The tables, which maubot makes and changes."""
        return upgrade_table

    async def start(self) -> None:
        """Begin. Nothing that the network does makes this fail: maubot would switch the instance
        off, also for the next time."""
        assert self.database is not None and self.webapp is not None
        statements = logging.getLogger("aiosqlite")
        if statements.level == logging.NOTSET:
            # It would write every value into maubot's log, the signing key among them.
            statements.setLevel(logging.INFO)
        await adjust(self.database)
        account = Account(self.client.mxid, str(self.client.api.base_url))
        self._host = Host(
            account,
            EncryptingClient(self.client),
            self.database,
            WebApp(self._proxy_rule(account), self._serve, self.webapp.clear),
        )
        self.client.add_event_handler(
            InternalEventType.SYNC_SUCCESSFUL, self._on_sync, wait_sync=True
        )
        await self._configure()

    async def stop(self) -> None:
        """End everything that was begun."""
        self.client.remove_event_handler(InternalEventType.SYNC_SUCCESSFUL, self._on_sync)
        for_good = self._is_for_good()
        if not for_good:
            # Until it is started again: maubot would say 404, which some take for a yes.
            self._serve(Gate())
        await self._host.stop(for_good=for_good)

    async def on_external_config_update(self) -> None:
        """The configuration was changed in the editor."""
        await self._configure()

    async def _configure(self) -> None:
        try:
            mapping = self.config.read(server_of(self.client.mxid))
        except YAMLError as error:
            self._host.refuse(f"It is not valid YAML: {error}")
        else:
            await self._host.configure(mapping)

    async def _on_sync(self, event: dict[str, Any]) -> None:
        """An answer to /sync, complete and before maubot takes it apart: also the first one, with
        marks where events are missing, which maubot's handlers do not get."""
        answer = event["data"]
        first = answer.get("net.maunium.mautrix", {}).get("is_initial", False)
        try:
            batch = parse_sync(None if first else "", answer)
        except HomeserverAway as error:
            self.log.warning(f"An answer to /sync is not used: {error}")
        else:
            # maubot writes into the events.
            self._host.take(copy.deepcopy(batch))

    def _serve(self, gate: Gate) -> None:
        assert self.webapp is not None
        self.webapp.clear()
        self.webapp.add_route("*", ANY_PATH, handler_of(gate))

    def _proxy_rule(self, account: Account) -> str:
        assert self.webapp_url is not None
        base = self.webapp_url.path.rstrip("/")
        rules = ", ".join(f"{path} to {base}{path}" for path in POLICY_PATHS)
        server = server_of(account.user_id)
        return f"The reverse proxy of {server} sends to maubot's port, changing the path: {rules}"

    def _is_for_good(self) -> bool:
        """Whether somebody stops this very instance. When maubot reloads or ends, it stops all of
        them, each in a task of its own, and starts them again."""
        instance = PluginInstance.cache.get(self.id)
        if instance is not None and not instance.enabled:
            return True
        task = asyncio.current_task()
        work = task.get_coro() if task is not None else None
        return getattr(work, "__qualname__", "") != PluginInstance.stop.__qualname__
