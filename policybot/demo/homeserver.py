"""A real Synapse homeserver on loopback, as a child process with a directory of its own."""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

from ..protocol.canonical_json import JsonObject
from .certificates import Certificates
from .child_process import ChildProcess, ProcessFailed, child_environment
from .ports import LOOPBACK, free_ports
from .requirements import synapse_python
from .synapse_config import SynapseConfig, write_synapse_config
from .user import Account, User

_READY_DEADLINE = 60.0
# Short: a foreign program on our port may take the connection and never answer.
_PROBE_TIMEOUT = ClientTimeout(total=1)
_ATTEMPTS = 3
_PORT_TAKEN = ("CannotListenError", "Address already in use")


class Homeserver:
    """One Synapse.

    With ``name`` it is the homeserver behind a reverse proxy that does TLS; the proxy's public
    name is given. Without, it has a TLS listener of its own and is called ``127.0.0.1:PORT``.
    """

    def __init__(
        self, label: str, directory: Path, certificates: Certificates, name: str | None = None
    ) -> None:
        self.label = label
        self.process = ChildProcess(f"Synapse {label}")
        self._directory = directory
        self._certificates = certificates
        self._given_name = name
        self._config: SynapseConfig | None = None
        self._session: ClientSession | None = None
        self._admin: User | None = None

    @property
    def name(self) -> str:
        """The server name, with its port."""
        return self._running_config.name

    @property
    def url(self) -> str:
        """Where clients reach it, by plain HTTP."""
        return f"http://{LOOPBACK}:{self._running_config.client_port}"

    @property
    def _running_config(self) -> SynapseConfig:
        if self._config is None:
            raise RuntimeError(f"Synapse {self.label} was not started")
        return self._config

    async def start(self) -> None:
        """Run Synapse and return when it serves clients and other homeservers.

        Started again after ``stop`` it keeps name, ports and data.

        Raises:
            ProcessFailed: it ended or was not ready in time.
        """
        if self._session is None:
            self._session = ClientSession(
                connector=TCPConnector(limit=0),
                cookie_jar=DummyCookieJar(),
                timeout=ClientTimeout(total=60, sock_connect=5),
                trust_env=False,
            )
        if self._config is not None:
            await self._run(self._config)
            return
        for attempt in range(1, _ATTEMPTS + 1):
            # Name and database depend on the ports, hence a fresh directory for each attempt.
            config = self._new_config(self._directory / f"attempt{attempt}")
            try:
                await self._run(config)
            except ProcessFailed:
                if attempt == _ATTEMPTS or not self._port_was_taken():
                    raise
            else:
                self._config = config
                return

    async def stop(self) -> None:
        """Stop Synapse and keep its data."""
        await self.process.stop()

    async def close(self) -> None:
        """Stop Synapse for good."""
        try:
            await self.process.stop()
        finally:
            if self._session is not None:
                await self._session.close()
                self._session = None

    async def register(self, localpart: str, *, admin: bool = False) -> User:
        """Make an account by the shared secret and return its user, logged in."""
        secret = self._running_config.registration_secret
        password = secrets.token_urlsafe(9)
        nonce = (await self._call("GET", "/_synapse/admin/v1/register"))["nonce"]
        fields = (nonce, localpart, password, "admin" if admin else "notadmin")
        mac = hmac.new(secret.encode(), "\0".join(fields).encode(), hashlib.sha1).hexdigest()
        answer = await self._call(
            "POST",
            "/_synapse/admin/v1/register",
            {
                "nonce": nonce,
                "username": localpart,
                "password": password,
                "admin": admin,
                "mac": mac,
            },
        )
        account = Account(answer["user_id"], password, answer["access_token"], answer["device_id"])
        assert self._session is not None
        return User(self._session, self.url, account)

    async def stored_event(self, event_id: str) -> JsonObject:
        """An event as this homeserver stores it, with all signatures.

        Raises:
            MatrixRefusal: 404, the homeserver has no such event.
        """
        if self._admin is None:
            self._admin = await self.register(f"admin-{secrets.token_hex(4)}", admin=True)
        answer = await self._admin.request(
            "GET", "fetch_event", event_id, root="/_synapse/admin/v1"
        )
        event: JsonObject = answer["event"]
        return event

    def log_tail(self, lines: int = 30) -> list[str]:
        """The last lines that Synapse logged."""
        return self.process.log_tail(lines)

    def _new_config(self, directory: Path) -> SynapseConfig:
        directory.mkdir(parents=True)
        client_port, tls_port = free_ports(2)
        behind_proxy = self._given_name is not None
        config = SynapseConfig(
            name=self._given_name or f"{LOOPBACK}:{tls_port}",
            directory=directory,
            client_port=client_port,
            tls_port=None if behind_proxy else tls_port,
            certificates=self._certificates,
            registration_secret=secrets.token_hex(16),
            signing_seed=secrets.token_bytes(32),
        )
        write_synapse_config(config)
        return config

    async def _run(self, config: SynapseConfig) -> None:
        command = (synapse_python(), "-m", "synapse.app.homeserver", "-c", str(config.file))
        environment = child_environment({"SSL_CERT_FILE": str(config.certificates.authority)})
        await self.process.start(command, environment)
        try:
            await self._until_ready(config)
        except BaseException:
            await self.process.kill()
            raise

    async def _until_ready(self, config: SynapseConfig) -> None:
        try:
            async with asyncio.timeout(_READY_DEADLINE):
                while not await self._serves(config):
                    if self.process.pid is None:
                        raise await self.process.ended()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise self.process.not_ready(_READY_DEADLINE) from None

    async def _serves(self, config: SynapseConfig) -> bool:
        """Whether this very homeserver answers, and not another program on its port."""
        assert self._session is not None
        url = f"http://{LOOPBACK}:{config.client_port}/_matrix/key/v2/server"
        try:
            async with self._session.get(url, timeout=_PROBE_TIMEOUT) as response:
                keys = await response.json(content_type=None)
        except (ClientError, OSError, ValueError):
            return False
        return isinstance(keys, dict) and keys.get("server_name") == config.name

    def _port_was_taken(self) -> bool:
        return any(sign in line for line in self.process.log for sign in _PORT_TAKEN)

    async def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> JsonObject:
        """A request without authentication; anything but success is a fault of ours."""
        assert self._session is not None
        async with self._session.request(method, self.url + path, json=body) as response:
            response.raise_for_status()
            answer: JsonObject = await response.json()
            return answer
