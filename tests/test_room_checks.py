from ipaddress import ip_network
from pathlib import Path

import pytest
from aiohttp import web

from policybot.demo.ports import free_ports
from policybot.federation.client import HttpClient
from policybot.federation.dns_lookup import DnsLookup
from policybot.federation.key_ring import KeyRing
from policybot.federation.notary import Notary
from policybot.federation.own_name_probe import OwnName
from policybot.protocol.paths import SERVER_KEYS
from policybot.protocol.signing import SigningKey
from policybot.room_checks import NotaryKeys, OwnNameEndpoint, ask_former_name

from .federation.authority import Authority
from .federation.fake_notary import NOW, OWN_NAME, Clock, FakeNotary, document
from .federation.key_server import KeyServer, asking
from .federation.own_name import INSTANCE, federation_routes, serving_name
from .federation.rings import Table
from .federation.servers import serving

KEY = SigningKey.generate()


async def test_keys_that_the_servers_themselves_deliver_are_enough(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    fake = FakeNotary(document(OWN_NAME, ("ed25519:own", KEY)))
    server = KeyServer()
    async with (
        HttpClient() as client,
        serving(fake.application()) as port,
        server.serving(authority, "127.0.0.1"),
        asking(authority, DnsLookup()) as (direct, _),
    ):
        name = f"127.0.0.1:{server.port}"
        notary = Notary(f"http://127.0.0.1:{port}", OWN_NAME, client)
        keys = NotaryKeys(notary, KeyRing(notary, Table(), Clock(), direct), direct)
        fake.lie = web.Response(status=502)

        fault = await keys.check_delivery((OWN_NAME, name))
        assert fault is not None and "answered 502" in fault
        server.answers[SERVER_KEYS] = document(name, ("ed25519:a", KEY), until=NOW)
        assert await keys.check_delivery((OWN_NAME, name)) is None

        fake.lie = None
        fake.servers[name] = document(name, ("ed25519:a", KEY))
        asked = len(server.asked)
        assert await keys.check_delivery((OWN_NAME, name)) is None
        assert len(server.asked) == asked


async def test_the_homeservers_own_keys_may_be_where_other_servers_find_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = KeyServer()
    async with (
        HttpClient() as client,
        serving(web.Application()) as client_api,
        server.serving(authority, "127.0.0.1"),
        asking(authority, DnsLookup()) as (direct, _),
    ):
        name = f"127.0.0.1:{server.port}"
        server.answers[SERVER_KEYS] = document(name, ("ed25519:a", KEY))
        notary = Notary(f"http://127.0.0.1:{client_api}", name, client)
        keys = NotaryKeys(notary, KeyRing(notary, Table(), Clock(), direct), direct)
        assert await keys.check_delivery((name,)) is None
        assert server.asked


async def test_a_name_of_our_own_is_asked_as_others_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    loopback = (ip_network("127.0.0.0/8"),)
    (port,) = free_ports(1)
    name = f"127.0.0.1:{port}"
    own = OwnName(name, INSTANCE, None)
    fault = await OwnNameEndpoint(own, loopback, Clock()).probe()
    assert fault is not None and fault.unreachable
    assert fault.text.startswith(f"{name} refuses the connection")
    async with serving_name(authority, federation_routes(name), "127.0.0.1", port=port):
        assert await OwnNameEndpoint(own, loopback, Clock()).probe() is None
        assert await OwnNameEndpoint(own, loopback, Clock()).faults() == []
        (sentence,) = await OwnNameEndpoint(own, (), Clock()).faults()
        assert "is not asked" in sentence
        other = OwnNameEndpoint(OwnName(name, "you", None), loopback, Clock())
        fault = await other.probe()
    assert fault is not None and not fault.unreachable
    assert fault.text.count("another installation of policybot answers here") == 2  # 401, 200


async def test_a_former_name_where_nobody_is() -> None:
    (port,) = free_ports(1)
    async with HttpClient() as client:
        fault = await ask_former_name(INSTANCE, client, f"127.0.0.1:{port}")
    assert fault is not None and fault.unreachable
