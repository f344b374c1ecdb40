"""A small TLS reverse proxy, in the place where an operator has nginx or Caddy.

It hands on the request target exactly as it came: other homeservers sign the percent-encoded form,
so a proxy that decodes it makes every signature invalid.
"""

import ssl
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from aiohttp import (
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
    web,
)
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from .ports import LOOPBACK

_MAX_BODY = 50 * 1024 * 1024
_CHUNK = 65536
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_FORWARDED = frozenset({"forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"})
_Answer = AbstractAsyncContextManager[ClientResponse]
# Headers that aiohttp's client would add by itself.
_NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


@dataclass(frozen=True, slots=True)
class Route:
    """Requests whose raw path starts with ``prefix`` go to ``upstream``, a URL without path."""

    prefix: str
    upstream: str


class ReverseProxy:
    """A reverse proxy with TLS on a free port of loopback.

    ``routes`` is a value that may be replaced at any time; the first route that fits is taken.
    """

    def __init__(self, tls: ssl.SSLContext, routes: Iterable[Route] = ()) -> None:
        self.routes: tuple[Route, ...] = tuple(routes)
        self._tls = tls
        self._port: int | None = None
        self._session: ClientSession | None = None
        self._runner: web.ServerRunner | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._port is None:
            raise RuntimeError("the proxy does not run")
        return self._port

    async def start(self, port: int = 0) -> None:
        """Listen on ``port`` of 127.0.0.1; 0 = a free one."""
        self._session = ClientSession(
            connector=TCPConnector(limit=0),
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=None, sock_connect=5, sock_read=120),
            auto_decompress=False,
            trust_env=False,
        )
        # A homeserver long polls for up to half a minute: a client that went away ends that.
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.5)
        try:
            await self._runner.setup()
            await web.TCPSite(self._runner, LOOPBACK, port, ssl_context=self._tls).start()
        except BaseException:
            await self.stop()
            raise
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the listener and every connection that is open."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._session is not None:
            await self._session.close()
            self._session = None
        self._port = None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        upstream = upstream_of(request.raw_path, self.routes)
        if upstream is None:
            return _error(404, "M_UNRECOGNIZED", "The proxy has no route for this path")
        if (request.content_length or 0) > _MAX_BODY:
            return _error(413, "M_TOO_LARGE", "The request is too large for the proxy")
        response: web.StreamResponse | None = None
        try:
            async with self._forward(request, upstream) as answer:
                response = web.StreamResponse(
                    status=answer.status, reason=answer.reason, headers=_end_to_end(answer.headers)
                )
                await response.prepare(request)
                async for chunk in answer.content.iter_chunked(_CHUNK):
                    await response.write(chunk)
                await response.write_eof()
                return response
        except (ClientError, OSError) as error:
            if response is None:
                return _error(502, "M_UNKNOWN", f"The proxy cannot reach {upstream}: {error}")
            # Half an answer was sent: only a broken connection tells the client so.
            if request.transport is not None:
                request.transport.abort()
            return response

    def _forward(self, request: web.BaseRequest, upstream: str) -> _Answer:
        assert self._session is not None
        headers = _end_to_end(request.headers)
        for name in _FORWARDED:
            headers.popall(name, None)
        headers["X-Forwarded-For"] = request.remote or LOOPBACK
        headers["X-Forwarded-Proto"] = "https"
        return self._session.request(
            request.method,
            URL(upstream + request.raw_path, encoded=True),
            headers=headers,
            data=request.content if request.body_exists else None,
            skip_auto_headers=_NOT_ADDED,
            allow_redirects=False,
        )


def upstream_of(target: str, routes: Sequence[Route]) -> str | None:
    """The upstream of the first route whose prefix the raw request target starts with."""
    if not target.startswith("/"):
        return None
    return next((route.upstream for route in routes if target.startswith(route.prefix)), None)


def _end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """A copy of the headers without those that are about one connection only."""
    return CIMultiDict(
        (name, value) for name, value in headers.items() if name.lower() not in _HOP_BY_HOP
    )


def _error(status: int, errcode: str, text: str) -> web.Response:
    return web.json_response({"errcode": errcode, "error": text}, status=status)
