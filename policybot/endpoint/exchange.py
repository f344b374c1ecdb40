"""One HTTP exchange in the form that every web server can carry: values in, values out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import NamedTuple, Protocol

from .errors import MatrixError

MAX_BODY_BYTES = 96 * 1024
"""An event has at most 64 KiB; the rest is room for `unsigned` and white space. Larger bodies are
taken only where the endpoint says so."""

SHUTDOWN_S = 10.0
"""How long requests under way may take when a server stops, in seconds."""

TOO_SLOW = "The request did not arrive in time."
CODED_BODY = "The request body must not be compressed."


class Request(NamedTuple):
    """What a caller sent. ``target`` is the request target exactly as sent, since the caller
    signed it; ``authorization`` holds each Authorization header. ``address`` finds out the calling
    address, empty if it is not known. ``host`` is the header, empty without one."""

    method: str
    target: str
    authorization: Sequence[str]
    body: bytes
    address: Callable[[], str] = str
    host: str = ""


@dataclass(frozen=True, slots=True)
class Headers:
    """The headers of an answer, made once and used many times; ``encoded`` is their form on the
    wire. Names and values are ours, never a caller's."""

    pairs: tuple[tuple[str, str], ...]
    encoded: bytes = field(init=False)

    def __post_init__(self) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.pairs)
        object.__setattr__(self, "encoded", lines.encode("ascii"))


class Response(NamedTuple):
    """An answer. The web server adds length and date."""

    status: HTTPStatus
    headers: Headers
    body: bytes = b""


class Endpoint(Protocol):
    """What a web server serves. No method raises."""

    async def answer(self, request: Request) -> Response:
        """The answer to a request."""
        ...

    def body_limit(self, target: str) -> int:
        """The most bytes that the body of a request to this target may have."""
        ...

    def refuse(self, error: MatrixError) -> Response:
        """The answer to what could not be read as a request."""
        ...
