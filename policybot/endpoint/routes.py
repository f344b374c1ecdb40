"""The policy server's HTTP surface: paths in, the use case asked, Matrix JSON out.

Specification: Server-Server API, "Policy Servers"; Client-Server API, "Policy Servers" (well-known
document); MSC4284 for the unstable forms.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from aiohttp.typedefs import Middleware
from multidict import CIMultiDict

from policybot.protocol.canonical_json import checked_canonical_json

from .caller import SignRequest
from .errors import MatrixError, NotJson, TooLarge, UnrecognizedMethod, UnrecognizedPath
from .paths import (
    HEALTH,
    SIGN,
    UNSTABLE_SIGN,
    UNSTABLE_WELL_KNOWN,
    WELL_KNOWN,
)
from .sign import MAX_BODY_BYTES, Answer, SignUseCase

INSTANCE_HEADER = "Policybot-Instance"
"""Carries the random ID of this installation, by which `enable` knows its own endpoint."""

VERDICT_HEADER = "Policybot-Verdict"
"""`stored` if the verdict survives the end of the process, else `memory`."""

CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "X-Requested-With, Content-Type, Authorization",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger("policybot.endpoint")


class PolicyRoutes:
    """The request handlers of one policy server.

    ``name`` is the server name that signs, ``public_key`` its policy key (unpadded base64),
    ``instance_id`` the random ID of this installation.
    """

    def __init__(
        self, use_case: SignUseCase, *, name: str, public_key: str, instance_id: str
    ) -> None:
        self._use_case = use_case
        self._name = name
        self._public_key = public_key
        self._instance_id = instance_id
        self._stored_headers = self._verdict_headers("stored")
        self._memory_headers = self._verdict_headers("memory")

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """The route definitions, for an application of our own or for maubot's."""
        return [
            web.post(SIGN, self._sign),
            web.post(UNSTABLE_SIGN, self._sign_unstable),
            web.get(WELL_KNOWN, self._well_known),
            web.options(WELL_KNOWN, self._preflight),
            web.get(UNSTABLE_WELL_KNOWN, self._well_known_unstable),
            web.options(UNSTABLE_WELL_KNOWN, self._preflight),
            web.get(HEALTH, self._health),
        ]

    def middleware(self) -> Middleware:
        """The one place where an error becomes an answer, also for paths that do not exist."""

        @web.middleware
        async def matrix_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                return await handler(request)
            except MatrixError as error:
                return self._error(error)
            except web.HTTPNotFound:
                return self._error(UnrecognizedPath("Unrecognized request"))
            except web.HTTPMethodNotAllowed as error:
                response = self._error(UnrecognizedMethod("Unrecognized request"))
                response.headers["Allow"] = error.headers["Allow"]
                return response
            except web.HTTPRequestEntityTooLarge:
                return self._error(_too_large())
            except ConnectionResetError:
                raise
            except Exception:
                log.exception("Answering %s %s failed.", request.method, request.rel_url.raw_path)
                return self._error(MatrixError("Internal server error"))

        return matrix_errors

    async def _sign(self, request: web.Request) -> web.Response:
        answer = await self._ask(request)
        if answer.signatures is None:
            return self._verdict(
                {"errcode": "M_FORBIDDEN", "error": answer.refusal}, 400, answer.stored
            )
        return self._verdict({self._name: answer.signatures}, 200, answer.stored)

    async def _sign_unstable(self, request: web.Request) -> web.Response:
        answer = await self._ask(request)
        if answer.signatures is None:
            return self._verdict({}, 200, answer.stored)
        return self._verdict({self._name: answer.signatures}, 200, answer.stored)

    async def _ask(self, request: web.Request) -> Answer:
        body = await _read(request)
        return await self._use_case.sign(
            SignRequest(
                method=request.method,
                uri=request.raw_path,
                authorization=request.headers.getall("Authorization", ()),
                body=body,
            )
        )

    def _verdict_headers(self, kept: str) -> CIMultiDict[str]:
        return CIMultiDict(
            {
                "Content-Type": "application/json",
                VERDICT_HEADER: kept,
                INSTANCE_HEADER: self._instance_id,
            }
        )

    def _verdict(self, body: object, status: int, stored: bool) -> web.Response:
        return web.Response(
            body=checked_canonical_json(body),
            status=status,
            headers=self._stored_headers if stored else self._memory_headers,
        )

    def _error(self, error: MatrixError) -> web.Response:
        return web.json_response(
            error.to_json(),
            status=error.status,
            headers={INSTANCE_HEADER: self._instance_id},
        )

    async def _well_known(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"public_keys": {"ed25519": self._public_key}}, headers=CORS_HEADERS
        )

    async def _well_known_unstable(self, request: web.Request) -> web.Response:
        return web.json_response({"public_key": self._public_key}, headers=CORS_HEADERS)

    async def _preflight(self, request: web.Request) -> web.Response:
        return web.Response(status=204, headers=CORS_HEADERS)

    async def _health(self, request: web.Request) -> web.Response:
        # Never unhealthy for want of homeserver or database: a balancer that takes the endpoint
        # out closes every protected room.
        return web.Response(text="ok")


async def _read(request: web.Request) -> bytes:
    """The body, refused as soon as it is known to be too large.

    The limit is ours because maubot's web server allows 100 MiB.
    """
    if request.content_length is not None and request.content_length > MAX_BODY_BYTES:
        raise _too_large()
    content = request.content
    try:
        body = await content.readany()  # mostly all of it
        while len(body) <= MAX_BODY_BYTES and not content.at_eof():
            body += await content.readany()
    except web.RequestPayloadError:
        raise NotJson("The request body cannot be read.") from None
    if len(body) > MAX_BODY_BYTES:
        raise _too_large()
    return body


def _too_large() -> TooLarge:
    return TooLarge(f"The request body is larger than {MAX_BODY_BYTES} bytes.")
