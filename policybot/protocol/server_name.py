"""Server names: ``host``, or ``host:port`` (specification, appendix "Server Name")."""

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

MAX_LENGTH = 255

_LABEL = r"[0-9A-Za-z-]++"
_NAME = re.compile(
    rf"(?:(?P<dns>{_LABEL}(?:\.{_LABEL})*+)|\[(?P<ipv6>[0-9A-Fa-f:.]{{2,45}})\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_PORT = re.compile(r":[0-9]{1,5}\Z")


class InvalidServerName(ValueError):
    """Not a server name; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class ServerName:
    """A server name taken apart; ``host`` of an IPv6 address has its brackets."""

    host: str
    port: int | None
    is_ip_literal: bool


def parse_server_name(text: str) -> ServerName:
    """Take a server name apart, or raise InvalidServerName."""
    match = _NAME.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if match is None:
        raise InvalidServerName("The server name has a wrong form.")
    dns, ipv6, port_text = match.groups()
    port = None if port_text is None else int(port_text)
    if port is not None and not 0 < port < 65536:
        raise InvalidServerName("The server name has an impossible port.")
    if ipv6 is None:
        return ServerName(dns, port, _is_ipv4(dns))
    try:
        IPv6Address(ipv6)
    except AddressValueError:
        raise InvalidServerName("The server name is not an IPv6 address.") from None
    return ServerName(f"[{ipv6}]", port, True)


# The same few servers ask about the events of the same few.
@lru_cache(maxsize=4_096)
def is_server_name(text: str) -> bool:
    """Whether the text is a server name."""
    match = _NAME.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if match is None:
        return False
    if match.lastgroup == "dns":  # by far the most: no port and no address in brackets
        return True
    try:
        parse_server_name(text)
    except InvalidServerName:
        return False
    return True


def without_port(name: str) -> str:
    """The name with its port cut off. Text which is no server name comes back unchanged, except
    that what looks like a port goes too."""
    if name.count(":") == 1 or name.startswith("["):
        return _PORT.sub("", name)
    return name


def _is_ipv4(host: str) -> bool:
    try:
        IPv4Address(host)
    except AddressValueError:
        return False
    return True
