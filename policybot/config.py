"""The configuration: a YAML file and the environment, parsed once into frozen values.

Nobody else touches the mapping that was read. Every error is a `ConfigError` that names the key
by its dotted path and says what to write instead; the value of a secret is never repeated.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from . import config_value
from .config_section import Section
from .config_source import Kind, override, read_yaml
from .config_value import ConfigError, choice, duration, integer, line, list_of

__all__ = [
    "Config",
    "ConfigError",
    "FederationConfig",
    "HomeserverConfig",
    "ListenConfig",
    "LoggingConfig",
    "ModerationRoomConfig",
    "OnFailure",
    "PolicyServerConfig",
    "ReportsConfig",
    "StandaloneConfig",
    "TlsConfig",
    "load_config",
    "parse_config",
]


class OnFailure(StrEnum):
    """What the endpoint answers when the bot itself fails."""

    SIGN = "sign"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class ModerationRoomConfig:
    """A room that the bot obeys. All rooms are room IDs or aliases; ``reports`` None = here."""

    room: str
    reports: str | None
    lists: tuple[str, ...]
    command_power_level: int


@dataclass(frozen=True, slots=True)
class PolicyServerConfig:
    """The policy server itself. The two keys are seeds in unpadded base64."""

    name: str
    public_url: str | None
    signing_key: str | None = field(repr=False)
    federation_key: str | None = field(repr=False)
    contact: str | None
    on_failure: OnFailure


@dataclass(frozen=True, slots=True)
class ReportsConfig:
    """When reports are sent and how long texts are kept, in milliseconds."""

    first_delay_ms: int
    interval_ms: int
    keep_text_ms: int


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """PEM files: the certificate with those between it and its authority, and the key to it."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class ListenConfig:
    """Where the endpoint listens; port 0 = any free one, ``tls`` None = plain HTTP."""

    host: str
    port: int
    tls: TlsConfig | None = None


@dataclass(frozen=True, slots=True)
class FederationConfig:
    """``allow_networks``: the private networks that look-ups of other servers may reach."""

    allow_networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


@dataclass(frozen=True, slots=True)
class HomeserverConfig:
    """The bot's account. Token and password may both be missing once the bot has logged in."""

    url: str
    user_id: str
    access_token: str | None = field(repr=False)
    password: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class LoggingConfig:
    """``level`` is the name of a level of the standard library."""

    level: str


@dataclass(frozen=True, slots=True)
class StandaloneConfig:
    """What only the bot on its own needs. ``database`` may hold a password."""

    homeserver: HomeserverConfig
    database: str = field(repr=False)
    logging: LoggingConfig


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration. ``listen`` and ``standalone`` are None only inside maubot."""

    moderation_rooms: tuple[ModerationRoomConfig, ...]
    command_prefix: str
    policy_server: PolicyServerConfig
    reports: ReportsConfig
    listen: ListenConfig | None
    federation: FederationConfig
    standalone: StandaloneConfig | None


_KEYS: Mapping[str, Kind] = {
    "moderation_rooms": Kind.LIST,
    "command_prefix": Kind.TEXT,
    "policy_server.name": Kind.TEXT,
    "policy_server.public_url": Kind.TEXT,
    "policy_server.signing_key": Kind.TEXT,
    "policy_server.federation_key": Kind.TEXT,
    "policy_server.contact": Kind.TEXT,
    "policy_server.on_failure": Kind.TEXT,
    "reports.first_delay": Kind.TEXT,
    "reports.interval": Kind.TEXT,
    "reports.keep_text": Kind.TEXT,
    "listen.host": Kind.TEXT,
    "listen.port": Kind.NUMBER,
    "listen.tls.certificate": Kind.TEXT,
    "listen.tls.key": Kind.TEXT,
    "federation.allow_networks": Kind.LIST,
    "standalone.homeserver.url": Kind.TEXT,
    "standalone.homeserver.user_id": Kind.TEXT,
    "standalone.homeserver.access_token": Kind.TEXT,
    "standalone.homeserver.password": Kind.TEXT,
    "standalone.database": Kind.TEXT,
    "standalone.logging.level": Kind.TEXT,
}
_MODERATION_ROOM_KEYS = ("room", "reports", "lists", "command_power_level")


def _children(path: str) -> set[str]:
    """The names of the keys directly below a section."""
    start = f"{path}." if path else ""
    return {key[len(start) :].partition(".")[0] for key in _KEYS if key.startswith(start)}


def _moderation_room(value: Any, path: str) -> ModerationRoomConfig:
    if not isinstance(value, Mapping):
        value = {"room": value}
    section = Section(value, path, _MODERATION_ROOM_KEYS)
    return ModerationRoomConfig(
        room=section.required("room", config_value.room),
        reports=section.nullable("reports", config_value.room),
        lists=section.optional("lists", list_of(config_value.room), ()),
        command_power_level=section.optional(
            "command_power_level", integer(-(2**53) + 1, 2**53 - 1), 0
        ),
    )


def _moderation_rooms(value: Any, path: str) -> tuple[ModerationRoomConfig, ...]:
    rooms = list_of(_moderation_room)(value, path)
    if not rooms:
        raise ConfigError(f"{path}: name at least one room.")
    seen: set[str] = set()
    for index, room in enumerate(rooms):
        if room.room in seen:
            raise ConfigError(f"{path}[{index}].room: name each room once.")
        seen.add(room.room)
    return rooms


def _policy_server(value: Any, path: str) -> PolicyServerConfig:
    section = Section(value, path, _children(path))
    return PolicyServerConfig(
        name=section.required("name", config_value.server_name),
        public_url=section.nullable("public_url", config_value.http_url),
        signing_key=section.nullable("signing_key", config_value.signing_key),
        federation_key=section.nullable("federation_key", config_value.signing_key),
        contact=section.nullable("contact", config_value.contact),
        on_failure=section.optional("on_failure", _on_failure, OnFailure.SIGN),
    )


def _on_failure(value: Any, path: str) -> OnFailure:
    return OnFailure(choice(OnFailure)(value, path))


def _reports(value: Any, path: str) -> ReportsConfig:
    section = Section(value, path, _children(path))
    return ReportsConfig(
        first_delay_ms=section.optional("first_delay", duration, 2_000),
        interval_ms=section.optional("interval", duration, 30_000),
        keep_text_ms=section.optional("keep_text", duration, 7 * 24 * 3_600_000),
    )


def _listen(value: Any, path: str, *, standalone: bool) -> ListenConfig | None:
    if value is None:
        if standalone:
            raise ConfigError(f"{path}: write host and port; only inside maubot it may be null.")
        return None
    section = Section(value, path, _children(path))
    return ListenConfig(
        host=section.optional("host", line, "127.0.0.1"),
        port=section.optional("port", integer(0, 65_535), 8090),
        tls=section.optional("tls", _tls, None),
    )


def _tls(value: Any, path: str) -> TlsConfig | None:
    section = Section(value, path, _children(path))
    certificate, key = section.nullable("certificate", line), section.nullable("key", line)
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        missing = "certificate" if certificate is None else "key"
        raise ConfigError(f"{path}.{missing}: missing; TLS needs both, certificate and key.")
    return TlsConfig(certificate, key)


def _federation(value: Any, path: str) -> FederationConfig:
    section = Section(value, path, _children(path))
    return FederationConfig(section.optional("allow_networks", list_of(config_value.network), ()))


def _homeserver(value: Any, path: str) -> HomeserverConfig:
    section = Section(value, path, _children(path))
    return HomeserverConfig(
        url=section.required("url", config_value.http_url),
        user_id=section.required("user_id", config_value.user_id),
        access_token=section.nullable("access_token", line),
        password=section.nullable("password", config_value.secret),
    )


def _logging(value: Any, path: str) -> LoggingConfig:
    section = Section(value, path, _children(path))
    return LoggingConfig(section.optional("level", config_value.level, "INFO"))


def _standalone(value: Any, path: str) -> StandaloneConfig:
    section = Section(value, path, _children(path))
    return StandaloneConfig(
        homeserver=section.required("homeserver", _homeserver),
        database=section.optional("database", config_value.database, "sqlite:policybot.db"),
        logging=section.optional("logging", _logging, LoggingConfig("INFO")),
    )


def parse_config(mapping: Mapping[str, Any], *, standalone: bool = True) -> Config:
    """Turn the mapping that was read from YAML into a `Config`.

    ``standalone=False`` is for the maubot plugin: the section ``standalone`` is not looked at,
    and ``listen: null`` (maubot's web app instead of an own listener) is allowed.

    Raises:
        ConfigError: the first thing that is wrong.
    """
    section = Section(mapping, "", _children(""))
    return Config(
        moderation_rooms=section.required("moderation_rooms", _moderation_rooms),
        command_prefix=section.optional("command_prefix", config_value.command_prefix, "!policy"),
        policy_server=section.required("policy_server", _policy_server),
        reports=section.optional("reports", _reports, _reports(None, "")),
        listen=_listen(mapping.get("listen", {}), "listen", standalone=standalone),
        federation=section.optional("federation", _federation, FederationConfig(())),
        standalone=section.required("standalone", _standalone) if standalone else None,
    )


def load_config(path: str | Path, environ: Mapping[str, str]) -> Config:
    """Read the YAML file at ``path``, lay ``environ`` over it and parse the result.

    Raises:
        ConfigError: the file or a variable cannot be read, or something in them is wrong.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(
            f"{path}: cannot be read ({reason}); `policybot init` writes a new file."
        ) from None
    return parse_config(override(read_yaml(text, str(path)), environ, _KEYS))
