"""What all questions to other servers share. Which places a name has is in test_resolve, that none
of our own network is asked in test_direct_keys and test_membership."""

import asyncio

import pytest

from policybot.federation.address_guard import AddressGuard
from policybot.federation.client import HttpClient, RequestFailed, RequestTimedOut
from policybot.federation.direct_keys import DirectKeys
from policybot.federation.dns_lookup import DnsLookup
from policybot.federation.reach import Reach
from policybot.federation.resolve import Target
from policybot.federation.signed_client import SignedClient
from policybot.federation.well_known import WellKnown
from policybot.protocol.paths import SERVER_KEYS
from policybot.protocol.signing import SigningKey

from .authority import Authority
from .dns_server import DnsServer
from .fake_notary import document
from .key_server import LOOPBACK, WELL_KNOWN_PATH, KeyServer, OtherPorts, reaching

NAME = "a.example"
KEY = SigningKey.generate()


async def test_where_a_server_is_is_asked_once_for_all(
    authority: Authority, dns: DnsLookup, dns_server: DnsServer
) -> None:
    dns_server.hosts(NAME)
    server = KeyServer()
    server.answers[SERVER_KEYS] = document(NAME, ("ed25519:a", KEY))
    async with (
        server.serving(authority, NAME),
        reaching(authority, dns) as (reach, ports),
    ):
        server.answers[WELL_KNOWN_PATH] = {"m.server": f"{NAME}:4443"}
        ports[NAME, 443] = ports[NAME, 4443] = server.port
        await DirectKeys(reach).fetch(NAME)
        client = SignedClient("policy.example", "ed25519:own", SigningKey.generate(), reach)
        assert (await client.get(NAME, "/x")).status == 404
    assert [path for _, _, path in server.asked] == [WELL_KNOWN_PATH, SERVER_KEYS, "/x"]


async def test_a_place_that_takes_no_connection_leaves_time_for_the_next(
    authority: Authority, dns: DnsLookup, dns_server: DnsServer
) -> None:
    async def never_says_hello(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    over = asyncio.Event()
    dns_server.hosts(NAME)
    server = KeyServer()
    server.answers["/x"] = {}
    silent = await asyncio.start_server(never_says_hello, "127.0.0.1", 0)
    client = HttpClient(
        ssl_context=authority.client_context(),
        resolver=OtherPorts(dns),
        guard=AddressGuard([LOOPBACK]),
        connect_s=0.05,
    )
    async with silent, server.serving(authority, NAME), client:
        silent_port = silent.sockets[0].getsockname()[1]
        reach = Reach(client, WellKnown(client), dns)
        record = f"1 0 {silent_port} {NAME}."
        dns_server.records[f"_matrix-fed._tcp.{NAME}", "SRV"] = [record]

        async def ask(target: Target) -> int:
            return (await reach.request(target, "GET", "/x", timeout_s=30)).status

        with pytest.raises(RequestTimedOut, match=f"{silent_port} took no connection within 0.05"):
            await reach.ask(NAME, ask, 30)
        dns_server.records[f"_matrix-fed._tcp.{NAME}", "SRV"] = [
            record,
            f"2 0 {server.port} {NAME}.",
        ]
        assert await reach.ask(NAME, ask, 30) == 200
        over.set()


async def test_finding_the_server_counts_too(authority: Authority) -> None:
    class Nowhere(DnsLookup):
        async def services(self, name: str) -> tuple[tuple[str, int], ...]:
            await asyncio.Event().wait()
            raise AssertionError

    async def ask(_: Target) -> None:
        raise AssertionError

    async with reaching(authority, Nowhere(["127.0.0.1"], 1)) as (reach, _):
        with pytest.raises(RequestFailed, match=r"a.example did not answer within 0.05 s"):
            await reach.ask(NAME, ask, 0.05)
