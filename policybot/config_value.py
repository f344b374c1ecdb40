"""What single values of the configuration may look like.

Each function takes the raw value and its dotted path and returns the typed value, or raises a
`ConfigError` that says what to write instead. The values of secrets are never repeated.
"""

import base64
import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")


class ConfigError(ValueError):
    """The configuration is wrong; the text names the key and says what to write instead."""


def line(value: Any, path: str) -> str:
    """One line of text, not empty."""
    if not isinstance(value, str):
        raise ConfigError(f"{path}: write text; put quotes around it if it is a number or a date.")
    if not value.strip() or value != value.strip():
        raise ConfigError(f"{path}: write text that is not empty and has no spaces around it.")
    if not value.isprintable():
        raise ConfigError(f"{path}: write one line without control characters.")
    return value


def integer(low: int, high: int) -> Callable[[Any, str], int]:
    """A whole number, both ends included."""

    def parse(value: Any, path: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ConfigError(f"{path}: write a whole number from {low} to {high}.")
        return value

    return parse


def choice(choices: Iterable[str]) -> Callable[[Any, str], str]:
    """One of a few words."""

    names = tuple(choices)

    def parse(value: Any, path: str) -> str:
        if value not in names:
            raise ConfigError(f"{path}: write one of {', '.join(names)}.")
        return str(value)

    return parse


_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MAX_DURATION_MS = 36_500 * _UNITS_MS["d"]


def duration(value: Any, path: str) -> int:
    """Milliseconds, from such as ``30s``, ``5m``, ``2h``, ``7d`` or 0."""
    if value == 0 and not isinstance(value, bool):
        return 0
    match = re.fullmatch(r"([0-9]{1,9})([smhd])|0", value) if isinstance(value, str) else None
    milliseconds = int(match[1]) * _UNITS_MS[match[2]] if match and match[1] else 0
    if match is None or milliseconds > _MAX_DURATION_MS:
        raise ConfigError(f"{path}: write a whole number with a unit: 30s, 5m, 2h, 7d, or 0.")
    return milliseconds


def http_url(value: Any, path: str) -> str:
    """An http or https URL, without a slash at its end."""
    example = f"{path}: write an http or https URL, such as https://matrix.example.org."
    text = line(value, path)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ConfigError(example) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ConfigError(example)
    if "@" in parts.netloc:
        raise ConfigError(f"{path}: write the URL without a user name or password.")
    if parts.query or parts.fragment or any(mark in text for mark in " ?#\\"):
        raise ConfigError(f"{path}: write the URL without spaces, ? and #.")
    return text.rstrip("/")


_SERVER_NAME = re.compile(r"(?:[A-Za-z0-9.-]{1,230}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_LONGEST_ID = 255  # bytes, client-server API, appendix "Identifier grammar"


def _is_server_name(text: str) -> bool:
    return _SERVER_NAME.fullmatch(text) is not None


def _is_identifier(text: str, sigil: str, *, domain_needed: bool) -> bool:
    _, colon, server = text.partition(":")
    if not text.startswith(sigil) or len(text) < 2 or len(text.encode()) > _LONGEST_ID:
        return False
    if re.search(r"\s", text) or text[1] == ":":
        return False
    return _is_server_name(server) if colon else not domain_needed


def server_name(value: Any, path: str) -> str:
    """A Matrix server name, with or without a port."""
    text = line(value, path)
    if not _is_server_name(text):
        raise ConfigError(
            f"{path}: write a server name such as example.org or example.org:8448, "
            "without https:// and without a path."
        )
    return text


def user_id(value: Any, path: str) -> str:
    """A full user ID."""
    text = line(value, path)
    if not _is_identifier(text, "@", domain_needed=True):
        raise ConfigError(f"{path}: write a full user ID such as @policybot:example.org.")
    return text


def room(value: Any, path: str) -> str:
    """A room ID or a room alias."""
    if value is None:  # an unquoted # begins a comment
        raise ConfigError(f'{path}: write a room in quotes, such as "#mods:example.org".')
    text = line(value, path)
    # Room IDs of room version 12 have no server name.
    if not (
        _is_identifier(text, "!", domain_needed=False)
        or _is_identifier(text, "#", domain_needed=True)
    ):
        raise ConfigError(
            f'{path}: write a room ID or an alias, such as "!abc:example.org" or '
            '"#mods:example.org" (in quotes).'
        )
    return text


def signing_key(value: Any, path: str) -> str:
    """The seed of an Ed25519 key in unpadded base64."""
    try:
        seed = base64.b64decode(value + "=", validate=True)
        good = len(seed) == 32 and base64.b64encode(seed).decode().rstrip("=") == value
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ConfigError(
            f"{path}: write 32 bytes in unpadded base64 (43 characters), as `policybot keygen` "
            "prints them, or null."
        )
    return str(value)


def contact(value: Any, path: str) -> str:
    """What people who are refused are shown."""
    text = line(value, path)
    if len(text) > 200:
        raise ConfigError(f"{path}: write at most 200 characters.")
    return text


def command_prefix(value: Any, path: str) -> str:
    """One word."""
    text = line(value, path)
    if re.search(r"\s", text) or len(text) > 50:
        raise ConfigError(f"{path}: write one word of at most 50 characters, such as !policy.")
    return text


def network(value: Any, path: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """An IP network or a single address."""
    text = line(value, path)
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(
            f"{path}: write a network such as 10.0.0.0/8 or fd00::/8 ({error})."
        ) from None


def database(value: Any, path: str) -> str:
    """The URL of an SQLite or PostgreSQL database."""
    text = line(value, path)
    if not re.match(r"sqlite:[^?]|postgres(ql)?://.", text):
        raise ConfigError(
            f"{path}: write sqlite: and a file name, such as sqlite:policybot.db, "
            "or a URL that begins with postgres://."
        )
    return text


def level(value: Any, path: str) -> str:
    """The name of a level of the module logging."""
    upper = value.upper() if isinstance(value, str) else value
    return choice(("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))(upper, path)


def list_of(item: Callable[[Any, str], T]) -> Callable[[Any, str], tuple[T, ...]]:
    """A list of values of one kind."""

    def parse(value: Any, path: str) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise ConfigError(f"{path}: write a list; [] is an empty one.")
        return tuple(item(entry, f"{path}[{index}]") for index, entry in enumerate(value))

    return parse


def secret(value: Any, path: str) -> str:
    """A password: any text, spaces and all."""
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{path}: write text in quotes, or null.")
    return value
