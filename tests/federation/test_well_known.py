from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate

import pytest
from aiohttp import web

from policybot.federation import well_known
from policybot.federation.address_guard import AddressGuard
from policybot.federation.client import HttpClient
from policybot.federation.well_known import WellKnown

from .authority import Authority
from .fake_notary import HOUR, NOW, Clock
from .servers import Addresses, serving

NAME = "policy.example.org"
SECOND, MINUTE = 1_000, 60_000
FOUND = web.Response(text='{"m.server":"hs.example:443"}')


@asynccontextmanager
async def answering(
    authority: Authority, addresses: Addresses, **answers: web.Response
) -> AsyncIterator[list[str]]:
    """Answers by the last part of the path; gives the hosts and paths that were asked."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.host + request.raw_path)
        given = answers.get(request.path.rsplit("/", 1)[-1])
        if given is None:
            return web.Response(status=404)
        return web.Response(status=given.status, body=given.body, headers=given.headers)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with serving(app, authority.server_context(NAME, "www.example.org")) as port:
        for host in (NAME, "www.example.org"):
            addresses.ports[host, 443] = port
        yield asked


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ('{"m.server":"hs.example"}', "hs.example"),
        ('{"m.server":"hs.example:443","more":[]}', "hs.example:443"),
        ('{"m.server":"[::1]:443"}', "[::1]:443"),
        ('{"m.server":"hs.example/path"}', None),
        ('{"m.server":"https://hs.example"}', None),
        ('{"m.server":"hs.example@evil.example"}', None),
        ('{"m.server":"hs.example:443\\r\\nHost: evil.example"}', None),
        ('{"m.server":7}', None),
        ('{"m.server":""}', None),
        ('["m.server"]', None),
        ("{}", None),
        ("no json", None),
        ("[" * 10_000, None),
        ('{"m.server":"hs.example"' + " " * 20_000 + "}", None),
    ],
)
async def test_documents(
    client: HttpClient,
    authority: Authority,
    addresses: Addresses,
    body: str,
    found: str | None,
) -> None:
    async with answering(authority, addresses, server=web.Response(text=body)) as asked:
        assert await WellKnown(client).delegated(NAME) == found
    assert asked == [f"{NAME}/.well-known/matrix/server"]


def redirect(location: str, status: int = 302) -> web.Response:
    return web.Response(status=status, headers={"Location": location})


async def test_redirects_are_followed_by_hand(
    client: HttpClient, authority: Authority, addresses: Addresses
) -> None:
    answers = {
        "server": redirect("https://www.example.org/a", 301),
        "a": redirect("/b", 308),
        "b": redirect("c", 307),
        "c": FOUND,
    }
    async with answering(authority, addresses, **answers) as asked:
        assert await WellKnown(client).delegated(NAME) == "hs.example:443"
    assert asked[1:] == [f"www.example.org/{path}" for path in "abc"]


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        ({"server": redirect("server")}, 4),
        ({"server": redirect("a"), "a": redirect("b"), "b": redirect("c"), "c": redirect("d")}, 4),
        ({"server": redirect("http://www.example.org/a"), "a": FOUND}, 1),
        ({"server": redirect("https://[::1/a")}, 1),
        ({"server": redirect("file:///etc/passwd")}, 1),
        ({"server": redirect("https://nowhere.example/")}, 1),
        ({"server": web.Response(status=302)}, 1),
        ({"server": web.Response(status=404, text='{"m.server":"hs.example:443"}')}, 1),
        ({"server": web.Response(status=500)}, 1),
    ],
)
async def test_redirects_that_lead_nowhere(
    client: HttpClient,
    authority: Authority,
    addresses: Addresses,
    answers: dict[str, web.Response],
    asked: int,
) -> None:
    async with answering(authority, addresses, **answers) as hosts:
        assert await WellKnown(client).delegated(NAME) is None
    assert len(hosts) == asked


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:{port}", "[::1]:{port}", "2130706433:{port}", "127.1:{port}", "[::ffff:7f00:1]"],
)
async def test_no_redirect_leads_into_our_own_network(
    authority: Authority, addresses: Addresses, host: str
) -> None:
    """The server with the document has a public address, as far as the guard can see."""

    reached = []

    async def inside(request: web.Request) -> web.Response:
        reached.append(request.host)
        return web.json_response({"m.server": "hs.example"})

    app = web.Application()
    app.router.add_get("/{path:.*}", inside)

    class OnlyNames(AddressGuard):
        """Lets the addresses of names pass, which are all on loopback here."""

        def allows(self, address: str) -> bool:
            return address == "127.0.0.1" and self.of_a_name

        of_a_name = False

        def check_literal(self, host: str) -> None:
            self.of_a_name = host == NAME
            super().check_literal(host)

    async with (
        serving(app, authority.server_context("127.0.0.1", "::1")) as port,
        HttpClient(
            ssl_context=authority.client_context(), resolver=addresses, guard=OnlyNames()
        ) as client,
    ):
        location = redirect(f"https://{host.format(port=port)}/secret")
        async with answering(authority, addresses, server=location) as asked:
            assert await WellKnown(client).delegated(NAME) is None
    assert len(asked) == 1
    assert reached == []


async def test_a_certificate_for_another_name_does_not_count(
    client: HttpClient, authority: Authority, addresses: Addresses
) -> None:
    async with answering(authority, addresses, server=FOUND) as asked:
        addresses.ports["other.example", 443] = addresses.ports[NAME, 443]
        assert await WellKnown(client).delegated("other.example") is None
    assert asked == []


def headers(**given: str) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in given.items()}


@pytest.mark.parametrize(
    ("given", "lifetime_ms"),
    [
        ({}, 24 * HOUR),
        (headers(Cache_Control="max-age=7200"), 2 * HOUR),
        (headers(Cache_Control="public, Max-Age = 7200"), 2 * HOUR),
        (headers(Cache_Control="s-maxage=60"), 24 * HOUR),
        (headers(Cache_Control="max-age=0"), 5 * MINUTE),
        (headers(Cache_Control="max-age=60"), 5 * MINUTE),
        (headers(Cache_Control="no-store"), 5 * MINUTE),
        (headers(Cache_Control="max-age=7200, no-cache"), 5 * MINUTE),
        (headers(Cache_Control="max-age=999999999"), 48 * HOUR),
        (headers(Cache_Control="max-age=" + "9" * 5_000), 48 * HOUR),
        (headers(Cache_Control="nonsense"), 24 * HOUR),
        (headers(Expires=formatdate((NOW + 3 * HOUR) / 1000, usegmt=True)), 3 * HOUR),
        (headers(Expires=formatdate((NOW - HOUR) / 1000, usegmt=True)), 5 * MINUTE),
        (headers(Expires="0"), 5 * MINUTE),
        (headers(Expires="Mon, 01 Jan 99999 00:00:00 GMT"), 5 * MINUTE),
        (
            headers(
                Cache_Control="max-age=7200",
                Expires=formatdate((NOW + 3 * HOUR) / 1000, usegmt=True),
            ),
            2 * HOUR,
        ),
    ],
)
async def test_a_document_is_kept_as_its_headers_say_within_our_bounds(
    client: HttpClient,
    authority: Authority,
    addresses: Addresses,
    given: dict[str, str],
    lifetime_ms: int,
) -> None:
    clock = Clock()
    documents = WellKnown(client, clock)
    answer = web.Response(text='{"m.server":"hs.example:443"}', headers=given)
    async with answering(authority, addresses, server=answer) as asked:
        for now, questions in ((0, 1), (lifetime_ms - 1, 1), (lifetime_ms, 2), (-HOUR, 3)):
            clock.now = NOW + now
            assert await documents.delegated(NAME) == "hs.example:443"
            assert len(asked) == questions


async def test_what_failed_is_asked_again_after_a_minute_doubling_to_an_hour(
    client: HttpClient, authority: Authority, addresses: Addresses
) -> None:
    clock = Clock()
    documents = WellKnown(client, clock)
    async with answering(authority, addresses) as asked:
        assert await documents.delegated(NAME) is None
        for wait in (1, 2, 4, 8, 16, 32, 60, 60):
            questions = len(asked)
            clock.now += wait * MINUTE - 1
            assert await documents.delegated(NAME) is None
            assert len(asked) == questions
            clock.now += 1
            assert await documents.delegated(NAME) is None
            assert len(asked) == questions + 1
    async with answering(authority, addresses, server=FOUND):
        clock.now += HOUR
        assert await documents.delegated(NAME) == "hs.example:443"


async def test_what_is_kept_is_bounded(
    client: HttpClient, authority: Authority, addresses: Addresses
) -> None:
    documents = WellKnown(client, Clock(), size=2)
    names = ("1.example", "2.example", "3.example")
    app = web.Application()
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.host)
        return web.json_response({"m.server": "hs.example"})

    app.router.add_get("/.well-known/matrix/server", answer)
    async with serving(app, authority.server_context(*names)) as port:
        for name in names:
            addresses.ports[name, 443] = port
            assert await documents.delegated(name) == "hs.example"
            assert await documents.delegated("1.example") == "hs.example"
        assert asked == list(names)
        assert await documents.delegated("2.example") == "hs.example"
        assert asked == [*names, "2.example"]
    for number in range(5):
        assert await documents.delegated(f"{number}.nowhere.example") is None
    assert len(documents._kept) == 2
    assert len(documents._failures) == 2


async def test_all_redirects_together_have_one_time(
    client: HttpClient, authority: Authority, addresses: Addresses
) -> None:
    documents = WellKnown(client, timeout_s=0)
    async with answering(authority, addresses, server=redirect("server")) as asked:
        assert await documents.delegated(NAME) is None
    assert asked == []
    assert well_known.MAX_REDIRECTS == 3
