"""An answer as HTTP/1.1 writes it.

Specification: RFC 9112.
"""

from http import HTTPStatus

from .exchange import Response

_STATUS_LINES = {
    status: f"HTTP/1.1 {status} {status.phrase}\r\n".encode("ascii") for status in HTTPStatus
}


def encoded(response: Response, date: bytes, *, keep: bool, without_body: bool) -> bytes:
    """The bytes of an answer. ``date`` is the header line, ``keep`` tells whether the connection
    is used on, ``without_body`` whether the request was HEAD."""
    body = response.body
    if response.status is HTTPStatus.NO_CONTENT:
        length = b""
    else:
        length = b"Content-Length: %d\r\n" % len(body)
    return b"".join(
        (
            _STATUS_LINES[response.status],
            date,
            response.headers.encoded,
            length,
            b"\r\n" if keep else b"Connection: close\r\n\r\n",
            b"" if without_body else body,
        )
    )
