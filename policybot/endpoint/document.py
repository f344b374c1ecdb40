"""Documents that anybody may read, and what is in the headers of all answers."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from policybot.protocol.canonical_json import canonical_json
from policybot.protocol.paths import INSTANCE_HEADER

from .exchange import Headers, Request, Response

JSON = ("Content-Type", "application/json")

_CORS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS"),
    ("Access-Control-Allow-Headers", "X-Requested-With, Content-Type, Authorization"),
)

Handler = Callable[[Request], Awaitable[Response]]
Methods = Mapping[str, Handler]
"""The handlers of one path, by method."""


def document(content: Mapping[str, object], instance_id: str) -> Methods:
    """The handlers of a document, which web clients may read."""
    headers = Headers((JSON, (INSTANCE_HEADER, instance_id), *_CORS))
    found = Response(HTTPStatus.OK, headers, canonical_json(content))
    preflight = Response(HTTPStatus.NO_CONTENT, Headers(_CORS))

    async def get(request: Request) -> Response:
        return found

    async def options(request: Request) -> Response:
        return preflight

    return {"GET": get, "HEAD": get, "OPTIONS": options}
