"""Who asks: the request's X-Matrix signature, checked with the key of the calling server.

Specification: Server-Server API, "Request Authentication".
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from policybot.protocol.canonical_json import InvalidJson, ParsedJson
from policybot.protocol.signing import VerifyKey
from policybot.protocol.xmatrix import (
    InvalidAuthorization,
    XMatrix,
    parse_authorization,
    request_bytes,
)

from .deadline import Deadline
from .errors import BadJson, Unauthorized
from .exchange import Request


class RequestKeys(Protocol):
    """Keys with which other servers sign requests: from memory, and fetched into it."""

    def lookup(self, server: str, key_id: str, now_ms: int) -> VerifyKey | None: ...

    async def fetch(self, server: str, key_id: str, timeout_s: float, address: str) -> None: ...


class CallerCheck:
    """Checks that a request comes from the server it names, and is meant for one of ``names``."""

    def __init__(self, names: frozenset[str], keys: RequestKeys, clock: Callable[[], int]) -> None:
        self._names = names
        self._keys = keys
        self._clock = clock

    def headers(self, request: Request) -> tuple[XMatrix, ...]:
        """The request's X-Matrix headers, at least one, all of one origin; not verified.

        Raises:
            Unauthorized: there is none, one is malformed, or another server is meant.
        """
        try:
            headers = parse_authorization(request.authorization)
        except InvalidAuthorization as error:
            raise Unauthorized(str(error)) from None
        destination = headers[0].destination
        if destination is not None and destination not in self._names:
            names = " or ".join(sorted(self._names))
            raise Unauthorized(f"The request is meant for another server than {names}.")
        return headers

    async def require_key(self, headers: Sequence[XMatrix], deadline: Deadline) -> None:
        """Have a key of the calling server at hand, waiting for it if need be.

        Raises:
            Unauthorized: there is none.
        """
        if self._has_key(headers):
            return
        first = headers[0]
        await self._keys.fetch(first.origin, first.key_id, deadline.left(), deadline.address())
        if not self._has_key(headers):
            raise _no_key(first.origin)

    def _has_key(self, headers: Sequence[XMatrix]) -> bool:
        now = self._clock()
        return any(self._keys.lookup(head.origin, head.key_id, now) for head in headers)

    async def authenticate(
        self,
        request: Request,
        headers: Sequence[XMatrix],
        body: ParsedJson,
        deadline: Deadline,
    ) -> None:
        """Check the headers, waiting for a key that is not known.

        Raises:
            Unauthorized: none of them is signed with a current key of the calling server.
        """
        first = headers[0]
        try:
            message = request_bytes(
                request.method,
                request.target,
                first.origin,
                first.destination,
                body.value,
                strict=body.strict,
            )
        except InvalidJson as error:
            raise BadJson(str(error)) from None
        unknown = self._verify(headers, message)
        if unknown:
            await self._keys.fetch(
                first.origin, unknown[0].key_id, deadline.left(), deadline.address()
            )
            unknown = self._verify(unknown, message)
        if unknown is None:
            return
        if unknown:
            raise _no_key(first.origin)
        raise Unauthorized(f"The request is not signed by the key of {first.origin}.")

    def _verify(self, headers: Sequence[XMatrix], message: bytes) -> list[XMatrix] | None:
        """None if one header verifies, else those whose key is not known."""
        unknown = []
        now = self._clock()
        for header in headers:
            key = self._keys.lookup(header.origin, header.key_id, now)
            if key is None:
                unknown.append(header)
            elif key.verify(message, header.signature):
                return None
        return unknown


def _no_key(origin: str) -> Unauthorized:
    return Unauthorized(f"The key of {origin} could not be fetched or has expired.")
