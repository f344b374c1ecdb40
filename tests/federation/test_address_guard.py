import socket
from ipaddress import ip_network

import pytest
from aiohttp import web

from policybot.federation.address_guard import AddressGuard, AddressRefused, GuardedResolver
from policybot.federation.client import HttpClient, RequestFailed
from policybot.federation.dns_lookup import DnsLookup

from .authority import Authority
from .dns_server import DnsServer
from .servers import serving

PUBLIC = [
    "1.1.1.1",
    "9.255.255.255",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "198.20.0.0",
    "223.255.255.255",
    "2001:200::1",
    "2606:4700::1111",
    "2a01:4f8::1",
    "64:ff9b::101:101",
]
NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.0",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:1.1.1.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b:1::101:101",
    "100::1",
    "2001::1",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:101:101::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
NO_ADDRESS = ["", "a.example", "2130706433", "127.1", "0x7f000001", "0177.0.0.1", "[::1]", "1.1.1"]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_asked(address: str) -> None:
    assert AddressGuard().allows(address)


@pytest.mark.parametrize("address", [*NOT_PUBLIC, *NO_ADDRESS])
def test_others_may_not(address: str) -> None:
    assert not AddressGuard().allows(address)


def test_what_the_operator_allows() -> None:
    networks = ("127.0.0.0/8", "10.1.2.3/32", "fd00::/8", "::ffff:10.0.0.0/104")
    guard = AddressGuard(ip_network(text) for text in networks)
    for address in ("127.0.0.1", "10.1.2.3", "fd00::1", "::ffff:10.0.0.1", "1.1.1.1"):
        assert guard.allows(address)
    for address in ("10.1.2.4", "fc00::1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"):
        assert not guard.allows(address)


@pytest.mark.parametrize("host", ["a.example", "127-0-0-1.example", "0x7f000001", "1.1.1.1"])
def test_names_and_public_literals_pass(host: str) -> None:
    AddressGuard().check_literal(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "2130706433", "127.1", "1.1.1", "\u0661"])
def test_literals_that_are_not_public_do_not(host: str) -> None:
    with pytest.raises(AddressRefused):
        AddressGuard().check_literal(host)


async def test_of_the_addresses_of_a_name_the_allowed_ones_are_left(
    dns: DnsLookup, dns_server: DnsServer
) -> None:
    dns_server.records = {
        ("a.example", "A"): ["10.0.0.1", "1.1.1.1", "127.0.0.1"],
        ("a.example", "AAAA"): ["::1", "2606:4700::1111"],
        ("b.example", "A"): ["10.0.0.1"],
        ("alias.example", "CNAME"): ["b.example."],
    }
    resolver = GuardedResolver(dns, AddressGuard())
    found = [result["host"] for result in await resolver.resolve("a.example", 443)]
    assert found == ["2606:4700::1111", "1.1.1.1"]
    for name in ("b.example", "alias.example"):
        with pytest.raises(AddressRefused):
            await resolver.resolve(name, 443)
    with pytest.raises(socket.gaierror):
        await resolver.resolve("nowhere.example", 443)


@pytest.mark.parametrize(
    "host", ["localhost", "a.example", "127.0.0.1", "[::ffff:127.0.0.1]", "2130706433", "127.1"]
)
async def test_a_guarded_client_reaches_nothing_on_loopback(
    authority: Authority, dns: DnsLookup, dns_server: DnsServer, host: str
) -> None:
    dns_server.hosts("a.example")
    reached = []

    async def inside(request: web.Request) -> web.Response:
        reached.append(request.host)
        return web.json_response({})

    app = web.Application()
    app.router.add_get("/", inside)
    resolver = None if host == "localhost" else dns
    async with (
        serving(app) as port,
        HttpClient(resolver=resolver, guard=AddressGuard()) as guarded,
        HttpClient(resolver=dns, guard=AddressGuard([ip_network("127.0.0.0/8")])) as allowing,
    ):
        with pytest.raises(RequestFailed, match=r"allow_networks"):
            await guarded.get_json(f"http://{host}:{port}/")
        assert reached == []
        for allowed in ("127.0.0.1", "a.example"):
            await allowing.get_json(f"http://{allowed}:{port}/")
    assert len(reached) == 2


async def test_a_name_that_leads_elsewhere_the_second_time_is_looked_at_again(
    authority: Authority, dns: DnsLookup, dns_server: DnsServer
) -> None:
    """The address that was judged is the one that is connected to: there is no second look-up."""
    app = web.Application()
    async with (
        serving(app) as port,
        HttpClient(resolver=dns, guard=AddressGuard([ip_network("127.0.0.0/8")])) as client,
    ):
        dns_server.hosts("a.example")
        assert (await client.get_json(f"http://a.example:{port}/")).status == 404
        assert sorted(dns_server.questions) == [("a.example", "A"), ("a.example", "AAAA")]
        dns_server.hosts("a.example", address="10.0.0.1")
        with pytest.raises(RequestFailed, match="is not asked"):
            await client.get_json(f"http://a.example:{port}/")
    assert len(dns_server.questions) == 4
