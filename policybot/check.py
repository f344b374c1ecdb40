"""`policybot check`: whether configuration, database, login and endpoint are as they should be.

It may be run before the first `policybot run`: while nothing listens there, it listens itself for
the moment of the check, so that the reverse proxy's line can be tried.
"""

import stat
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from mautrix.util.async_db import Database
from yarl import URL

from .account import Account, StartFailed, check_config, configured_key, policy_user
from .app import now_ms
from .bot.client import HomeserverAway, MatrixClient, open_api
from .check_rooms import RoomsCheck
from .config import Config, ListenConfig
from .endpoint.certificate import CertificateUnusable
from .endpoint.federation_routes import FederationRoutes
from .federation.client import HttpClient
from .federation.notary import Notary
from .federation.own_keys import OwnKeys, load_own_keys
from .federation.own_name_probe import OwnName, OwnNameProbe
from .federation.probe import RouteResult, check_key_delivery, probe_routes
from .login import log_in_once
from .outside import cure_lines, proxy_lines
from .protocol.policy_event import PolicyServer
from .protocol.signing import InvalidKey, SigningKey
from .stand_in import Nobody, StandIn, answering
from .store.database import DatabaseUnusable, close_database, open_database
from .store.settings import Setting, Settings


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
    account = Account(homeserver.user_id, homeserver.url)
    try:
        check_config(config, account)
    except StartFailed as error:
        yield Finding(str(error), False)
    else:
        yield Finding("The configuration is complete.", True)
    async with HttpClient() as http:
        fault = await check_key_delivery(Notary(homeserver.url, account.server, http))
        if fault is not None and policy_user(config, account) is not None:
            # Another's homeserver, perhaps. Who has a name of his own is reached by others, and
            # mostly can reach them too.
            yield Finding(f"{fault} Policybot asks other servers for their keys itself.", True)
        else:
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
            async for finding in _homeserver(config, account, database):
                yield finding
            async for finding in _endpoint(config, account, database, http):
                yield finding
        finally:
            await close_database(database)


async def _homeserver(
    config: Config, account: Account, database: Database
) -> AsyncIterator[Finding]:
    """Whether the bot can log in, and what it reads in the protected rooms."""
    assert config.standalone is not None
    homeserver = config.standalone.homeserver
    client = MatrixClient(open_api(homeserver.url))
    try:
        await log_in_once(client, homeserver, Settings(database))
        yield Finding(f"The login of {homeserver.user_id} is valid.", True)
        async for finding in _rooms(config, account, client, database):
            yield finding
    except StartFailed as error:
        yield Finding(str(error), False)
    except HomeserverAway as error:
        yield Finding(f"The homeserver at {homeserver.url}: {error}.", False)
    finally:
        await client.close()


async def _rooms(
    config: Config, account: Account, client: MatrixClient, database: Database
) -> AsyncIterator[Finding]:
    key = configured_key(config)
    stored = await Settings(database).get(Setting.SIGNING_KEY)
    if key is None and stored is None:
        return  # it never ran, so there are no rooms
    public_key = (key or SigningKey.from_base64(stored or "")).public_key
    ours = PolicyServer(config.policy_server.name, public_key)
    user_id = policy_user(config, account)
    rooms = RoomsCheck(client, database, account.user_id, ours, user_id)
    faults = await rooms.faults()
    for fault in faults:
        yield Finding(fault, False)
    if rooms.count and not faults:
        joined = f", and {user_id} is in each" if user_id is not None else ""
        many = "protected room names" if rooms.count == 1 else "protected rooms name"
        yield Finding(f"{rooms.count:,} {many} this policy server{joined}.", True)


async def _endpoint(
    config: Config, account: Account, database: Database, http: HttpClient
) -> AsyncIterator[Finding]:
    """Whether this installation answers under its public name, path by path."""
    server, listen = config.policy_server, config.listen
    assert listen is not None
    settings = Settings(database)
    own_id = await settings.instance_id()
    federation = probe = None
    user_id = policy_user(config, account)
    if user_id is not None:
        try:
            keys = await _own_keys(config, settings)
        except InvalidKey as error:
            yield Finding(str(error), False)
            return
        federation = _federation(config, user_id, keys, own_id)
        own_key = keys.signing_key.verify_key
        own = OwnName(server.name, own_id, own_key, server.public_url)
        probe = OwnNameProbe.guarded(own, config.federation.allow_networks, now_ms)
    told: set[object] = set()
    try:
        async with answering(StandIn(own_id, federation), listen) as certificate_faults:
            for fault in certificate_faults:
                yield Finding(fault, False)
            if probe is None:
                async for route in probe_routes(server.name, own_id, http, server.public_url):
                    yield _finding(route, server.name, listen, told)
            else:
                for route in await probe.routes():
                    yield _finding(route, server.name, listen, told)
    except CertificateUnusable as error:
        yield Finding(str(error), False)
    except OSError as error:
        yield Finding(
            f"The endpoint cannot listen on {listen.host}, port {listen.port}: "
            f"{error.strerror or error}. Change `listen`.",
            False,
        )
    finally:
        if probe is not None:
            await probe.close()


async def _own_keys(config: Config, settings: Settings) -> OwnKeys:
    """The federation key, made now if policybot has never run. Raises InvalidKey."""
    configured, now = config.policy_server.federation_key, now_ms()
    stored = await settings.get(Setting.FEDERATION_KEYS)
    keys, text = load_own_keys(config.policy_server.name, stored, configured, now)
    if stored is None:
        # What was asked for now must be what is published later.
        await settings.set(Setting.FEDERATION_KEYS, text)
    return keys


def _federation(config: Config, user_id: str, keys: OwnKeys, own_id: str) -> FederationRoutes:
    nobody = Nobody()
    return FederationRoutes(
        users={config.policy_server.name: user_id},
        user_id=user_id,
        own_keys=keys,
        keys=nobody,
        rooms={},
        invitations=nobody,
        hints=nobody,
        clock=now_ms,
        instance_id=own_id,
        contact=config.policy_server.contact,
    )


def _finding(route: RouteResult, name: str, listen: ListenConfig, told: set[object]) -> Finding:
    if not route.text:
        return Finding(f"The {route.owner} answers at {route.address}.", True)
    if not route.needed:
        return Finding(f"Homeservers do not need it, but: {route.text}", True)
    cure = route.cure or route.prefix
    if not cure or cure in told:
        return Finding(route.text, False)
    told.add(cure)
    if route.cure is not None:
        return Finding(route.text, False, cure_lines(route.cure, name, listen))
    return Finding(route.text, False, proxy_lines(route.prefix, listen.host, listen.port))
