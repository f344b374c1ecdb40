import asyncio
import zlib
from pathlib import Path

import pytest
from aiohttp import web

from policybot.federation.client import (
    HttpClient,
    RequestFailed,
    RequestTimedOut,
    ResponseTooLarge,
)

from .authority import Authority
from .servers import Addresses, serving


async def test_json_goes_out_and_comes_back(
    client: HttpClient, authority: Authority, addresses: Addresses
) -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.json_response(
            {"host": request.host, "path": request.raw_path, "body": await request.json()},
            status=202,
            headers={"X-Extra": "yes"},
        )

    app = web.Application()
    app.router.add_post("/{path:.*}", echo)
    async with serving(app, authority.server_context("a.example")) as port:
        addresses.ports["a.example", 443] = port
        response = await client.post_json(
            "https://a.example/%40x%2Fy?q=%20",
            {"é": 1},
            headers={"Host": "b.example"},
            server_hostname="a.example",
        )
    assert response.status == 202
    assert response.headers["x-extra"] == "yes"
    assert response.json == {"host": "b.example", "path": "/%40x%2Fy?q=%20", "body": {"é": 1}}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", None),
        (b"<html>no</html>", None),
        (b'{"a": NaN}', None),
        (b'"\xff"', None),
        (b"[" * 5000, None),
        (b'{"a":[1]}', {"a": [1]}),
    ],
)
async def test_a_body_that_is_no_json_is_none(
    client: HttpClient, body: bytes, expected: object
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", answer)
    async with serving(app) as port:
        response = await client.get_json(f"http://127.0.0.1:{port}/")
    assert (response.status, response.json) == (200, expected)


async def test_redirects_are_handed_back_and_cookies_forgotten(client: HttpClient) -> None:
    cookies = []

    async def answer(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("Cookie"))
        return web.Response(status=302, headers={"Location": "/b", "Set-Cookie": "a=b"})

    app = web.Application()
    app.router.add_get("/", answer)
    async with serving(app) as port:
        for _ in range(2):
            response = await client.get_json(f"http://127.0.0.1:{port}/")
            assert (response.status, response.headers["Location"]) == (302, "/b")
    assert cookies == [None, None]


async def test_too_much_is_refused(client: HttpClient) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 4096)

    app = web.Application()
    app.router.add_get("/", endless)
    async with serving(app) as port:
        with pytest.raises(ResponseTooLarge, match="more than 10,000 bytes"):
            await client.get_json(f"http://127.0.0.1:{port}/", limit=10_000)


async def test_an_answer_that_never_ends_is_given_up(client: HttpClient) -> None:
    over = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"{")
        await over.wait()
        return response

    app = web.Application()
    app.router.add_get("/", slow)
    async with serving(app) as port:
        with pytest.raises(RequestTimedOut, match=r"127.0.0.1:\d+ did not answer within 0.05 s"):
            await client.get_json(f"http://127.0.0.1:{port}/", timeout_s=0.05)
        over.set()


async def test_faults_are_told_in_words(
    client: HttpClient, authority: Authority, addresses: Addresses
) -> None:
    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-what\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def fault(url: str) -> str:
        with pytest.raises(RequestFailed) as caught:
            await client.get_json(url)
        return str(caught.value)

    app = web.Application()
    app.router.add_get("/", hang_up)
    async with serving(app) as port:
        closed_port = port
        assert (
            await fault(f"http://127.0.0.1:{port}/")
            == f"127.0.0.1:{port} closed the connection without an answer"
        )
        assert "could not agree on TLS" in await fault(f"https://127.0.0.1:{port}/")
    assert "refuses the connection" in await fault(f"http://127.0.0.1:{closed_port}/")
    assert await fault("https://b.example/") == "b.example:443: this name has no address in DNS"

    async with serving(app, authority.server_context("other.example")) as port:
        addresses.ports["a.example", 443] = port
        assert "TLS certificate of a.example:443 is not good" in await fault("https://a.example/")

    server = await asyncio.start_server(garbage, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert "not good HTTP" in await fault(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    "url", ["", "nonsense", "https://", "https://[::1", "https://a.example:99999/", "ftp://a/"]
)
async def test_what_is_no_address_is_told(client: HttpClient, url: str) -> None:
    with pytest.raises(RequestFailed):
        await client.get_json(url)


async def test_a_private_authority_is_not_trusted_by_default(authority: Authority) -> None:
    async with serving(web.Application(), authority.server_context("127.0.0.1")) as port:
        async with HttpClient() as client:
            with pytest.raises(RequestFailed, match="TLS certificate"):
                await client.get_json(f"https://127.0.0.1:{port}/")


async def test_an_authority_named_in_the_environment_is_trusted(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_text(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with serving(web.Application(), authority.server_context("127.0.0.1")) as port:
        async with HttpClient() as client:
            response = await client.get_json(f"https://127.0.0.1:{port}/")
    assert response.status == 404


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_what_is_compressed_unasked_is_not_unpacked(
    client: HttpClient, encoding: str
) -> None:
    asked = []

    async def bomb(request: web.Request) -> web.Response:
        asked.append(request.headers["Accept-Encoding"])
        body = zlib.compress(b" " * 20_000_000 + b"{}", wbits=31 if encoding == "gzip" else 15)
        return web.Response(body=body, headers={"Content-Encoding": encoding})

    app = web.Application()
    app.router.add_get("/", bomb)
    async with serving(app) as port:
        response = await client.get_json(f"http://127.0.0.1:{port}/")
        assert response.json is None
        assert asked == ["identity"]
