"""Request authentication between servers: the header ``Authorization: X-Matrix …``
(specification, server-server API, "Authentication")."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from .canonical_json import canonical_json, checked_canonical_json
from .server_name import is_server_name
from .signing import SigningKey

MAX_HEADER_LENGTH = 4096
MAX_HEADERS = 8
"""One header per key of the caller."""

# How Synapse writes it, and most callers with it: read in one step instead of parameter by
# parameter. Four groups: origin, key, signature, destination.
_USUAL = re.compile(
    r'X-Matrix origin="([^"\\]*+)",key="([^"\\]*+)",sig="([^"\\]*+)"'
    r'(?:,destination="([^"\\]*+)")?'
)
_SCHEME = re.compile(r"X-Matrix(?: +|\Z)", re.IGNORECASE)
# Three groups: name, quoted value, bare value.
_PARAMETER = re.compile(
    r"([0-9A-Za-z_-]++)[ \t]*+=[ \t]*+"
    r'(?:"([^"\\]*+(?:\\.[^"\\]*+)*+)"|([^",\\\s]*+))'
    r"[ \t]*+(?:,[ \t]*+(?!\Z)|\Z)",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_KEY_ID = re.compile(r"[!-~]{1,255}")


class InvalidAuthorization(ValueError):
    """The request carries no usable X-Matrix header; the message is one sentence."""


class XMatrix(NamedTuple):
    """One X-Matrix header. ``origin`` is a server name; the others are as sent, not verified.
    ``destination`` is None if the header had none."""

    origin: str
    destination: str | None
    key_id: str
    signature: str


def parse_authorization(headers: Sequence[str]) -> tuple[XMatrix, ...]:
    """Read the Authorization headers of a request, leaving out other schemes.

    Raises InvalidAuthorization if none is left, one is malformed, or they differ in origin or
    destination.
    """
    if len(headers) > MAX_HEADERS:
        raise InvalidAuthorization("The request has too many Authorization headers.")
    found: list[XMatrix] = []
    for header in headers:
        usual = _USUAL.fullmatch(header) if len(header) <= MAX_HEADER_LENGTH else None
        if usual is not None:
            origin, key_id, signature, destination = usual.groups()
            found.append(_checked(origin, destination, key_id, signature))
            continue
        scheme = _SCHEME.match(header)
        if scheme is None:
            continue
        if len(header) > MAX_HEADER_LENGTH:
            raise InvalidAuthorization("The Authorization header is too long.")
        found.append(_parse_header(header, scheme.end()))
    if not found:
        raise InvalidAuthorization("The request has no X-Matrix Authorization header.")
    first = found[0]
    for other in found:
        if other.origin != first.origin or other.destination != first.destination:
            raise InvalidAuthorization("The Authorization headers contradict each other.")
    return tuple(found)


def request_bytes(
    method: str,
    uri: str,
    origin: str,
    destination: str | None,
    content: Any | None,
    *,
    strict: bool = False,
) -> bytes:
    """What the caller signed. ``uri`` is the request target as sent, with path encoding and
    query; ``content`` the parsed body, None without one; ``strict`` if ``strict_canonical_json``
    is known to take it. Raises InvalidJson."""
    request: dict[str, Any] = {"method": method, "uri": uri, "origin": origin}
    if destination is not None:
        request["destination"] = destination
    if content is not None:
        request["content"] = content
    return checked_canonical_json(request) if strict else canonical_json(request)


def authorization_header(
    name: str,
    destination: str,
    key_id: str,
    key: SigningKey,
    method: str,
    uri: str,
    content: Any | None,
) -> str:
    """The header's value for a request of ours, as server ``name``."""
    signature = key.sign(request_bytes(method, uri, name, destination, content))
    return f'X-Matrix origin="{name}",key="{key_id}",sig="{signature}",destination="{destination}"'


def _parse_header(header: str, position: int) -> XMatrix:
    parameters: dict[str, str] = {}
    while position < len(header):
        match = _PARAMETER.match(header, position)
        if match is None:
            raise InvalidAuthorization("The Authorization header is malformed.")
        name, quoted, bare = match.groups()
        name = name.lower()
        if name in parameters:
            raise InvalidAuthorization("The Authorization header names a parameter twice.")
        if quoted is None:
            parameters[name] = bare
        else:
            parameters[name] = _ESCAPE.sub(r"\1", quoted) if "\\" in quoted else quoted
        position = match.end()
    # The specification's list calls it "signature", its example and all servers "sig".
    signature = parameters.get("sig", parameters.get("signature"))
    origin, key_id = parameters.get("origin"), parameters.get("key")
    if origin is None or key_id is None or signature is None:
        raise InvalidAuthorization("The Authorization header needs origin, key and sig.")
    return _checked(origin, parameters.get("destination"), key_id, signature)


def _checked(origin: str, destination: str | None, key_id: str, signature: str) -> XMatrix:
    if not is_server_name(origin):
        raise InvalidAuthorization("The origin in the Authorization header is no server name.")
    if _KEY_ID.fullmatch(key_id) is None:
        raise InvalidAuthorization("The key in the Authorization header is no key ID.")
    return XMatrix(origin, destination, key_id, signature)
