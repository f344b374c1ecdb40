"""The reverse proxies of docs/deploy.md before a name of its own, between other servers and us."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, TCPConnector

from policybot.demo.child_process import ChildProcess, child_environment
from policybot.demo.ports import LOOPBACK, free_ports
from policybot.endpoint.http_server import HttpServer
from policybot.endpoint.listener import Listener
from policybot.federation.client import HttpClient, Response
from policybot.federation.dns_lookup import DnsLookup
from policybot.federation.own_name_probe import OwnName, OwnNameProbe
from policybot.protocol.paths import SIGN, UNSTABLE_SIGN

from .endpoint.federated import (
    DEVICES,
    PROFILE,
    SEND,
    FederatedScene,
    signed_request,
    state_event,
    transaction,
)
from .endpoint.scene import ALICE, CALLER, INSTANCE, event_of
from .federation.authority import Authority
from .federation.conftest import addresses, authority, client, dns, dns_and_lookup
from .federation.servers import Addresses
from .protocol.events import NAME
from .reverse_proxies import (
    MakeProxy,
    Recording,
    Site,
    caddy,
    nginx,
    ready,
    slow_request,
    traefik,
)

__all__ = ["addresses", "authority", "client", "dns", "dns_and_lookup"]

TITLE = "A name of its own"
BASE = f"https://{NAME}"
ODD_DEVICES = "/_matrix/federation/v1/user/devices/%40a%2Fb%25%3Bc%23%3A" + NAME


@pytest.mark.parametrize("make", [nginx, caddy, traefik])
async def test_a_documented_proxy(
    make: MakeProxy,
    client: HttpClient,
    addresses: Addresses,
    authority: Authority,
    dns: DnsLookup,
    tmp_path: Path,
) -> None:
    scene, asked = FederatedScene(), list[tuple[str, str]]()
    server = HttpServer(Recording(scene.routes, asked))
    policybot = Listener(server.endpoint, LOOPBACK, 0, server)
    await policybot.start()
    (https,) = free_ports(1)
    port = int(policybot.url.rpartition(":")[2])
    site = Site(tmp_path, authority.server_file(NAME), https, 0, port)
    addresses.ports[NAME, 443] = https
    process = ChildProcess(make.__name__)
    await process.start(make(site, TITLE), child_environment({"HOME": str(tmp_path)}))

    async def call(method: str, path: str, content: Any = None) -> Response:
        headers = {
            "Authorization": signed_request(CALLER, method, path, content),
            "X-Forwarded-For": "8.8.8.8",
        }
        return await client.request(method, BASE + path, content, headers=headers)

    try:
        await ready(BASE, client, process)
        # What `policybot check` and `status` ask finds nothing missing.
        own = OwnName(NAME, INSTANCE, scene.own_keys.signing_key.verify_key)
        found = await OwnNameProbe(own, client, dns, lambda: scene.now).routes()
        assert [route.text for route in found] == [""] * 8

        # Signed requests are valid behind it, whatever the caller says of his address.
        event = event_of(ALICE, unsigned={"padding": "x" * 80_000})
        for path in (SIGN, UNSTABLE_SIGN):
            assert list((await call("POST", path, event)).json) == [NAME]
        for path in (DEVICES, PROFILE):
            assert (await call("GET", path)).status == 200
        assert (await call("GET", ODD_DEVICES)).json["errcode"] == "M_NOT_FOUND"
        assert asked[-1] == (ODD_DEVICES, LOOPBACK)

        # A transaction may be large.
        pdus = [state_event("m.room.topic", content={"topic": "x" * 60_000}) for _ in range(50)]
        content = transaction(*pdus)
        header = {"Authorization": signed_request(CALLER, "PUT", SEND, content)}
        connector = TCPConnector(ssl=authority.client_context(), resolver=addresses)
        async with (
            ClientSession(connector=connector) as session,
            session.put(
                BASE + SEND, data=BytesIO(json.dumps(content).encode()), headers=header
            ) as response,
        ):
            assert response.status == 200

        # A request that does not come whole is not handed over.
        async with slow_request(NAME, authority.client_context(), addresses):
            for _ in range(10):
                assert (await client.post_json(BASE + SIGN, {})).status == 401
            assert server.busy_connections == 0
    finally:
        await process.stop()
        await policybot.stop()
