"""Server ACLs: which servers may take part in a room (client-server API, "Server ACLs")."""

from typing import Any

from policybot.protocol.server_name import InvalidServerName, parse_server_name, without_port

from .glob import Glob, fold


def acl_allows(content: Any, server_name: str) -> bool:
    """Whether the content of a room's ``m.room.server_acl`` lets a server take part; None if the
    room has none. Ports do not count, nor do upper and lower case (Matrix v1.19)."""
    if content is None:
        return True
    if not isinstance(content, dict):
        content = {}
    if content.get("allow_ip_literals") is False and _is_ip_literal(server_name):
        return False
    name = fold(without_port(server_name))
    return not _matches(content.get("deny"), name) and _matches(content.get("allow"), name)


def _matches(patterns: Any, name: str) -> bool:
    if not isinstance(patterns, list):
        return False
    return any(
        Glob(fold(pattern)).matches(name) for pattern in patterns if isinstance(pattern, str)
    )


def _is_ip_literal(server_name: str) -> bool:
    try:
        return parse_server_name(server_name).is_ip_literal
    except InvalidServerName:
        return False
