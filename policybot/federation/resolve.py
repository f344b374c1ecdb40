"""Where a server name is to be asked (server-server API, "Resolving server names").

Only for looking at our own name as others see it. SRV records are not looked up, and nothing is
kept: who asks has often just changed what is found here.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from ..protocol.server_name import InvalidServerName, ServerName, parse_server_name
from .client import HttpClient, RequestFailed

DEFAULT_PORT = 8448
MAX_REDIRECTS = 3
MAX_WELL_KNOWN_BYTES = 16 * 1024
WELL_KNOWN_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send requests for a server name, and under which name.

    ``url`` has no path; ``server_hostname`` is the name that the certificate must be for.
    ``guessed`` tells that neither the name nor a well-known document says where.
    """

    url: str
    host_header: str
    server_hostname: str
    guessed: bool = False


async def resolve(server_name: str, client: HttpClient) -> Target:
    """Find the place of ``server_name``. Raises InvalidServerName; asks but never fails else."""
    parsed = parse_server_name(server_name)
    if parsed.port is None and not parsed.is_ip_literal:
        delegated = await _delegated(server_name, client)
        if delegated is None:
            return _target(server_name, parsed, guessed=True)
        return _target(*delegated)
    return _target(server_name, parsed)


def _target(text: str, name: ServerName, *, guessed: bool = False) -> Target:
    port = DEFAULT_PORT if name.port is None else name.port
    # The server name is the Host header as it stands: 8448 is added only to the address.
    return Target(f"https://{name.host}:{port}", text, name.host.strip("[]"), guessed)


async def _delegated(server_name: str, client: HttpClient) -> tuple[str, ServerName] | None:
    """The name in the well-known document, or None if there is none that counts."""
    url = f"https://{server_name}/.well-known/matrix/server"
    for _ in range(MAX_REDIRECTS + 1):
        try:
            response = await client.get_json(
                url, timeout_s=WELL_KNOWN_TIMEOUT_S, limit=MAX_WELL_KNOWN_BYTES
            )
        except RequestFailed:
            return None
        location = response.headers.get("Location")
        if response.status in (301, 302, 303, 307, 308) and location:
            following = _https(url, location)
            if following is None:
                return None
            url = following
            continue
        return _name_in(response.json) if response.status == 200 else None
    return None


def _https(url: str, location: str) -> str | None:
    try:
        following = urljoin(url, location)
        return following if urlsplit(following).scheme == "https" else None
    except ValueError:
        return None


def _name_in(document: Any) -> tuple[str, ServerName] | None:
    text = document.get("m.server") if isinstance(document, dict) else None
    if not isinstance(text, str):
        return None
    try:
        return text, parse_server_name(text)
    except InvalidServerName:
        return None
