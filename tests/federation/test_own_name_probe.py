"""A name of our own, asked for as other servers ask: who answers there, and what is missing."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from policybot.endpoint.exchange import Request
from policybot.endpoint.federation_routes import FederationRoutes
from policybot.federation.address_guard import AddressGuard
from policybot.federation.client import HttpClient
from policybot.federation.dns_lookup import DnsLookup
from policybot.federation.own_name_probe import ENCODED_PATH, OwnName, OwnNameProbe
from policybot.federation.probe import Cure, RouteResult
from policybot.protocol.paths import (
    FEDERATION_VERSION,
    POLICY_WELL_KNOWNS,
    SERVER_KEYS,
    SERVER_WELL_KNOWN,
    SIGN,
    UNSTABLE_SIGN,
)
from policybot.protocol.signing import SigningKey

from .authority import Authority
from .dns_server import DnsServer
from .own_name import INSTANCE, KEY, NAME, NOW, federation_routes, serving_name
from .servers import Addresses, serving

Probe = Callable[..., OwnNameProbe]

ODD_PATH = ENCODED_PATH + NAME
ASKED = (SIGN, UNSTABLE_SIGN, SERVER_KEYS, FEDERATION_VERSION, ODD_PATH)
HTTPS = f"https://{NAME}:443"
WEB_SITE = f"https://{NAME}"


def clock() -> int:
    return NOW


@pytest.fixture
async def probe(client: HttpClient, dns: DnsLookup) -> Probe:
    def make(*, name: str = NAME, key: SigningKey | None = KEY) -> OwnNameProbe:
        verify_key = None if key is None else key.verify_key
        return OwnNameProbe(OwnName(name, INSTANCE, verify_key), client, dns, clock)

    return make


@pytest.fixture
async def closed(addresses: Addresses) -> AsyncIterator[None]:
    """Nothing listens on port 443."""
    async with serving(web.Application()) as port:
        addresses.ports[NAME, 443] = port
    yield


async def test_all_is_served_by_us(
    probe: Probe, authority: Authority, addresses: Addresses
) -> None:
    async with serving_name(authority) as port:
        addresses.ports[NAME, 443] = port
        found = await probe().routes()
        assert found == [
            RouteResult(WEB_SITE + SERVER_WELL_KNOWN, ""),
            *(RouteResult(HTTPS + path, "") for path in ASKED),
            *(RouteResult(WEB_SITE + path, "") for path in POLICY_WELL_KNOWNS),
        ]
        assert await probe(key=None).faults() == []


async def test_port_8448_needs_no_document(
    probe: Probe, authority: Authority, addresses: Addresses, closed: None
) -> None:
    async with serving_name(authority) as port:
        addresses.ports[NAME, 8448] = port
        found = await probe().routes()
    assert found == [RouteResult(f"https://{NAME}:8448{path}", "") for path in ASKED]


async def test_each_place_that_dns_names_is_asked(
    probe: Probe, authority: Authority, addresses: Addresses, dns_server: DnsServer, closed: None
) -> None:
    service = f"_matrix-fed._tcp.{NAME}"
    dns_server.records[service, "SRV"] = ["1 0 1 one.example.", "2 0 2 two.example."]
    async with serving_name(authority) as port:
        addresses.ports["one.example", 1] = port
        addresses.ports["two.example", 2] = addresses.ports[NAME, 443]
        (fault,) = await probe().faults()
        assert fault.text.startswith("two.example:2 refuses the connection")


# -- nothing is there ----------------------------------------------------------------------------


async def test_a_name_that_is_not_in_dns(probe: Probe) -> None:
    (found,) = await probe().routes()
    assert found.text.startswith(f"{NAME}:443: this name has no address in DNS.")
    assert (found.cure, found.needed) == (Cure.DNS, True)


async def test_a_private_address(authority: Authority, dns: DnsLookup) -> None:
    own = OwnName("127.0.0.1:8448", INSTANCE, None)
    guarded = OwnNameProbe.guarded(own, (), clock)
    (found,) = await guarded.routes()
    await guarded.close()
    assert "is not asked" in found.text
    assert found.cure is Cure.DNS


async def test_a_network_that_may_be_asked(authority: Authority, dns: DnsLookup) -> None:
    guard = AddressGuard(())
    assert not guard.allows("127.0.0.1")
    name = "127.0.0.1"
    async with (
        serving_name(authority, federation_routes(name), name) as port,
        HttpClient(ssl_context=authority.client_context(), resolver=dns) as client,
    ):
        # With a port in the name there is no document; an address needs no resolver.
        own = OwnName(f"{name}:{port}", INSTANCE, None)
        found = await OwnNameProbe(own, client, dns, clock).routes()
    assert [route.address.partition(str(port))[2] for route in found][:2] == [
        SIGN,
        UNSTABLE_SIGN,
    ]
    # It answers for the name without the port.
    assert [bool(route.text) for route in found] == [False, False, True, False, False]


async def test_nothing_listens(probe: Probe, addresses: Addresses, closed: None) -> None:
    addresses.ports[NAME, 8448] = addresses.ports[NAME, 443]
    document, sign = await probe().routes()
    assert document.text.startswith(f"{NAME}:443 refuses the connection")
    assert sign.text.startswith(f"{NAME}:8448 refuses the connection")
    assert {document.cure, sign.cure} == {Cure.FIREWALL}


async def test_a_certificate_for_another_name(
    probe: Probe, authority: Authority, addresses: Addresses
) -> None:
    async with serving_name(authority, None, "other.example.org") as port:
        addresses.ports |= {(NAME, 443): port, (NAME, 8448): port}
        document, sign = await probe().routes()
    assert "the TLS certificate" in document.text
    assert {document.cure, sign.cure} == {Cure.CERTIFICATE}


async def test_who_does_not_answer_is_not_waited_for(
    probe: Probe, authority: Authority, addresses: Addresses
) -> None:
    never = asyncio.Event()

    async def wait(_: web.Request) -> web.Response:
        await never.wait()
        raise web.HTTPOk

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", wait)
    async with serving(app, authority.server_context(NAME)) as port:
        addresses.ports |= {(NAME, 443): port, (NAME, 8448): port}
        (fault,) = await probe().faults(0.2)
        assert fault.text == f"{NAME} did not answer within 0.2 s."
        never.set()


# -- somebody else answers -----------------------------------------------------------------------

OURS = {"Policybot-Instance": INSTANCE}
UNRECOGNIZED = '{"errcode":"M_UNRECOGNIZED","error":"Unrecognized request"}'


def answering(status: int, text: str = "", **headers: str) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, text=text, headers=named)

    return answer


def from_us(status: int, text: str = "{}") -> Handler:
    return answering(status, text, Policybot_Instance=INSTANCE)


async def signs(request: web.Request) -> web.Response:
    return web.Response(status=400 if "Authorization" in request.headers else 401, headers=OURS)


async def publishes_keys(_: web.Request) -> web.Response:
    methods = federation_routes().methods(SERVER_KEYS)
    assert methods is not None
    response = await methods["GET"](Request("GET", SERVER_KEYS, (), b""))
    return web.Response(body=response.body, headers=OURS)


@pytest.mark.parametrize(
    ("path", "handler", "words", "cure"),
    [
        (SIGN, answering(404, UNRECOGNIZED), "a homeserver answers", Cure.PROXY),
        (SIGN, from_us(401), "the header Authorization does not arrive", None),
        (UNSTABLE_SIGN, answering(502), "cannot reach policybot", Cure.PROXY),
        (SERVER_KEYS, answering(200, "{}"), "another server answers where the", Cure.PROXY),
        (SERVER_KEYS, answering(404, UNRECOGNIZED), "does not send everything", Cure.PROXY),
        (SERVER_KEYS, from_us(404), "was reached, but the path was not", Cure.PROXY),
        (SERVER_KEYS, from_us(200), "are not good: The server keys belong to", None),
        (FEDERATION_VERSION, answering(200), "something other than policybot", Cure.PROXY),
        (
            FEDERATION_VERSION,
            answering(200, Policybot_Instance="you"),
            "another installation",
            None,
        ),
        (ODD_PATH, answering(400, "<html>"), "other than policybot answers (400", Cure.PROXY),
        (ODD_PATH, from_us(404), f"hand over {ODD_PATH} unchanged", Cure.PROXY),
        (POLICY_WELL_KNOWNS[0], answering(301, Location="/"), "redirects (301)", Cure.PROXY),
        (SERVER_WELL_KNOWN, answering(200), None, None),
    ],
)
async def test_who_answers_instead(
    client: HttpClient,
    dns: DnsLookup,
    path: str,
    handler: Handler,
    words: str | None,
    cure: Cure | None,
) -> None:
    handlers: dict[str, Handler] = {
        SIGN: signs,
        UNSTABLE_SIGN: signs,
        SERVER_KEYS: publishes_keys,
        FEDERATION_VERSION: from_us(200),
        ODD_PATH: from_us(401),
        **dict.fromkeys(POLICY_WELL_KNOWNS, from_us(200)),
        path: handler,
    }

    async def answer(request: web.Request) -> web.StreamResponse:
        return await handlers.get(request.raw_path, answering(404))(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with serving(app) as port:
        own = OwnName(NAME, INSTANCE, KEY.verify_key, f"http://127.0.0.1:{port}")
        found = [r for r in await OwnNameProbe(own, client, dns, clock).routes() if r.text]
    if words is None:
        assert found == []
        return
    (fault,) = found
    assert fault.address == f"http://127.0.0.1:{port}{path}"
    assert words in fault.text
    assert (fault.cure, fault.needed) == (cure, True)


async def test_a_document_that_leads_elsewhere(
    probe: Probe, authority: Authority, addresses: Addresses
) -> None:
    async def delegate(_: web.Request) -> web.Response:
        return web.json_response({"m.server": f"{NAME}:4443"})

    app, other = web.Application(), web.Application()
    app.router.add_get(SERVER_WELL_KNOWN, delegate)
    async with (
        serving(app, authority.server_context(NAME)) as port,
        serving(other, authority.server_context(NAME)) as other_port,
    ):
        addresses.ports |= {(NAME, 443): port, (NAME, 4443): other_port}
        found = await probe().faults()
    assert found[0].text.startswith(f"{WEB_SITE}{SERVER_WELL_KNOWN}: something other than")
    assert found[1].text.startswith(f"https://{NAME}:4443{SIGN}: something other than")

    async with (
        serving(app, authority.server_context(NAME)) as port,
        serving_name(authority) as our_port,
    ):
        addresses.ports |= {(NAME, 443): port, (NAME, 4443): our_port}
        assert await probe().faults() == []


@pytest.mark.parametrize(
    ("routes", "words"),
    [
        (federation_routes(key=SigningKey.generate()), "another federation key is published"),
        (federation_routes(now_ms=1_000_000_000), "past its time: is a clock wrong?"),
        (federation_routes(instance_id="you"), "another installation of policybot answers"),
    ],
)
async def test_keys_that_are_not_ours(
    probe: Probe,
    authority: Authority,
    addresses: Addresses,
    routes: FederationRoutes,
    words: str,
) -> None:
    async with serving_name(authority, routes) as port:
        addresses.ports[NAME, 8448] = addresses.ports[NAME, 443] = port
        faults = await probe().faults()
    assert any(words in fault.text for fault in faults)
