"""The endpoint as an aiohttp application: for a web server that is given to us, and for a listener
of our own where httptools is not installed."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import hdrs, web
from multidict import CIMultiDict

from .body import IN_PROCESS, Body, LargeBodies
from .calling_address import calling_address
from .errors import CodedBody, MatrixError, NotJson, TooSlow
from .exchange import CODED_BODY, SHUTDOWN_S, TOO_SLOW, Endpoint, Request
from .handshake import Handshakes

REQUEST_S = 10.0
IDLE_S = 75.0  # a reverse proxy keeps its connections for about a minute

ANY_PATH = "/{path:.*}"
"""The route, for every method, of a `handler_of` an endpoint."""


def handler_of(
    endpoint: Endpoint, *, request_s: float = REQUEST_S, large_bodies: LargeBodies = IN_PROCESS
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """An aiohttp handler that hands every request to the endpoint. ``request_s`` is how long a
    body may take, in seconds."""

    async def handle(received: web.Request) -> web.Response:
        body = Body(lambda: endpoint.body_limit(received.raw_path), large_bodies)
        try:
            return await answer(received, body)
        finally:
            body.release()

    async def answer(received: web.Request, body: Body) -> web.Response:
        try:
            request = Request(
                method=received.method,
                target=received.raw_path,
                authorization=received.headers.getall(hdrs.AUTHORIZATION, ()),
                body=await _read_in_time(received, body, request_s),
                address=partial(
                    calling_address,
                    received.remote or "",
                    received.headers.getall(hdrs.X_FORWARDED_FOR, ()),
                ),
                host=received.headers.get(hdrs.HOST, ""),
            )
        except MatrixError as error:
            response = endpoint.refuse(error)
        except ConnectionResetError:
            raise web.HTTPBadRequest from None  # nobody is there to read it
        else:
            response = await endpoint.answer(request)
        return web.Response(
            status=response.status,
            headers=CIMultiDict(response.headers.pairs),
            body=response.body,
        )

    return handle


def application(
    endpoint: Endpoint, *, request_s: float = REQUEST_S, large_bodies: LargeBodies = IN_PROCESS
) -> web.Application:
    """An application that hands every request to the endpoint, see `handler_of`."""
    app = web.Application()
    handler = handler_of(endpoint, request_s=request_s, large_bodies=large_bodies)
    app.router.add_route("*", ANY_PATH, handler)
    return app


class WebServer:
    """aiohttp's server for the application of an endpoint.

    In seconds: ``shutdown_s`` is how long requests under way may take at the end, ``request_s``
    how long a body may take, ``idle_s`` how long nothing or only a part of a head may come.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        shutdown_s: float = SHUTDOWN_S,
        request_s: float = REQUEST_S,
        idle_s: float = IDLE_S,
        large_bodies: LargeBodies = IN_PROCESS,
    ) -> None:
        self._runner = web.AppRunner(
            application(endpoint, request_s=request_s, large_bodies=large_bodies),
            keepalive_timeout=idle_s,
            lingering_time=request_s,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=shutdown_s,
        )
        self._server: asyncio.Server | None = None
        self.handshakes = Handshakes(self._protocol)

    def _protocol(self) -> asyncio.Protocol:
        assert self._runner.server is not None
        return self._runner.server()

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Open the listener; the address it has.

        Raises:
            OSError: the address is in use or not ours.
        """
        await self._runner.setup()
        try:
            self._server = await asyncio.get_running_loop().create_server(
                self.handshakes.protocol, host, port, backlog=1024
            )
        except OSError:
            await self._runner.cleanup()
            raise
        address = self._server.sockets[0].getsockname()
        return address[0], address[1]

    async def stop(self) -> None:
        """Close the listener after the requests under way."""
        if self._server is None:
            return
        self._server.close()
        await self.handshakes.stop()
        await self._runner.cleanup()
        await self._server.wait_closed()
        self._server = None


async def _read_in_time(request: web.Request, body: Body, request_s: float) -> bytes:
    try:
        async with asyncio.timeout(request_s):
            return await _read(request, body)
    except TimeoutError:
        raise TooSlow(TOO_SLOW) from None


async def _read(request: web.Request, body: Body) -> bytes:
    """The body, refused as soon as it is known to be too large.

    The limit is ours because maubot's web server allows 100 MiB.
    """
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity") != "identity":
        raise CodedBody(CODED_BODY)
    if request.content_length is not None:
        body.announce(request.content_length)
    content = request.content
    try:
        body.add(await content.readany())  # mostly all of it
        while not content.at_eof():
            body.add(await content.readany())
    except web.RequestPayloadError:
        raise NotJson("The request body cannot be read.") from None
    return body.complete()
