"""A gate before an endpoint, so that another can take its place without a request being lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

from policybot.protocol.canonical_json import canonical_json

from .errors import MatrixError
from .exchange import MAX_BODY_BYTES, Endpoint, Headers, Request, Response

_HEADERS = Headers((("Content-Type", "application/json"),))


class NotReady(MatrixError):
    """There is no endpoint at the moment. Never 404, which callers take for an answer."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


class Gate:
    """An endpoint that hands every request to ``leads_to``.

    While it is closed requests wait, each for at most ``patience_s`` seconds.
    """

    def __init__(self, *, patience_s: float = 10.0) -> None:
        self.leads_to: Endpoint | None = None
        self._patience_s = patience_s
        self._open = asyncio.Event()
        self._open.set()
        self._under_way = 0
        self._empty = asyncio.Event()
        self._empty.set()

    async def answer(self, request: Request) -> Response:
        """The endpoint's answer, once the gate is open."""
        if not self._open.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience_s):
                    await self._open.wait()
        endpoint = self.leads_to
        if endpoint is None or not self._open.is_set():
            return self.refuse(NotReady("The policy server is not ready; ask again"))
        self._under_way += 1
        self._empty.clear()
        try:
            return await endpoint.answer(request)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._empty.set()

    def body_limit(self, target: str) -> int:
        """The most bytes that the body of a request to this target may have."""
        return MAX_BODY_BYTES if self.leads_to is None else self.leads_to.body_limit(target)

    def refuse(self, error: MatrixError) -> Response:
        """The answer to what could not be read as a request."""
        if self.leads_to is not None:
            return self.leads_to.refuse(error)
        return Response(error.status, _HEADERS, canonical_json(error.to_json()))

    @asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        """Keep the gate closed; inside, no request is under way (if they end in time)."""
        self._open.clear()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience_s):
                    await self._empty.wait()
            yield
        finally:
            self._open.set()
