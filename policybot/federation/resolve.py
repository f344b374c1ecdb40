"""Where a server name is to be asked (server-server API, "Resolving server names")."""

import asyncio
from dataclasses import dataclass

from ..protocol.server_name import ServerName, parse_server_name
from .dns_lookup import DnsLookup
from .well_known import WellKnown

DEFAULT_PORT = 8448


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send requests for a server name, and under which name.

    ``url`` has no path; ``server_hostname`` is the name that the certificate must be for.
    ``guessed`` tells that neither the name, a well-known document nor DNS says where.
    """

    url: str
    host_header: str
    server_hostname: str
    guessed: bool = False


async def resolve(server_name: str, well_known: WellKnown, dns: DnsLookup) -> tuple[Target, ...]:
    """Find the places of ``server_name``, at least one, in the order in which to try them.

    Raises InvalidServerName; asks but never fails else.
    """
    parsed = parse_server_name(server_name)
    delegated = None
    if _says_nothing(parsed):
        delegated = await well_known.delegated(server_name)
    name = server_name if delegated is None else delegated
    parsed = parse_server_name(name)
    if not _says_nothing(parsed):
        return (_target(name, parsed),)
    current, deprecated = await asyncio.gather(
        dns.services(f"_matrix-fed._tcp.{name}"), dns.services(f"_matrix._tcp.{name}")
    )
    services = current or deprecated
    if services:
        return tuple(Target(f"https://{host}:{port}", name, name) for host, port in services)
    return (_target(name, parsed, guessed=delegated is None),)


def _says_nothing(name: ServerName) -> bool:
    """Whether a name has neither port nor address, so that others say where its server is."""
    return name.port is None and not name.is_ip_literal


def _target(text: str, name: ServerName, *, guessed: bool = False) -> Target:
    port = DEFAULT_PORT if name.port is None else name.port
    # The server name is the Host header as it stands: 8448 is added only to the address.
    return Target(f"https://{name.host}:{port}", text, name.host.strip("[]"), guessed)
