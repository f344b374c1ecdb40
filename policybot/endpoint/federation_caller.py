"""Requests that only servers may make: read, and known to come from the server they name.

Specification: Server-Server API, "Request Authentication".
"""

from collections.abc import Callable
from typing import NamedTuple

from policybot.protocol.canonical_json import ParsedJson

from .caller import CallerCheck, RequestKeys
from .deadline import Deadline
from .errors import TooLarge
from .exchange import MAX_BODY_BYTES, Request
from .json_body import json_object

KEYS_S = 4.0
"""How long a request may wait for keys in all, in seconds."""

_NO_BODY = ParsedJson(None, True, 0)


class Authentic(NamedTuple):
    """Who asks, what the body holds (an object; None of a GET without one), and how long may still
    be waited."""

    origin: str
    body: ParsedJson
    deadline: Deadline


class FederationCaller:
    """Reads requests to a server by one of its ``names``."""

    def __init__(self, names: frozenset[str], keys: RequestKeys, clock: Callable[[], int]) -> None:
        self._check = CallerCheck(names, keys, clock)

    async def read(self, request: Request) -> Authentic:
        """Read a request.

        Raises:
            MatrixError: it is not signed by the server that it names, or the body is no object.
        """
        headers = self._check.headers(request)
        deadline = Deadline(KEYS_S, request.address)
        # First, so that what a body holds, which takes more memory than its text, need not wait.
        await self._check.require_key(headers, deadline)
        body = _NO_BODY if request.method == "GET" and not request.body else _read(request.body)
        await self._check.authenticate(request, headers, body, deadline)
        return Authentic(headers[0].origin, body, deadline)


def _read(body: bytes) -> ParsedJson:
    # A large body may have no more parts than a small one could: reading them takes the time, and
    # what is asked at `/sign` waits meanwhile.
    if len(body) > MAX_BODY_BYTES and sum(map(body.count, b",[{")) > MAX_BODY_BYTES:
        raise TooLarge("The request body has too many parts.")
    return json_object(body)
