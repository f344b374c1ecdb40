"""`policybot check`: whether configuration, database, login and endpoint are as they should be.

It may be run before the first `policybot run`: while nothing listens there, it listens itself for
the moment of the check, so that the reverse proxy's line can be tried.
"""

import errno
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from mautrix.util.async_db import Database
from yarl import URL

from .account import Account, StartFailed, check_config
from .bot.client import HomeserverAway, MatrixClient, open_api
from .config import Config, HomeserverConfig, ListenConfig
from .endpoint.document import INSTANCE_HEADER
from .endpoint.errors import BadJson, MatrixError, Unauthorized, UnrecognizedPath
from .endpoint.exchange import MAX_BODY_BYTES, Headers, Request, Response
from .endpoint.listener import Listener, url_of
from .endpoint.paths import SIGN, UNSTABLE_SIGN, UNSTABLE_WELL_KNOWN, WELL_KNOWN
from .federation.client import HttpClient
from .federation.notary import Notary
from .federation.probe import RouteResult, check_key_delivery, probe_routes
from .login import log_in_once
from .protocol.canonical_json import canonical_json
from .store.database import DatabaseUnusable, close_database, open_database
from .store.settings import Settings


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at, as a sentence, and what to write where if it is not good."""

    text: str
    good: bool
    cure: tuple[str, ...] = ()


async def check(config: Config, file: Path) -> int:
    """Print one line for each thing looked at, faults on stderr; 1 if there is any fault.

    ``file`` is where the configuration was read from.
    """
    code = 0
    async for finding in findings(config, file):
        if finding.good:
            print(finding.text, flush=True)
        else:
            lines = [f"policybot: {finding.text}", *(f"    {line}" for line in finding.cure)]
            print("\n".join(lines), file=sys.stderr, flush=True)
            code = 1
    return code


async def findings(config: Config, file: Path) -> AsyncIterator[Finding]:
    """Look at one thing after another. What needs a thing that failed is left out."""
    assert config.standalone is not None
    homeserver = config.standalone.homeserver
    name = config.policy_server.name
    try:
        check_config(config, Account(homeserver.user_id, homeserver.url))
    except StartFailed as error:
        yield Finding(str(error), False)
    else:
        yield Finding("The configuration is complete.", True)
    async with HttpClient() as http:
        fault = await check_key_delivery(Notary(homeserver.url, name, http))
        yield Finding(fault or "The homeserver delivers keys.", fault is None)
        try:
            database = await open_database(config.standalone.database)
        except DatabaseUnusable as error:
            yield Finding(str(error), False)
            return
        for secret in (file, Path(URL(config.standalone.database).path)):
            if secret.is_file() and secret.stat().st_mode & stat.S_IROTH:
                text = f"{secret} may be read by every user of this machine: chmod o-r {secret}"
                yield Finding(f"Careful: {text}", True)
        try:
            yield Finding("The database can be used.", True)
            yield await _login(homeserver, database)
            async for finding in _endpoint(config, database, http):
                yield finding
        finally:
            await close_database(database)


async def _login(homeserver: HomeserverConfig, database: Database) -> Finding:
    client = MatrixClient(open_api(homeserver.url))
    try:
        await log_in_once(client, homeserver, Settings(database))
    except StartFailed as error:
        return Finding(str(error), False)
    except HomeserverAway as error:
        return Finding(f"The homeserver at {homeserver.url}: {error}.", False)
    finally:
        await client.close()
    return Finding(f"The login of {homeserver.user_id} is valid.", True)


async def _endpoint(
    config: Config, database: Database, http: HttpClient
) -> AsyncIterator[Finding]:
    """Whether this installation answers under its public name, path by path."""
    server, listen = config.policy_server, config.listen
    assert listen is not None
    own_id = await Settings(database).instance_id()
    told: set[str] = set()
    try:
        async with _answering(listen, own_id):
            async for route in probe_routes(server.name, own_id, http, server.public_url):
                yield _finding(route, listen, told)
    except OSError as error:
        yield Finding(
            f"The endpoint cannot listen on {listen.host}, port {listen.port}: "
            f"{error.strerror or error}. Change `listen`.",
            False,
        )


def _finding(route: RouteResult, listen: ListenConfig, told: set[str]) -> Finding:
    if not route.text:
        return Finding(f"The {route.owner} answers at {route.address}.", True)
    if not route.needed:
        return Finding(f"Homeservers do not need it, but: {route.text}", True)
    if not route.prefix or route.prefix in told:
        return Finding(route.text, False)
    told.add(route.prefix)
    return Finding(route.text, False, proxy_lines(route.prefix, listen.host, listen.port))


def proxy_lines(prefix: str, host: str, port: int) -> tuple[str, ...]:
    """What sends the paths that begin with ``prefix`` to us, as docs/deploy.md has it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    url = url_of(host, port)
    pattern = f"{prefix}*" if prefix.endswith("/") else prefix
    return (
        f"nginx:   location ^~ {prefix} {{ proxy_pass {url}; }}",
        f"Caddy:   reverse_proxy {pattern} {url.removeprefix('http://')}",
        f"Traefik: PathPrefix(`{prefix}`) in the rule of the router to {url}",
        "Where they stand: docs/deploy.md",
    )


class _StandIn:
    """Answers the probes as the endpoint would."""

    def __init__(self, own_id: str) -> None:
        self._headers = Headers((("Content-Type", "application/json"), (INSTANCE_HEADER, own_id)))

    async def answer(self, request: Request) -> Response:
        path = request.target
        if path in (WELL_KNOWN, UNSTABLE_WELL_KNOWN):
            return Response(HTTPStatus.OK, self._headers, b"{}")
        if path not in (SIGN, UNSTABLE_SIGN):
            return self.refuse(UnrecognizedPath("This is only a check."))
        error = BadJson if request.authorization else Unauthorized
        return self.refuse(error("This is only a check."))

    def body_limit(self, target: str) -> int:
        return MAX_BODY_BYTES

    def refuse(self, error: MatrixError) -> Response:
        return Response(error.status, self._headers, canonical_json(error.to_json()))


@asynccontextmanager
async def _answering(listen: ListenConfig, own_id: str) -> AsyncIterator[None]:
    """Answer the probes in place of policybot, unless something listens there already.

    Raises:
        OSError: the address cannot be used.
    """

    listener = Listener(_StandIn(own_id), listen.host, listen.port)
    try:
        await listener.start()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        yield  # most likely by policybot itself; if not, the probe tells
        return
    try:
        yield
    finally:
        await listener.stop()
