"""`policybot check`: whether configuration, database, login and endpoint are as they should be."""

import sys

from .bot.client import HomeserverAway, MatrixClient, Refused, open_api
from .config import Config
from .federation.client import HttpClient
from .federation.notary import Notary
from .federation.probe import check_key_delivery, probe_endpoint
from .protocol.identifier import server_of
from .store.database import DatabaseUnusable, open_database
from .store.settings import Setting, Settings


async def check(config: Config) -> int:
    """Print one line for each thing looked at, faults on stderr; 1 if there is any fault."""
    assert config.standalone is not None
    homeserver = config.standalone.homeserver
    faults: list[str] = []
    name = config.policy_server.name
    if name != server_of(homeserver.user_id):
        faults.append(
            f"policy_server.name is {name}, but the bot's homeserver is "
            f"{server_of(homeserver.user_id)}: this version only works with that name."
        )
    instance_id = token = None
    try:
        database = await open_database(config.standalone.database)
    except DatabaseUnusable as error:
        faults.append(str(error))
    else:
        try:
            settings = Settings(database)
            instance_id = await settings.get(Setting.INSTANCE_ID)
            token = await settings.get(Setting.ACCESS_TOKEN)
        finally:
            await database.stop()
        print("The database can be used.")
    fault = await _check_account(config, token)
    if fault is None:
        print(f"The homeserver answers {homeserver.user_id}.")
    else:
        faults.append(fault)
    async with HttpClient() as http:
        fault = await check_key_delivery(Notary(homeserver.url, name, http))
        if fault is None:
            print("The homeserver delivers keys.")
        else:
            faults.append(fault)
        result = await probe_endpoint(
            name, instance_id or "", http, config.policy_server.public_url
        )
        if result.ok:
            print(f"The endpoint answers at {result.address}.")
        elif instance_id is None:
            faults.append(
                "The endpoint was never started with this database: run policybot first."
            )
        else:
            faults.append(f"The endpoint does not answer under its public name. {result.text}")
    for fault in faults:
        print(f"policybot: {fault}", file=sys.stderr)
    return 1 if faults else 0


async def _check_account(config: Config, stored_token: str | None) -> str | None:
    """What is wrong with the bot's account, without making a new login if a token is there."""
    assert config.standalone is not None
    homeserver = config.standalone.homeserver
    client = MatrixClient(open_api(homeserver.url))
    try:
        token = homeserver.access_token or stored_token
        if token is None:
            return "There is no access token yet: run policybot once with the password."
        client.use_token(token)
        who = await client.whoami()
        if who.user_id != homeserver.user_id:
            return f"The access token is for {who.user_id}, not for {homeserver.user_id}."
        return None
    except Refused as error:
        return f"The homeserver refuses the access token: {error.message}."
    except HomeserverAway as error:
        return f"The homeserver at {homeserver.url} does not answer: {error}."
    finally:
        await client.close()
