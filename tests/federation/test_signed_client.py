"""Requests in our own name, as the server that gets them sees them. What comes back, and from
where, is in test_membership."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from policybot.federation.client import RequestFailed
from policybot.federation.dns_lookup import DnsLookup
from policybot.federation.reach import Reach
from policybot.federation.signed_client import SignedClient
from policybot.protocol.signing import SigningKey
from policybot.protocol.xmatrix import parse_authorization, request_bytes

from .authority import Authority
from .dns_server import DnsServer
from .key_server import WELL_KNOWN_PATH, reaching
from .servers import serving

NAME, OTHER, HOST = "policy.example", "a.example", "hs.example"
KEY = SigningKey.generate()
PATH = "/_matrix/federation/v1/x/%21r%C3%B6%2Fm%3Aa.example/%40u%3Aa?ver=1&ver=2&q=%20"


class Server:
    """Keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, Any]] = []
        self.delegates_to: str | None = None

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == WELL_KNOWN_PATH and self.delegates_to is not None:
            return web.json_response({"m.server": self.delegates_to})
        content = await request.json() if request.can_read_body else None
        (header,) = parse_authorization(request.headers.getall("Authorization"))
        signed = request_bytes(
            request.method, request.raw_path, header.origin, header.destination, content
        )
        assert (header.origin, header.key_id) == (NAME, "ed25519:k")
        assert KEY.verify_key.verify(signed, header.signature)
        assert header.destination is not None
        asked = (request.method, request.raw_path, header.destination, content)
        self.asked.append((*asked[:3], request.headers["Host"]))
        return web.json_response(content, status=202)


Ports = dict[tuple[str, int], int]


@pytest.fixture
async def reach_and_ports(
    authority: Authority, dns: DnsLookup
) -> AsyncIterator[tuple[Reach, Ports]]:
    async with reaching(authority, dns) as found:
        yield found


@pytest.fixture
def client(reach_and_ports: tuple[Reach, Ports]) -> SignedClient:
    return SignedClient(NAME, "ed25519:k", KEY, reach_and_ports[0])


@pytest.fixture
def ports(reach_and_ports: tuple[Reach, Ports]) -> Ports:
    return reach_and_ports[1]


async def test_signed_for_the_name_that_is_asked_wherever_it_leads(
    client: SignedClient, ports: Ports, authority: Authority, dns_server: DnsServer
) -> None:
    dns_server.hosts(OTHER, HOST)
    server, delegating = Server(), Server()
    delegating.delegates_to = f"{HOST}:4443"
    async with (
        serving(server.application(), authority.server_context(HOST)) as port,
        serving(delegating.application(), authority.server_context(OTHER)) as delegating_port,
    ):
        ports[OTHER, 443], ports[HOST, 4443] = delegating_port, port
        body = {"é": [1, "\u2028", {"b": None}], "a": 2**53 - 1}
        assert (await client.get(OTHER, PATH)).json is None
        answer = await client.put(OTHER, PATH, body)
    assert (answer.status, answer.json) == (202, body)
    assert server.asked == [
        ("GET", PATH, OTHER, f"{HOST}:4443"),
        ("PUT", PATH, OTHER, f"{HOST}:4443"),
    ]


async def test_the_next_place_is_asked_if_one_does_not_answer(
    client: SignedClient, ports: Ports, authority: Authority, dns_server: DnsServer
) -> None:
    dns_server.hosts(HOST, "away.example")
    server = Server()
    async with serving(server.application(), authority.server_context(OTHER)) as port:
        dns_server.records[f"_matrix-fed._tcp.{OTHER}", "SRV"] = [
            "1 0 1 away.example.",
            f"2 0 {port} {HOST}.",
        ]
        await client.put(OTHER, PATH, {})
    assert server.asked == [("PUT", PATH, OTHER, OTHER)]


async def test_a_name_that_none_may_have(client: SignedClient) -> None:
    with pytest.raises(RequestFailed, match="wrong form"):
        await client.get('a.example",key="x', PATH)
