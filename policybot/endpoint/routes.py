"""The policy server's HTTP surface: paths in, the use case asked, Matrix JSON out.

Specification: Server-Server API, "Policy Servers"; Client-Server API, "Policy Servers" (well-known
document); MSC4284 for the unstable forms.
"""

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from urllib.parse import unquote

from policybot.protocol.canonical_json import canonical_json, checked_canonical_json

from .answer import Answer
from .errors import MatrixError, UnrecognizedMethod, UnrecognizedPath
from .exchange import Headers, Request, Response
from .paths import (
    HEALTH,
    SIGN,
    UNSTABLE_SIGN,
    UNSTABLE_WELL_KNOWN,
    WELL_KNOWN,
)
from .sign import SignUseCase

INSTANCE_HEADER = "Policybot-Instance"
"""Carries the random ID of this installation, by which `enable` knows its own endpoint."""

VERDICT_HEADER = "Policybot-Verdict"
"""`stored` if the verdict survives the end of the process, else `memory`."""

_JSON = ("Content-Type", "application/json")
_CORS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS"),
    ("Access-Control-Allow-Headers", "X-Requested-With, Content-Type, Authorization"),
)

Handler = Callable[[Request], Awaitable[Response]]

log = logging.getLogger("policybot.endpoint")


class PolicyRoutes:
    """The answers of one policy server to every path and method.

    ``public_key`` is the policy key under each of its names (unpadded base64), ``instance_id``
    the random ID of this installation.
    """

    def __init__(self, use_case: SignUseCase, *, public_key: str, instance_id: str) -> None:
        self._use_case = use_case
        self._instance = (INSTANCE_HEADER, instance_id)
        self._error_headers = Headers((_JSON, self._instance))
        self._stored_headers = Headers((_JSON, (VERDICT_HEADER, "stored"), self._instance))
        self._memory_headers = Headers((_JSON, (VERDICT_HEADER, "memory"), self._instance))
        self._handlers: dict[str, dict[str, Handler]] = {
            SIGN: {"POST": self._sign},
            UNSTABLE_SIGN: {"POST": self._sign_unstable},
            WELL_KNOWN: self._document({"public_keys": {"ed25519": public_key}}),
            UNSTABLE_WELL_KNOWN: self._document({"public_key": public_key}),
            HEALTH: {"GET": _health, "HEAD": _health},
        }

    async def answer(self, request: Request) -> Response:
        """The answer to a request, whatever it asks for; the one place where errors become
        answers."""
        try:
            path = request.target.partition("?")[0]
            methods = self._handlers.get(path) or self._handlers.get(unquote(path))
            if methods is None:
                raise UnrecognizedPath("Unrecognized request")
            handler = methods.get(request.method)
            if handler is None:
                return self._wrong_method(", ".join(sorted(methods)))
            return await handler(request)
        except MatrixError as error:
            return self.refuse(error)
        except Exception:
            log.exception("Answering %s %.200r failed.", request.method, request.target)
            return self.refuse(MatrixError("Internal server error"))

    def refuse(self, error: MatrixError) -> Response:
        """An error as Matrix JSON."""
        return Response(error.status, self._error_headers, canonical_json(error.to_json()))

    def _wrong_method(self, allowed: str) -> Response:
        error = UnrecognizedMethod("Unrecognized request")
        headers = Headers((_JSON, self._instance, ("Allow", allowed)))
        return Response(error.status, headers, canonical_json(error.to_json()))

    async def _sign(self, request: Request) -> Response:
        answer = await self._use_case.sign(request)
        if answer.signatures is None:
            refusal = {"errcode": "M_FORBIDDEN", "error": answer.refusal}
            return self._verdict(answer, refusal, HTTPStatus.BAD_REQUEST)
        return self._verdict(answer, answer.signatures)

    async def _sign_unstable(self, request: Request) -> Response:
        answer = await self._use_case.sign(request)
        if answer.signatures is None:
            return self._verdict(answer, {})
        return self._verdict(answer, answer.signatures)

    def _verdict(
        self, answer: Answer, body: object, status: HTTPStatus = HTTPStatus.OK
    ) -> Response:
        headers = self._stored_headers if answer.stored else self._memory_headers
        return Response(status, headers, checked_canonical_json(body))

    def _document(self, document: dict[str, object]) -> dict[str, Handler]:
        """The handlers of a well-known document, which web clients may read."""
        found = Response(
            HTTPStatus.OK, Headers((_JSON, self._instance, *_CORS)), canonical_json(document)
        )
        preflight = Response(HTTPStatus.NO_CONTENT, Headers(_CORS))

        async def get(request: Request) -> Response:
            return found

        async def options(request: Request) -> Response:
            return preflight

        return {"GET": get, "HEAD": get, "OPTIONS": options}


async def _health(request: Request) -> Response:
    # Never unhealthy for want of homeserver or database: a balancer that takes the endpoint out
    # closes every protected room.
    return Response(HTTPStatus.OK, Headers((("Content-Type", "text/plain"),)), b"ok")
