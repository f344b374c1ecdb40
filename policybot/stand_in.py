"""The endpoint for the moment of a check: it answers what `policybot check` asks, decides about
nothing, and takes nothing in."""

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from .config import ListenConfig
from .endpoint.document import JSON
from .endpoint.errors import BadJson, MatrixError, Unauthorized, UnrecognizedPath
from .endpoint.exchange import MAX_BODY_BYTES, Headers, Request, Response
from .endpoint.federation_routes import FederationRoutes
from .listening import listener_for
from .protocol.canonical_json import canonical_json
from .protocol.paths import INSTANCE_HEADER, SIGN, UNSTABLE_SIGN, UNSTABLE_WELL_KNOWN, WELL_KNOWN
from .protocol.signing import VerifyKey


class Nobody:
    """Knows no key of another server, wants no invitation, and needs no hint."""

    def lookup(self, server: str, key_id: str, now_ms: int) -> VerifyKey | None:
        """No key for a request."""

    def event_key(
        self, server: str, key_id: str, origin_server_ts: int, strict: bool
    ) -> VerifyKey | None:
        """No key for an event."""

    async def fetch(self, server: str, key_id: str, timeout_s: float, address: str) -> None:
        """Fetch nothing."""

    def wanted(self, room_id: str, sender: str) -> bool:
        """Take no invitation."""
        return False

    def accepted(self, room_id: str) -> None:
        """Nothing is accepted."""

    def hint(self, room_id: str) -> None:
        """Read nothing again."""


class StandIn:
    """Answers the questions of a check as the endpoint would; ``federation`` is for a name of our
    own."""

    def __init__(self, instance_id: str, federation: FederationRoutes | None) -> None:
        self._headers = Headers((JSON, (INSTANCE_HEADER, instance_id)))
        self._federation = federation

    async def answer(self, request: Request) -> Response:
        """The answer to a request."""
        path = request.target.partition("?")[0]
        if path in (WELL_KNOWN, UNSTABLE_WELL_KNOWN):
            return Response(HTTPStatus.OK, self._headers, b"{}")
        if path in (SIGN, UNSTABLE_SIGN):
            # Never 404: somebody may ask who means it, and would take that for an answer.
            error = BadJson if request.authorization else Unauthorized
            return self.refuse(error("This is only a check."))
        handlers = self._federation.methods(path) if self._federation is not None else None
        handler = (handlers or {}).get(request.method)
        if handler is None:
            return self.refuse(UnrecognizedPath("This is only a check."))
        try:
            return await handler(request)
        except MatrixError as fault:
            return self.refuse(fault)

    def body_limit(self, target: str) -> int:
        """The most bytes that the body of a request to this target may have."""
        return MAX_BODY_BYTES

    def refuse(self, error: MatrixError) -> Response:
        """An error as Matrix JSON."""
        return Response(error.status, self._headers, canonical_json(error.to_json()))


@asynccontextmanager
async def answering(stand_in: StandIn, listen: ListenConfig) -> AsyncIterator[list[str]]:
    """Answer in place of policybot, unless something listens there already; gives what is wrong
    with the certificate.

    Raises:
        OSError: the address cannot be used.
        CertificateUnusable: the certificate cannot be used.
    """
    listener = listener_for(stand_in, listen)
    try:
        await listener.start()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        yield listener.faults()  # most likely by policybot itself; if not, the probe tells
        return
    try:
        yield listener.faults()
    finally:
        await listener.stop()
