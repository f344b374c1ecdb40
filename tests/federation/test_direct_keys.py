import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from policybot.federation.address_guard import AddressGuard
from policybot.federation.client import RequestFailed, RequestTimedOut, ResponseTooLarge
from policybot.federation.direct_keys import DirectKeys, DirectTimes
from policybot.federation.dns_lookup import DnsLookup
from policybot.federation.reach import Reach
from policybot.protocol.paths import SERVER_KEYS
from policybot.protocol.signing import SigningKey

from .authority import Authority
from .dns_server import DnsServer
from .fake_notary import NOW, Clock, document
from .key_server import LOOPBACK, WELL_KNOWN_PATH, KeyServer, asking, hang

NAME, HOST = "a.example", "hs.example"
KEY = SigningKey.generate()
GOOD = document(NAME, ("ed25519:a", KEY))

Ports = dict[tuple[str, int], int]


@pytest.fixture
async def direct_and_ports(
    authority: Authority, dns: DnsLookup
) -> AsyncIterator[tuple[DirectKeys, Ports]]:
    async with asking(authority, dns) as asked:
        yield asked


@pytest.fixture
def direct(direct_and_ports: tuple[DirectKeys, Ports]) -> DirectKeys:
    return direct_and_ports[0]


@pytest.fixture
def ports(direct_and_ports: tuple[DirectKeys, Ports]) -> Ports:
    return direct_and_ports[1]


@pytest.fixture
def server() -> KeyServer:
    server = KeyServer()
    server.answers[SERVER_KEYS] = GOOD
    return server


async def test_the_usual_port_of_a_name(
    direct: DirectKeys,
    ports: Ports,
    server: KeyServer,
    authority: Authority,
    dns_server: DnsServer,
) -> None:
    dns_server.hosts(NAME)
    async with server.serving(authority, NAME):
        ports[NAME, 443] = 1  # nothing listens there
        ports[NAME, 8448] = server.port
        fetched = await direct.fetch(NAME)
    assert fetched.document == GOOD
    assert fetched.keys.verify_keys == {"ed25519:a": KEY.verify_key}
    assert server.asked == [(NAME, NAME, SERVER_KEYS)]


async def test_a_delegated_name_with_its_certificate_and_host_header(
    direct: DirectKeys,
    ports: Ports,
    server: KeyServer,
    authority: Authority,
    dns_server: DnsServer,
) -> None:
    dns_server.hosts(NAME, HOST)
    delegating = KeyServer()
    delegating.answers[WELL_KNOWN_PATH] = {"m.server": f"{HOST}:4443"}
    async with server.serving(authority, HOST), delegating.serving(authority, NAME):
        ports[NAME, 443] = delegating.port
        ports[HOST, 4443] = server.port
        for _ in range(2):
            assert (await direct.fetch(NAME)).document == GOOD
    assert server.asked == [(HOST, f"{HOST}:4443", SERVER_KEYS)] * 2
    assert delegating.asked == [(NAME, NAME, WELL_KNOWN_PATH)]


@pytest.mark.parametrize("service", ["_matrix-fed._tcp", "_matrix._tcp"])
async def test_service_records_lead_to_a_host_that_shows_the_certificate_of_the_name(
    direct: DirectKeys,
    ports: Ports,
    server: KeyServer,
    authority: Authority,
    dns_server: DnsServer,
    service: str,
) -> None:
    dns_server.hosts(HOST, "away.example", "other.example")
    other = KeyServer()
    other.answers[SERVER_KEYS] = document("other.example", ("ed25519:a", KEY))
    async with server.serving(authority, NAME), other.serving(authority, "other.example"):
        dns_server.records[f"{service}.{NAME}", "SRV"] = [
            "1 0 1 away.example.",
            f"2 0 {other.port} other.example.",
            f"3 0 {server.port} {HOST}.",
        ]
        assert (await direct.fetch(NAME)).document == GOOD
    assert server.asked == [(NAME, NAME, SERVER_KEYS)]
    assert other.asked == []


async def test_an_address_in_the_name(
    direct: DirectKeys, server: KeyServer, authority: Authority, dns_server: DnsServer
) -> None:
    async with server.serving(authority, "127.0.0.1"):
        name = f"127.0.0.1:{server.port}"
        server.answers[SERVER_KEYS] = document(name, ("ed25519:a", KEY))
        assert (await direct.fetch(name)).keys.server_name == name
        # There is no name in the handshake: the certificate is for the address.
        assert server.asked == [(None, name, SERVER_KEYS)]
    async with server.serving(authority, "127.0.0.2"):
        with pytest.raises(RequestFailed, match="TLS certificate"):
            await direct.fetch(f"127.0.0.1:{server.port}")
    assert dns_server.questions == []


@pytest.mark.parametrize("names", [(HOST,), (f"x.{NAME}", "example")])
async def test_a_certificate_for_another_name(
    direct: DirectKeys,
    server: KeyServer,
    authority: Authority,
    dns_server: DnsServer,
    names: tuple[str, ...],
) -> None:
    dns_server.hosts(NAME)
    async with server.serving(authority, *names):
        with pytest.raises(RequestFailed, match="TLS certificate"):
            await direct.fetch(f"{NAME}:{server.port}")
    assert server.asked == []


def redirect(location: str) -> object:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": location})

    return answer


async def huge(_: web.Request) -> web.StreamResponse:
    return web.json_response({**GOOD, "junk": "x" * 100_000})


async def status_500(_: web.Request) -> web.StreamResponse:
    return web.json_response(GOOD, status=500)


BAD = {
    "another server": document("b.example", ("ed25519:a", KEY)),
    "not signed": {**GOOD, "signatures": {}},
    "signed by another": document(NAME, ("ed25519:a", KEY)) | {"verify_keys": {}},
    "changed": {**GOOD, "valid_until_ts": NOW + 1},
    "no object": [GOOD],
    "null": None,
    "redirect": redirect("https://b.example/"),
    "huge": huge,
    "a good document with a bad status": status_500,
}


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD.keys())
async def test_answers_that_are_not_good(
    direct: DirectKeys,
    server: KeyServer,
    authority: Authority,
    dns_server: DnsServer,
    answer: object,
) -> None:
    async with server.serving(authority, NAME):
        dns_server.hosts(NAME)
        server.answers[SERVER_KEYS] = answer
        with pytest.raises(RequestFailed) as error:
            await direct.fetch(f"{NAME}:{server.port}")
    assert isinstance(error.value, ResponseTooLarge) == (answer is huge)
    assert len(server.asked) == 1


async def test_a_name_that_none_may_have(direct: DirectKeys) -> None:
    with pytest.raises(RequestFailed, match="wrong form"):
        await direct.fetch("no name")


async def test_all_of_it_has_a_time(
    server: KeyServer, authority: Authority, dns: DnsLookup, dns_server: DnsServer
) -> None:
    dns_server.hosts(NAME)

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.001)

    for answer in (hang, slow):
        server.answers[SERVER_KEYS] = answer
        async with server.serving(authority, NAME):
            dns_server.records[f"_matrix._tcp.{NAME}", "SRV"] = [
                f"{number} 0 {server.port} {NAME}." for number in range(3)
            ]
            async with asking(authority, dns, DirectTimes(place=0.05)) as (direct, ports):
                ports[NAME, 443] = 1
                with pytest.raises(RequestTimedOut, match="0.05 s"):
                    await direct.fetch(NAME)
            async with asking(authority, dns, DirectTimes(all=0.3)) as (direct, ports):
                ports[NAME, 443] = 1
                with pytest.raises(RequestTimedOut, match="0.3 s"):
                    await direct.fetch(NAME)


@pytest.mark.parametrize(
    "name",
    [
        "127.0.0.1:{port}",
        "[::1]:{port}",
        "[::ffff:127.0.0.1]:{port}",
        "2130706433:{port}",
        "localhost:{port}",
        "inside.example:{port}",
        "inside.example",
    ],
)
async def test_nothing_inside_our_own_network_is_asked(
    server: KeyServer, authority: Authority, dns: DnsLookup, dns_server: DnsServer, name: str
) -> None:
    dns_server.hosts("inside.example")
    async with (
        server.serving(authority, "127.0.0.1", "inside.example"),
        asking(authority, dns, guard=AddressGuard()) as (direct, ports),
    ):
        ports["inside.example", 443] = ports["inside.example", 8448] = server.port
        with pytest.raises(RequestFailed, match=r"allow_networks"):
            await direct.fetch(name.format(port=server.port))
        # Nor does a service record lead there.
        dns_server.records["_matrix-fed._tcp.b.example", "SRV"] = [
            f"1 0 {server.port} inside.example.",
            f"2 0 {server.port} 127.0.0.1.",
            f"3 0 {server.port} 2130706433.",
        ]
        with pytest.raises(RequestFailed, match=r"allow_networks"):
            await direct.fetch("b.example")
    assert server.asked == []


async def test_whether_any_server_delivers(
    direct: DirectKeys, server: KeyServer, authority: Authority, dns_server: DnsServer
) -> None:
    dns_server.hosts("b.example")
    async with server.serving(authority, "b.example"):
        name = f"b.example:{server.port}"
        server.answers[SERVER_KEYS] = document(name, ("ed25519:a", KEY))
        assert not await direct.delivers_any([])
        assert not await direct.delivers_any(["nowhere.example:1"])
        assert await direct.delivers_any(["nowhere.example:1", name])


async def test_as_the_application_has_it(
    server: KeyServer, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the system's name servers and authorities, and the networks of the configuration."""
    (tmp_path / "authority.pem").write_text(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    async with server.serving(authority, "127.0.0.1"):
        name = f"127.0.0.1:{server.port}"
        server.answers[SERVER_KEYS] = document(name, ("ed25519:a", KEY))
        for networks, good in (([], False), ([LOOPBACK], True)):
            reach = Reach.guarded(networks, Clock())
            assert await DirectKeys(reach).delivers_any([name]) is good
            await reach.close()
    assert len(server.asked) == 1
