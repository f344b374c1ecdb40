"""One connection of a caller, read by httptools, which is Node.js's parser: a whole web framework
costs several times as much, a fifth of a fresh event's answer.

Only what callers of a policy server need of HTTP/1.1 is here: bodies with a length or in chunks,
kept connections, answers in the order of the requests. All else is refused and the connection
closed.

Specification: RFC 9112.
"""

import asyncio
from collections import deque
from functools import partial
from typing import NamedTuple, Protocol, cast

import httptools

from .body import Body, LargeBodies
from .calling_address import calling_address
from .errors import BadRequest, CodedBody, HeadTooLarge, MatrixError, TooLarge, TooSlow
from .exchange import CODED_BODY, TOO_SLOW, Endpoint, Request
from .http_answer import encoded
from .patience import Patience

MAX_HEAD_BYTES = 32 * 1024
"""Request line and headers together."""

_NEVER = float("inf")
_READ = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"expect",
        b"host",
        b"x-forwarded-for",
    }
)


class Keeper(Protocol):
    """What a connection needs of the server that owns it; ``date`` is the header line."""

    endpoint: Endpoint
    patience: Patience
    large_bodies: LargeBodies
    date: bytes

    def opened(self, connection: "Connection") -> None:
        """A connection was made."""
        ...

    def closed(self, connection: "Connection") -> None:
        """A connection has ended."""
        ...


class _Received(NamedTuple):
    """A request, or the error that stands for one that cannot be read; whether the connection is
    kept after it; and its body."""

    request: Request | MatrixError
    keep: bool
    body: Body


class Connection(asyncio.Protocol):
    """Reads requests, has them answered one after the other, and writes the answers.

    ``deadline`` (in the loop's clock) is when it has taken too long; its owner looks at it and
    calls `overdue`. ``task`` is the answering that is under way.
    """

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self.deadline = _NEVER
        self.task: asyncio.Task[None] | None = None
        # What came before the last request was answered.
        self._waiting: deque[_Received] = deque()
        self._body = self._no_body = Body(self._body_limit, keeper.large_bodies)
        self._closing = False
        self._deaf = False
        self._choked = False
        self._receiving = False

    # -- the transport's side --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The caller is connected."""
        # uvloop's transports do not inherit from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        self._set_deadline()
        self._keeper.opened(self)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection has ended; a request under way goes on, since others may wait for it."""
        for received in self._waiting:
            received.body.release()
        self._waiting.clear()
        self._body.release()
        self._keeper.closed(self)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self._deaf:
            return
        goes_on = self._receiving and self._in_head
        try:
            self._parser.feed_data(data)
            if goes_on and self._in_head:
                self._count(len(data))
        except MatrixError as error:
            self._refuse(error)
        except httptools.HttpParserError as error:
            cause = error.__context__
            if not isinstance(cause, MatrixError):
                cause = BadRequest("The request is not valid HTTP/1.1.")
            self._refuse(cause)

    def eof_received(self) -> bool:
        """The caller sends no more; True keeps the connection open for an answer."""
        self._closing = True
        return self.task is not None and self._transport.can_write_eof()  # never with TLS

    def pause_writing(self) -> None:
        """The caller takes his answers too slowly."""
        # Who does not read answers gets no more of them.
        self._choked = True
        self._transport.pause_reading()
        self._set_deadline()

    def resume_writing(self) -> None:
        """The caller has taken what waited."""
        self._choked = False
        self._go_on()

    # -- the parser's side -----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._receiving = self._in_head = True
        self._head_bytes = 0
        self._target = b""
        self._body = Body(self._body_limit, self._keeper.large_bodies)
        self._authorization: list[str] = []
        self._forwarded: list[str] = []
        self._host = ""
        self._expects = False
        if self.task is None:
            self._set_deadline()

    def on_url(self, part: bytes) -> None:
        """A part of the request target."""
        self._count(len(part))
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer after a body in chunks."""
        self._count(len(name) + len(value))
        name = name.lower()
        if name not in _READ or not self._in_head:  # after the body it is a trailer
            return
        if name == b"authorization":
            self._authorization.append(value.decode("latin-1"))
        elif name == b"x-forwarded-for":
            self._forwarded.append(value.decode("latin-1"))
        elif name == b"host":
            self._host = value.decode("latin-1")
        elif name == b"content-length":
            if len(value) > 10:
                raise TooLarge("The request body is too large.")
            self._body.announce(int(value))
        elif name == b"content-encoding":
            if value.lower() != b"identity":
                raise CodedBody(CODED_BODY)
        else:
            self._expects = value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._in_head = False
        if self._parser.should_upgrade():
            raise BadRequest("Only plain HTTP/1.1 is spoken here.")
        if self._expects and self.task is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, part: bytes) -> None:
        """A part of the body."""
        self._body.add(part)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._receiving = False
        request = Request(
            method=self._parser.get_method().decode("ascii"),
            target=self._target.decode("latin-1"),
            authorization=self._authorization,
            body=self._body.complete(),
            address=partial(calling_address, self._peer, self._forwarded),
            host=self._host,
        )
        body, self._body = self._body, self._no_body
        self._take(_Received(request, self._parser.should_keep_alive(), body))

    def _body_limit(self) -> int:
        return self._keeper.endpoint.body_limit(self._target.decode("latin-1"))

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            raise HeadTooLarge(f"The request's head is larger than {MAX_HEAD_BYTES} bytes.")

    # -- answering -------------------------------------------------------------------------------

    def _refuse(self, error: MatrixError) -> None:
        """Answer what cannot be read, and read no more."""
        self._deaf = True
        self._receiving = False
        self._body.release()
        self._take(_Received(error, False, self._body))

    def _take(self, received: _Received) -> None:
        if self.task is not None:
            self._waiting.append(received)
            self._transport.pause_reading()
            return
        self.deadline = _NEVER
        self.task = self._loop.create_task(self._serve(received))

    async def _serve(self, received: _Received) -> None:
        endpoint = self._keeper.endpoint
        while True:
            request, keep, body = received
            if isinstance(request, MatrixError):
                response = endpoint.refuse(request)
            else:
                try:
                    response = await endpoint.answer(request)
                finally:
                    body.release()
            keep = keep and not (self._closing and not self._waiting)
            if self._transport.is_closing():
                break
            head_only = isinstance(request, Request) and request.method == "HEAD"
            self._transport.write(
                encoded(response, self._keeper.date, keep=keep, without_body=head_only)
            )
            if not keep or not self._waiting:
                break
            received = self._waiting.popleft()
        self.task = None
        if keep:
            self._go_on()
        else:
            self._end()

    def _go_on(self) -> None:
        self._set_deadline()
        if self._transport.is_closing() or self._choked or self._waiting:
            return
        self._transport.resume_reading()

    def _end(self) -> None:
        if self._deaf and not self._transport.is_closing():
            # Closed with bytes unread, the connection would be reset and the answer lost.
            if self._transport.can_write_eof():
                self._transport.write_eof()
            self._transport.resume_reading()
            self._set_deadline()
        else:
            self._transport.close()

    # -- the owner's side ------------------------------------------------------------------------

    def _set_deadline(self) -> None:
        patience = self._keeper.patience
        if self._deaf:
            seconds = patience.end
        elif self._choked:
            seconds = patience.answer
        elif self._receiving:
            seconds = patience.request
        else:
            seconds = patience.idle
        self.deadline = self._loop.time() + seconds

    @property
    def idle(self) -> bool:
        """Whether no request is under way or on its way."""
        return self.task is None and not self._receiving

    def overdue(self) -> None:
        """End the connection: it has taken too long."""
        if self._receiving and not self._choked:
            self._refuse(TooSlow(TOO_SLOW))
        elif self.idle and not self._choked and not self._deaf:
            self._transport.close()
        else:
            self._transport.abort()

    def close_soon(self) -> None:
        """End the connection after the request that is under way or on its way."""
        self._closing = True
        if self.idle:
            self._transport.close()

    def abort(self) -> None:
        """End the connection now."""
        self._transport.abort()
