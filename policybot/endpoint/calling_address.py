"""From which address a request comes, also when a reverse proxy hands it over.

It is no proof of anything, and only used to bound what one address can cause.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

MAX_LENGTH = 64


def calling_address(peer: str, forwarded: Iterable[str]) -> str:
    """The address of the caller; of IPv6 the network, since one caller has as many addresses as
    it likes there. Empty if it is not known.

    A ``peer`` with a public address is the caller. Any other is our reverse proxy, and the caller
    is the last public address in the headers ``X-Forwarded-For`` (``forwarded``): what stands
    before it the caller wrote itself.
    """
    connected = _parsed(peer)
    if connected is not None and connected.is_global:
        return _counted(connected)
    entries = [entry.strip() for header in forwarded for entry in header.split(",")]
    for entry in reversed(entries):
        address = _parsed(entry)
        if address is None:
            return entry[:MAX_LENGTH]
        if address.is_global:
            return _counted(address)
    return entries[-1] if entries else ""


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _counted(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), 64), strict=False))
    return str(address)
