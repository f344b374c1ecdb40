"""Which addresses a stranger may have us ask.

Anybody who names a server makes us look for it, and name servers and redirects lead wherever
their owner likes: also to what only our own network may reach. So addresses are judged after the
name was looked up, and just those that passed are connected to.
"""

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp.abc import AbstractResolver, ResolveResult

Network = IPv4Network | IPv6Network

# Written down here, since what Python calls global differs from version to version. Source: the
# IANA registries of special-purpose addresses (RFC 6890).
_NOT_PUBLIC_IPV4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# All that is public in IPv6 begins like this; IPv4-mapped addresses do not.
_PUBLIC_IPV6 = IPv6Network("2000::/3")
_NOT_PUBLIC_IPV6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo and other protocols
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",
    )
)
# What a network without IPv4 reaches IPv4 by: DNS there answers with these for every such server,
# so the address inside is what counts.
_NAT64 = IPv6Network("64:ff9b::/96")


class AddressRefused(OSError):
    """A host has no address that may be asked. The text is a part of a sentence."""

    def __init__(self) -> None:
        super().__init__(
            "it has only addresses that strangers may not have us ask (federation.allow_networks)"
        )


class AddressGuard:
    """Lets public addresses pass, and those in ``allowed``."""

    def __init__(self, allowed: Iterable[Network] = ()) -> None:
        self._allowed = tuple(allowed)

    def allows(self, address: str) -> bool:
        """Whether an address may be asked. What is no address may not."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        # An address is never in a network of the other version.
        return any(parsed in network for network in self._allowed) or _is_public(parsed)

    def check_literal(self, host: str) -> None:
        """Let names pass, which are to be looked up; raise AddressRefused for an address that may
        not be asked, and for what is none but would be taken for one (``2130706433``)."""
        if (":" in host or host.replace(".", "").isdigit()) and not self.allows(host):
            raise AddressRefused


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_IPV4)
    if address in _NAT64:
        return _is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _PUBLIC_IPV6 and not any(address in net for net in _NOT_PUBLIC_IPV6)


class GuardedResolver(AbstractResolver):
    """Gives the addresses that another resolver finds and the guard allows.

    The connection is made to just these, so a name cannot lead elsewhere in between.
    """

    def __init__(self, resolver: AbstractResolver, guard: AddressGuard) -> None:
        self._resolver = resolver
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of ``host``. Raises AddressRefused if none of them may be asked."""
        found = await self._resolver.resolve(host, port, family)
        allowed = [result for result in found if self._guard.allows(result["host"])]
        if not allowed:
            raise AddressRefused
        return allowed

    async def close(self) -> None:
        """Close the other resolver."""
        await self._resolver.close()
