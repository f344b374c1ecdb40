from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from policybot.federation.client import HttpClient
from policybot.federation.dns_lookup import DnsLookup
from policybot.federation.resolve import Target, resolve
from policybot.federation.well_known import WellKnown
from policybot.protocol.server_name import InvalidServerName

from .authority import Authority
from .dns_server import DnsServer
from .servers import Addresses, serving

NAME = "policy.example.org"
GUESS = Target(f"https://{NAME}:8448", NAME, NAME, guessed=True)


@pytest.fixture
async def well_known(client: HttpClient) -> WellKnown:
    return WellKnown(client)


@asynccontextmanager
async def delegating(
    authority: Authority, addresses: Addresses, name: object
) -> AsyncIterator[None]:
    """While it lasts, ``NAME`` says that it is to be asked as ``name``."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"m.server": name})

    app = web.Application()
    app.router.add_get("/.well-known/matrix/server", answer)
    async with serving(app, authority.server_context(NAME)) as port:
        addresses.ports[NAME, 443] = port
        yield


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("a.example:443", Target("https://a.example:443", "a.example:443", "a.example")),
        ("192.0.2.1", Target("https://192.0.2.1:8448", "192.0.2.1", "192.0.2.1")),
        ("192.0.2.1:80", Target("https://192.0.2.1:80", "192.0.2.1:80", "192.0.2.1")),
        ("[2001:db8::1]", Target("https://[2001:db8::1]:8448", "[2001:db8::1]", "2001:db8::1")),
        ("[::1]:9", Target("https://[::1]:9", "[::1]:9", "::1")),
    ],
)
async def test_names_that_need_no_question(
    well_known: WellKnown, dns: DnsLookup, dns_server: DnsServer, name: str, target: Target
) -> None:
    assert await resolve(name, well_known, dns) == (target,)
    assert dns_server.questions == []


async def test_a_name_of_which_nothing_is_known(
    well_known: WellKnown, dns: DnsLookup, dns_server: DnsServer
) -> None:
    assert await resolve(NAME, well_known, dns) == (GUESS,)
    assert sorted(dns_server.questions) == [
        (f"_matrix-fed._tcp.{NAME}", "SRV"),
        (f"_matrix._tcp.{NAME}", "SRV"),
    ]


@pytest.mark.parametrize("name", ["", "a b", "a.example:", "@a:b", "a.example:0", "[::1"])
async def test_what_is_no_server_name(well_known: WellKnown, dns: DnsLookup, name: str) -> None:
    with pytest.raises(InvalidServerName):
        await resolve(name, well_known, dns)


@pytest.mark.parametrize(
    ("delegated", "target"),
    [
        ("hs.example", Target("https://hs.example:8448", "hs.example", "hs.example")),
        ("hs.example:443", Target("https://hs.example:443", "hs.example:443", "hs.example")),
        ("192.0.2.1", Target("https://192.0.2.1:8448", "192.0.2.1", "192.0.2.1")),
        ("[::1]:443", Target("https://[::1]:443", "[::1]:443", "::1")),
        ("hs.example/path", GUESS),
        (7, GUESS),
    ],
)
async def test_a_well_known_document(
    well_known: WellKnown,
    dns: DnsLookup,
    authority: Authority,
    addresses: Addresses,
    delegated: object,
    target: Target,
) -> None:
    async with delegating(authority, addresses, delegated):
        assert await resolve(NAME, well_known, dns) == (target,)


async def test_service_records(
    well_known: WellKnown, dns: DnsLookup, dns_server: DnsServer
) -> None:
    dns_server.records = {
        (f"_matrix-fed._tcp.{NAME}", "SRV"): ["20 0 4443 b.example.", "10 0 443 a.example."],
        (f"_matrix._tcp.{NAME}", "SRV"): ["1 0 8448 old.example."],
    }
    assert await resolve(NAME, well_known, dns) == (
        Target("https://a.example:443", NAME, NAME),
        Target("https://b.example:4443", NAME, NAME),
    )
    del dns_server.records[f"_matrix-fed._tcp.{NAME}", "SRV"]
    assert await resolve(NAME, well_known, dns) == (
        Target("https://old.example:8448", NAME, NAME),
    )


async def test_service_records_of_the_delegated_name_count(
    well_known: WellKnown,
    dns: DnsLookup,
    dns_server: DnsServer,
    authority: Authority,
    addresses: Addresses,
) -> None:
    dns_server.records = {
        (f"_matrix-fed._tcp.{NAME}", "SRV"): ["1 0 1 wrong.example."],
        ("_matrix._tcp.hs.example", "SRV"): ["1 0 4443 right.example."],
    }
    async with delegating(authority, addresses, "hs.example"):
        assert await resolve(NAME, well_known, dns) == (
            Target("https://right.example:4443", "hs.example", "hs.example"),
        )
