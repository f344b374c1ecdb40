from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from policybot.federation.client import HttpClient
from policybot.federation.resolve import Target, resolve
from policybot.protocol.server_name import InvalidServerName

from .authority import Authority
from .servers import Addresses, serving

NAME = "policy.example.org"
GUESS = Target(f"https://{NAME}:8448", NAME, NAME, guessed=True)


@asynccontextmanager
async def well_known(
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
    ("name", "target"),
    [
        ("a.example:443", Target("https://a.example:443", "a.example:443", "a.example")),
        ("192.0.2.1", Target("https://192.0.2.1:8448", "192.0.2.1", "192.0.2.1")),
        ("192.0.2.1:80", Target("https://192.0.2.1:80", "192.0.2.1:80", "192.0.2.1")),
        ("[2001:db8::1]", Target("https://[2001:db8::1]:8448", "[2001:db8::1]", "2001:db8::1")),
        ("[::1]:9", Target("https://[::1]:9", "[::1]:9", "::1")),
        (
            "nowhere.example",
            Target("https://nowhere.example:8448", "nowhere.example", "nowhere.example", True),
        ),
    ],
)
async def test_names_that_need_no_answer(client: HttpClient, name: str, target: Target) -> None:
    assert await resolve(name, client) == target


@pytest.mark.parametrize("name", ["", "a b", "a.example:", "@a:b", "a.example:0", "[::1"])
async def test_what_is_no_server_name(client: HttpClient, name: str) -> None:
    with pytest.raises(InvalidServerName):
        await resolve(name, client)


@pytest.mark.parametrize(
    ("body", "target"),
    [
        (
            '{"m.server":"hs.example"}',
            Target("https://hs.example:8448", "hs.example", "hs.example"),
        ),
        (
            '{"m.server":"hs.example:443"}',
            Target("https://hs.example:443", "hs.example:443", "hs.example"),
        ),
        ('{"m.server":"192.0.2.1"}', Target("https://192.0.2.1:8448", "192.0.2.1", "192.0.2.1")),
        ('{"m.server":"[::1]:443"}', Target("https://[::1]:443", "[::1]:443", "::1")),
        ('{"m.server":"hs.example/path"}', GUESS),
        ('{"m.server":7}', GUESS),
        ('["m.server"]', GUESS),
        ("{}", GUESS),
        ("no json", GUESS),
        ('{"m.server":"hs.example"' + " " * 20_000 + "}", GUESS),
    ],
)
async def test_well_known(
    client: HttpClient, authority: Authority, addresses: Addresses, body: str, target: Target
) -> None:
    async with well_known(authority, addresses, server=web.Response(text=body)) as asked:
        assert await resolve(NAME, client) == target
    assert asked == [f"{NAME}/.well-known/matrix/server"]


def redirect(location: str, status: int = 302) -> web.Response:
    return web.Response(status=status, headers={"Location": location})


FOUND = web.Response(text='{"m.server":"hs.example:443"}')


async def test_redirects_are_followed_by_hand(
    client: HttpClient, authority: Authority, addresses: Addresses
) -> None:
    answers = {
        "server": redirect("https://www.example.org/a", 301),
        "a": redirect("/b", 308),
        "b": redirect("c", 307),
        "c": FOUND,
    }
    async with well_known(authority, addresses, **answers) as asked:
        assert (await resolve(NAME, client)).url == "https://hs.example:443"
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
    async with well_known(authority, addresses, **answers) as hosts:
        assert await resolve(NAME, client) == GUESS
    assert len(hosts) == asked


async def test_a_certificate_for_another_name_does_not_count(
    client: HttpClient, authority: Authority, addresses: Addresses
) -> None:
    async with well_known(authority, addresses, server=FOUND) as asked:
        addresses.ports["other.example", 443] = addresses.ports[NAME, 443]
        assert (await resolve("other.example", client)).guessed
    assert asked == []
