import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientError, ClientResponse, ClientSession, web
from yarl import URL

from policybot.demo.certificates import Certificates, write_certificates
from policybot.demo.ports import LOOPBACK, free_ports
from policybot.demo.proxy import ReverseProxy, Route, upstream_of

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return write_certificates(tmp_path_factory.mktemp("certificates"))


class Client:
    """A client of the proxy that sends request targets as they are."""

    def __init__(self, session: ClientSession, certificates: Certificates, port: int) -> None:
        self._session = session
        self._tls = certificates.client_context()
        self.base = f"https://localhost:{port}"

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: dict[str, str] | None = None,
        data: bytes | AsyncIterator[bytes] | None = None,
    ) -> ClientResponse:
        url = URL(self.base + target, encoded=True)
        response = await self._session.request(
            method, url, ssl=self._tls, headers=headers, data=data, allow_redirects=False
        )
        await response.read()
        return response


@asynccontextmanager
async def upstream(handler: Handler) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, 0).start()
        yield f"http://{LOOPBACK}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def proxied(
    certificates: Certificates, *routes: Route
) -> AsyncIterator[tuple[ReverseProxy, Client]]:
    proxy = ReverseProxy(certificates.server_context(), routes)
    await proxy.start()
    try:
        async with ClientSession(auto_decompress=False) as session:
            yield proxy, Client(session, certificates, proxy.port)
    finally:
        await proxy.stop()


async def echo(request: web.BaseRequest) -> web.Response:
    """Answer with the request as it arrived."""
    body = await request.read()
    return web.json_response(
        {
            "method": request.method,
            "target": request.raw_path,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": body.decode("latin-1"),
        },
        status=201,
    )


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/_matrix/federation/v2/invite/%21a%3Ab.example/%24c",
        "/rooms/%21r%3Ax/state/m.room.member/%40u%3Ay%2Fz",
        "/query?room_alias=%23a%3Ab&x=1+2&y=%20&z",
        "/lower%2fUPPER%2F",
        "/a//b/",
        "/%E2%82%AC%FF",
        "/a%25b?c=%2525",
        "/semi;colon=@,!$&'()*",
    ],
)
async def test_the_request_target_is_not_touched(certificates: Certificates, target: str) -> None:
    async with (
        upstream(echo) as url,
        proxied(certificates, Route("/", url)) as (_, client),
    ):
        response = await client.request("GET", target)
        assert (await response.json())["target"] == target


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "OPTIONS"])
async def test_method_status_headers_and_body_pass(
    certificates: Certificates, method: str
) -> None:
    async with (
        upstream(echo) as url,
        proxied(certificates, Route("/", url)) as (proxy, client),
    ):
        response = await client.request(
            method,
            "/x",
            headers={
                "Authorization": 'X-Matrix origin="a",key="ed25519:1",sig="s"',
                "X-Forwarded-For": "203.0.113.9",
                "X-Forwarded-Proto": "http",
                "Forwarded": "for=203.0.113.9",
                "Keep-Alive": "timeout=5",
            },
            data=b'{"a": 1.0}\x00\xff',
        )
        seen = await response.json()
    assert response.status == 201
    assert seen["method"] == method
    assert seen["body"] == '{"a": 1.0}\x00\xff'
    assert seen["headers"]["authorization"] == 'X-Matrix origin="a",key="ed25519:1",sig="s"'
    assert seen["headers"]["host"] == client.base.removeprefix("https://")
    assert seen["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert seen["headers"]["x-forwarded-proto"] == "https"
    assert "forwarded" not in seen["headers"]
    assert "keep-alive" not in seen["headers"]


async def test_a_body_of_unknown_length_passes(certificates: Certificates) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(3):
            yield f"piece {number};".encode()

    async with (
        upstream(echo) as url,
        proxied(certificates, Route("/", url)) as (_, client),
    ):
        response = await client.request("POST", "/x", data=pieces())
        assert (await response.json())["body"] == "piece 0;piece 1;piece 2;"


async def test_an_answer_stays_compressed_and_complete(certificates: Certificates) -> None:
    packed = gzip.compress(b"x" * 5_000_000, compresslevel=0)

    async def handler(request: web.BaseRequest) -> web.Response:
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    async with (
        upstream(handler) as url,
        proxied(certificates, Route("/", url)) as (_, client),
    ):
        response = await client.request("GET", "/x", headers={"Accept-Encoding": "gzip"})
        assert response.headers["Content-Encoding"] == "gzip"
        assert await response.read() == packed


async def test_redirects_are_handed_on(certificates: Certificates) -> None:
    async def handler(request: web.BaseRequest) -> web.Response:
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with (
        upstream(handler) as url,
        proxied(certificates, Route("/", url)) as (_, client),
    ):
        response = await client.request("GET", "/x")
        assert (response.status, response.headers["Location"]) == (307, "/elsewhere")


async def test_the_first_route_that_fits_is_taken_and_routes_may_change(
    certificates: Certificates,
) -> None:
    def named(name: str) -> Handler:
        async def handler(request: web.BaseRequest) -> web.Response:
            return web.Response(text=name)

        return handler

    async with (
        upstream(named("policy")) as policy,
        upstream(named("homeserver")) as homeserver,
        proxied(certificates, Route("/_matrix/policy/", policy), Route("/", homeserver)) as (
            proxy,
            client,
        ),
    ):

        async def answer(target: str) -> str:
            return await (await client.request("GET", target)).text()

        assert await answer("/_matrix/policy/v1/sign") == "policy"
        assert await answer("/_matrix/key/v2/server") == "homeserver"
        proxy.routes = (Route("/", homeserver),)
        assert await answer("/_matrix/policy/v1/sign") == "homeserver"
        proxy.routes = ()
        assert (await client.request("GET", "/")).status == 404


async def test_an_upstream_that_is_away_gives_502(certificates: Certificates) -> None:
    (nobody,) = free_ports(1)
    async with proxied(certificates, Route("/", f"http://{LOOPBACK}:{nobody}")) as (_, client):
        response = await client.request("POST", "/_matrix/policy/v1/sign", data=b"{}")
        assert response.status == 502
        assert (await response.json())["errcode"] == "M_UNKNOWN"


async def test_a_body_that_is_too_large_is_not_sent_on(certificates: Certificates) -> None:
    async with (
        upstream(echo) as url,
        proxied(certificates, Route("/", url)) as (_, client),
    ):
        response = await client.request(
            "POST", "/x", headers={"Content-Length": str(51 * 1024 * 1024)}
        )
        assert response.status == 413


async def test_half_an_answer_breaks_the_connection(certificates: Certificates) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"x" * 10)
        assert request.transport is not None
        request.transport.close()
        return response

    async with (
        upstream(handler) as url,
        proxied(certificates, Route("/", url)) as (_, client),
    ):
        with pytest.raises(ClientError):
            await client.request("GET", "/x")


async def test_stopping_ends_requests_that_wait(certificates: Certificates) -> None:
    arrived, ended = asyncio.Event(), asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.Response:
        arrived.set()
        await ended.wait()
        return web.Response()

    async with (
        upstream(handler) as url,
        proxied(certificates, Route("/", url)) as (proxy, client),
    ):
        waiting = asyncio.create_task(client.request("GET", "/x"))
        await arrived.wait()
        await proxy.stop()
        with pytest.raises(ClientError):
            await waiting
        ended.set()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/a/x", "first"),
        ("/ab", "second"),
        ("http://elsewhere.example/a/", None),
        ("*", None),
        ("", None),
    ],
)
def test_upstream_of(target: str, expected: str | None) -> None:
    assert upstream_of(target, [Route("/a/", "first"), Route("/", "second")]) == expected
