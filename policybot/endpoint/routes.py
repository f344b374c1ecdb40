"""The policy server's HTTP surface: paths in, the use case asked, Matrix JSON out.

Specification: Server-Server API, "Policy Servers"; Client-Server API, "Policy Servers" (well-known
document); MSC4284 for the unstable forms.
"""

import logging
from http import HTTPStatus
from urllib.parse import unquote

from policybot.protocol.canonical_json import canonical_json, checked_canonical_json
from policybot.protocol.paths import (
    HEALTH,
    INSTANCE_HEADER,
    SIGN,
    UNSTABLE_SIGN,
    UNSTABLE_WELL_KNOWN,
    WELL_KNOWN,
)

from .answer import Answer
from .document import JSON, Methods, document
from .errors import MatrixError, UnrecognizedMethod, UnrecognizedPath
from .exchange import MAX_BODY_BYTES, Headers, Request, Response
from .federation_routes import FederationRoutes
from .sign import SignUseCase

VERDICT_HEADER = "Policybot-Verdict"
"""`stored` if the verdict survives the end of the process, else `memory`."""

log = logging.getLogger("policybot.endpoint")


class PolicyRoutes:
    """The answers of one policy server to every path and method.

    ``public_key`` is the policy key under each of its names (unpadded base64), ``instance_id``
    the random ID of this installation. ``federation`` is there for a name of its own, and None
    where a homeserver has the name.
    """

    def __init__(
        self,
        use_case: SignUseCase,
        *,
        public_key: str,
        instance_id: str,
        federation: FederationRoutes | None = None,
    ) -> None:
        self._use_case = use_case
        self._instance = (INSTANCE_HEADER, instance_id)
        self._federation = federation
        self._error_headers = Headers((JSON, self._instance))
        self._stored_headers = Headers((JSON, (VERDICT_HEADER, "stored"), self._instance))
        self._memory_headers = Headers((JSON, (VERDICT_HEADER, "memory"), self._instance))
        self._handlers: dict[str, Methods] = {
            SIGN: {"POST": self._sign},
            UNSTABLE_SIGN: {"POST": self._sign_unstable},
            WELL_KNOWN: document({"public_keys": {"ed25519": public_key}}, instance_id),
            UNSTABLE_WELL_KNOWN: document({"public_key": public_key}, instance_id),
            HEALTH: {"GET": _health, "HEAD": _health},
        }

    async def answer(self, request: Request) -> Response:
        """The answer to a request, whatever it asks for; the one place where errors become
        answers."""
        try:
            path = request.target.partition("?")[0]
            methods = self._handlers.get(path) or self._handlers.get(unquote(path))
            if methods is None and self._federation is not None:
                methods = self._federation.methods(path)
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

    def body_limit(self, target: str) -> int:
        """The most bytes that the body of a request to this target may have."""
        return MAX_BODY_BYTES if self._federation is None else self._federation.body_limit(target)

    def refuse(self, error: MatrixError) -> Response:
        """An error as Matrix JSON."""
        return Response(error.status, self._error_headers, canonical_json(error.to_json()))

    def _wrong_method(self, allowed: str) -> Response:
        error = UnrecognizedMethod("Unrecognized request")
        headers = Headers((JSON, self._instance, ("Allow", allowed)))
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


async def _health(request: Request) -> Response:
    # Never unhealthy for want of homeserver or database: a balancer that takes the endpoint out
    # closes every protected room.
    return Response(HTTPStatus.OK, Headers((("Content-Type", "text/plain"),)), b"ok")
