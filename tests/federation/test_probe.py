import asyncio

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from policybot.federation import probe
from policybot.federation.client import HttpClient
from policybot.federation.dns_lookup import DnsLookup
from policybot.federation.notary import Notary
from policybot.federation.probe import (
    ProbeOutcome,
    ProbeResult,
    RouteResult,
    check_key_delivery,
    probe_endpoint,
    probe_routes,
)
from policybot.protocol.paths import (
    POLICY_WELL_KNOWNS,
    SERVER_KEYS,
    SIGN,
    UNSTABLE_SIGN,
    UNSTABLE_WELL_KNOWN,
    WELL_KNOWN,
)
from policybot.protocol.signing import SigningKey

from .authority import Authority
from .fake_notary import OWN_NAME, FakeNotary, document
from .servers import Addresses, serving

NAME = "policy.example.org"
OURS = {"Policybot-Instance": "me"}
UNRECOGNIZED = '{"errcode":"M_UNRECOGNIZED","error":"Unrecognized request"}'


async def probed(
    client: HttpClient,
    authority: Authority,
    addresses: Addresses,
    dns: DnsLookup,
    status: int,
    headers: dict[str, str],
    body: str = "{}",
) -> ProbeResult:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.host, request.headers.get("Authorization"), await request.json()))
        return web.Response(status=status, headers=headers, text=body)

    app = web.Application()
    app.router.add_post("/_matrix/policy/v1/sign", answer)
    async with serving(app, authority.server_context(NAME)) as port:
        addresses.ports[NAME, 8448] = port
        result = await probe_endpoint(NAME, "me", client, dns=dns)
    assert asked == [(NAME, None, {})]
    assert result.address == f"https://{NAME}:8448/_matrix/policy/v1/sign"
    return result


async def test_our_endpoint(
    client: HttpClient, authority: Authority, addresses: Addresses, dns: DnsLookup
) -> None:
    result = await probed(client, authority, addresses, dns, 401, OURS)
    assert result.ok
    assert result.text == ""


@pytest.mark.parametrize(
    ("status", "headers", "body", "words"),
    [
        (404, {}, UNRECOGNIZED, "homeserver answers"),
        (405, {}, UNRECOGNIZED, "does not send /_matrix/policy/ to policybot"),
        (404, {}, "<html>", "something other than policybot answers (404, from Python/"),
        (403, {}, '{"errcode":"M_FORBIDDEN"}', "(403 M_FORBIDDEN, from Python/"),
        (200, {}, "{}", "something other than policybot answers (200, from Python/"),
        (500, {}, '{"errcode":7}', "(500, from Python/"),
        (401, {}, '{"errcode":"M_UNAUTHORIZED"}', "another policy server"),
        (401, {"Policybot-Instance": "you"}, "{}", "another installation of policybot"),
        (404, OURS, "{}", "must hand over /_matrix/policy/v1/sign unchanged"),
        (502, {}, "<html>", "cannot reach policybot"),
        (503, {}, "", "cannot reach policybot"),
        (504, {}, "", "cannot reach policybot"),
        (522, {}, "", "cannot reach policybot"),
        (301, {"Location": "/"}, "", "redirects (301)"),
    ],
)
async def test_not_our_endpoint(
    client: HttpClient,
    authority: Authority,
    addresses: Addresses,
    dns: DnsLookup,
    status: int,
    headers: dict[str, str],
    body: str,
    words: str,
) -> None:
    result = await probed(client, authority, addresses, dns, status, headers, body)
    assert result.outcome is ProbeOutcome.NOT_OURS
    assert words in result.text
    assert result.text.startswith(result.address)


# -- path by path ------------------------------------------------------------------------------


async def unrecognized(_: web.Request) -> web.Response:
    return web.Response(status=404, text=UNRECOGNIZED)


async def signs(request: web.Request) -> web.Response:
    return web.Response(status=400 if "Authorization" in request.headers else 401, headers=OURS)


async def tells_key(_: web.Request) -> web.Response:
    return web.json_response({"public_key": "k"}, headers=OURS)


async def homeserver_keys(_: web.Request) -> web.Response:
    return web.json_response({"server_name": NAME})


WELL: dict[str, Handler] = {
    SIGN: signs,
    UNSTABLE_SIGN: signs,
    SERVER_KEYS: homeserver_keys,
    **dict.fromkeys(POLICY_WELL_KNOWNS, tells_key),
}


async def routes_of(client: HttpClient, handlers: dict[str, Handler]) -> list[RouteResult]:
    app = web.Application()
    for path, handler in handlers.items():
        app.router.add_route("*", path, handler)
    app.router.add_route("*", "/{path:.*}", unrecognized)
    async with serving(app) as port:
        url = f"http://127.0.0.1:{port}"
        results = [result async for result in probe_routes(NAME, "me", client, url)]
    assert [result.address for result in results] == [url + path for path in WELL]
    return results


async def test_each_path_is_asked(client: HttpClient) -> None:
    assert [result.text for result in await routes_of(client, WELL)] == [""] * 5


@pytest.mark.parametrize("path", [SIGN, UNSTABLE_SIGN, *POLICY_WELL_KNOWNS])
async def test_a_missing_line_is_named(client: HttpClient, path: str) -> None:
    handlers = {each: handler for each, handler in WELL.items() if each != path}
    (fault,) = [result for result in await routes_of(client, handlers) if result.text]
    assert fault.prefix == (path if path in POLICY_WELL_KNOWNS else "/_matrix/policy/")
    assert "a homeserver answers (404 M_UNRECOGNIZED)" in fault.text
    assert f"does not send {fault.prefix} to policybot" in fault.text
    assert fault.text.startswith(fault.address)
    assert fault.needed


def answering(status: int, text: str = "", **headers: str) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, text=text, headers=named)

    return answer


@pytest.mark.parametrize(
    ("path", "handler", "words", "line"),
    [
        # A proxy that asks for a password, or takes the header away, leaves only our 401.
        (SIGN, answering(401, Policybot_Instance="me"), "Authorization does not", False),
        (UNSTABLE_SIGN, answering(404, Policybot_Instance="me"), "unchanged", True),
        (UNSTABLE_SIGN, answering(502, "<html>"), "cannot reach policybot", True),
        (WELL_KNOWN, answering(301, Location="/x"), "redirects (301)", True),
        (UNSTABLE_WELL_KNOWN, answering(200, Policybot_Instance="you"), "another instal", False),
        (
            UNSTABLE_WELL_KNOWN,
            answering(200, '{"public_key":""}'),
            "another policy server",
            False,
        ),
        (
            UNSTABLE_WELL_KNOWN,
            answering(200, "<html>", Content_Type="text/html", Server="nginx/1.22.1"),
            "something other than policybot answers (200, a web page, from nginx/1.22.1)",
            True,
        ),
        (
            WELL_KNOWN,
            answering(404, '{"errcode":"M_\\u001b[1m"}', Server="\x9b31mx"),
            "something other than policybot answers (404)",
            True,
        ),
        (SERVER_KEYS, answering(404, Policybot_Instance="me"), "in place of the home", False),
        (SERVER_KEYS, answering(404, UNRECOGNIZED), "(404 M_UNRECOGNIZED, from", False),
        (SERVER_KEYS, answering(200, '{"server_name":"x"}'), "are not found (200", False),
    ],
)
async def test_who_answers_instead(
    client: HttpClient, path: str, handler: Handler, words: str, line: bool
) -> None:
    (fault,) = [each for each in await routes_of(client, {**WELL, path: handler}) if each.text]
    assert fault.address.endswith(path)
    assert words in fault.text
    assert bool(fault.prefix) == line


async def test_nothing_answers_at_all(client: HttpClient) -> None:
    (fault,) = [each async for each in probe_routes(NAME, "me", client, "http://127.0.0.1:1")]
    assert "refuses the connection" in fault.text
    (fault,) = [each async for each in probe_routes("no name", "me", client)]
    assert fault.text == "'no name' is not a server name."


async def test_the_web_site_of_a_delegated_name_may_lack_its_documents(
    client: HttpClient, authority: Authority, addresses: Addresses, dns: DnsLookup
) -> None:
    async def delegate(_: web.Request) -> web.Response:
        return web.json_response({"m.server": "hs.example.org:4443"})

    endpoint, web_site = web.Application(), web.Application()
    for path, handler in WELL.items():
        endpoint.router.add_route("*", path, handler)
    web_site.router.add_get("/.well-known/matrix/server", delegate)
    async with (
        serving(endpoint, authority.server_context("hs.example.org")) as port,
        serving(web_site, authority.server_context(NAME)) as web_site_port,
    ):
        addresses.ports[NAME, 443] = web_site_port
        addresses.ports["hs.example.org", 4443] = port
        results = [result async for result in probe_routes(NAME, "me", client, dns=dns)]
    assert [bool(result.text) for result in results] == [False, False, False, True, True]
    assert [result.needed for result in results] == [True, True, True, False, False]
    assert results[3].address == f"https://{NAME}/.well-known/matrix/policy_server"


async def test_a_delegated_name_is_asked_as_others_ask_it(
    client: HttpClient, authority: Authority, addresses: Addresses, dns: DnsLookup
) -> None:
    async def endpoint(request: web.Request) -> web.Response:
        assert request.host == "hs.example.org:4443"
        return web.Response(status=401, headers=OURS)

    async def delegate(_: web.Request) -> web.Response:
        return web.json_response({"m.server": "hs.example.org:4443"})

    endpoint_app, delegating_app = web.Application(), web.Application()
    endpoint_app.router.add_post("/_matrix/policy/v1/sign", endpoint)
    delegating_app.router.add_get("/.well-known/matrix/server", delegate)
    async with (
        serving(endpoint_app, authority.server_context("hs.example.org")) as port,
        serving(delegating_app, authority.server_context(NAME)) as delegating_port,
    ):
        addresses.ports[NAME, 443] = delegating_port
        addresses.ports["hs.example.org", 4443] = port
        result = await probe_endpoint(NAME, "me", client, dns=dns)
    assert result == ProbeResult(
        ProbeOutcome.OK, "", "https://hs.example.org:4443/_matrix/policy/v1/sign"
    )


async def test_a_given_address_is_asked_instead(client: HttpClient) -> None:
    async def endpoint(_: web.Request) -> web.Response:
        return web.Response(status=401, headers=OURS)

    app = web.Application()
    app.router.add_post("/prefix/_matrix/policy/v1/sign", endpoint)
    async with serving(app) as port:
        result = await probe_endpoint(NAME, "me", client, f"http://127.0.0.1:{port}/prefix/")
    assert result.ok


async def test_unreachable(
    client: HttpClient, authority: Authority, addresses: Addresses, dns: DnsLookup
) -> None:
    result = await probe_endpoint(NAME, "me", client, dns=dns)
    assert result.outcome is ProbeOutcome.UNREACHABLE
    assert "has no address in DNS" in result.text
    assert "policy_server.public_url" in result.text
    result = await probe_endpoint(f"{NAME}:443", "me", client)
    assert result.text == f"{NAME}:443: this name has no address in DNS."

    async with serving(web.Application(), authority.server_context("other.example")) as port:
        addresses.ports[NAME, 443] = port
        result = await probe_endpoint(f"{NAME}:443", "me", client)
        assert "TLS certificate" in result.text
    result = await probe_endpoint(f"{NAME}:443", "me", client)
    assert "refuses the connection" in result.text

    result = await probe_endpoint("no name", "me", client)
    assert (result.outcome, result.address) == (ProbeOutcome.UNREACHABLE, "")


async def test_key_delivery(client: HttpClient) -> None:
    key = SigningKey.generate()
    fake = FakeNotary(document(OWN_NAME, ("ed25519:own", key)))
    fake.servers["a.example"] = document("a.example", ("ed25519:a", key))
    fake.servers["b.example"] = None
    fake.remember(document("c.example", ("ed25519:c", key), until=5))
    async with serving(fake.application()) as port:
        notary = Notary(f"http://127.0.0.1:{port}/", OWN_NAME, client)
        assert await check_key_delivery(notary) is None
        assert await check_key_delivery(notary, OWN_NAME) is None
        assert fake.questions == []
        assert await check_key_delivery(notary, "a.example") is None
        assert await check_key_delivery(notary, "b.example", "a.example") is None
        assert fake.fetched == ["a.example"]
        assert await check_key_delivery(notary, "c.example") is None
        fault = await check_key_delivery(notary, "b.example")
        assert fault is not None
        assert "has none of b.example" in fault

        wrong_name = Notary(f"http://127.0.0.1:{port}", "other.example", client)
        fault = await check_key_delivery(wrong_name)
        assert fault is not None
        assert "does not deliver good keys for other.example" in fault


async def test_key_delivery_when_a_server_is_slow(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "KEY_TIMEOUT_S", 0.2)
    key = SigningKey.generate()
    fake = FakeNotary(document(OWN_NAME, ("ed25519:own", key)))
    fake.servers["a.example"] = document("a.example", ("ed25519:a", key))
    fake.gates["slow.example"] = asyncio.Event()
    async with serving(fake.application()) as port:
        notary = Notary(f"http://127.0.0.1:{port}", OWN_NAME, client)
        assert await check_key_delivery(notary, "slow.example", "a.example") is None
        assert "has none of slow.example" in str(await check_key_delivery(notary, "slow.example"))
        fake.gates["slow.example"].set()


async def test_key_delivery_when_the_path_is_not_there(client: HttpClient) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(document(OWN_NAME, ("ed25519:own", SigningKey.generate())))

    app = web.Application()
    async with serving(app) as port:
        notary = Notary(f"http://127.0.0.1:{port}", OWN_NAME, client)
        fault = await check_key_delivery(notary)
    assert fault is not None
    assert "/_matrix/key/v2/server answered 404" in fault
    assert "`keys`" in fault
    assert "/_matrix/key/" in fault

    app = web.Application()
    app.router.add_get("/_matrix/key/v2/server", answer)
    async with serving(app) as port:
        notary = Notary(f"http://127.0.0.1:{port}", OWN_NAME, client)
        assert await check_key_delivery(notary) is None
        fault = await check_key_delivery(notary, "a.example")
    assert fault is not None
    assert "/_matrix/key/v2/query answered 404" in fault
