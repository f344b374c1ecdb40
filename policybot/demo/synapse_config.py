"""The configuration files of one Synapse of the demonstration.

Settings that Synapse cannot do without on loopback, and a few that keep a short demonstration
quick. Nothing here is advice for a real homeserver.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .certificates import Certificates
from .ports import LOOPBACK

_UNLIMITED = {"per_second": 10_000, "burst_count": 10_000}


@dataclass(frozen=True, slots=True)
class SynapseConfig:
    """What differs between two homeservers.

    ``client_port`` is plain HTTP for clients and a proxy. ``tls_port`` is the homeserver's own
    listener for other homeservers; None = a reverse proxy does TLS. ``signing_seed`` is the
    32 bytes of its signing key.
    """

    name: str
    directory: Path
    client_port: int
    tls_port: int | None
    certificates: Certificates
    registration_secret: str
    signing_seed: bytes

    @property
    def file(self) -> Path:
        """The configuration file, which Synapse reads with ``-c``."""
        return self.directory / "homeserver.json"


def write_synapse_config(config: SynapseConfig) -> None:
    """Write the configuration and the logging configuration, as JSON (which is YAML too)."""
    log_config = config.directory / "log.json"
    log_config.write_text(json.dumps(_LOGGING, indent=2))
    config.file.write_text(json.dumps(_settings(config, log_config), indent=2))


def _settings(config: SynapseConfig, log_config: Path) -> dict[str, Any]:
    seed = base64.b64encode(config.signing_seed).decode().rstrip("=")
    return {
        "server_name": config.name,
        "pid_file": str(config.directory / "homeserver.pid"),
        "listeners": _listeners(config),
        "database": {
            "name": "sqlite3",
            "args": {"database": str(config.directory / "homeserver.db")},
        },
        "log_config": str(log_config),
        "media_store_path": str(config.directory / "media"),
        "signing_key": f"ed25519 a_demo {seed}",
        "registration_shared_secret": config.registration_secret,
        "macaroon_secret_key": config.registration_secret,
        "form_secret": config.registration_secret,
        "report_stats": False,
        "bcrypt_rounds": 4,
        # Loopback is blocked otherwise, and the log then speaks of a DNS error.
        "ip_range_blacklist": [],
        "federation_custom_ca_list": [str(config.certificates.authority)],
        "tls_certificate_path": str(config.certificates.certificate),
        "tls_private_key_path": str(config.certificates.key),
        # No request leaves the machine: keys come straight from the other homeserver.
        "trusted_key_servers": [],
        "suppress_key_server_warning": True,
        # A server that was down is asked again soon, not after ten minutes. (500 is in ms.)
        "federation": {
            "destination_min_retry_interval": 500,
            "destination_max_retry_interval": "1s",
        },
        # A /sync that leaves no gap, however much happened between two of them.
        "filter_timeline_limit": 10_000,
        "presence": {"enabled": False},
        "rc_message": _UNLIMITED,
        "rc_registration": _UNLIMITED,
        "rc_login": {"address": _UNLIMITED, "account": _UNLIMITED, "failed_attempts": _UNLIMITED},
        "rc_admin_redaction": _UNLIMITED,
        "rc_joins": {"local": _UNLIMITED, "remote": _UNLIMITED},
        "rc_joins_per_room": _UNLIMITED,
        "rc_room_creation": _UNLIMITED,
        "rc_invites": {
            "per_room": _UNLIMITED,
            "per_user": _UNLIMITED,
            "per_issuer": _UNLIMITED,
        },
        # Else a server waits half a second for each answer from its eleventh request in a second.
        "rc_federation": {"sleep_limit": 10_000, "reject_limit": 10_000, "concurrent": 100},
    }


def _listeners(config: SynapseConfig) -> list[dict[str, Any]]:
    plain = {
        "port": config.client_port,
        "type": "http",
        "bind_addresses": [LOOPBACK],
        "x_forwarded": config.tls_port is None,
        "resources": [{"names": ["client", "federation"]}],
    }
    if config.tls_port is None:
        return [plain]
    tls = {
        "port": config.tls_port,
        "type": "http",
        "tls": True,
        "bind_addresses": [LOOPBACK],
        "resources": [{"names": ["federation"]}],
    }
    # Opened in this order, so an answer on the plain port means that both are open.
    return [tls, plain]


_LOGGING = {
    "version": 1,
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)s %(name)s %(request)s %(message)s"}
    },
    "filters": {"context": {"()": "synapse.logging.context.LoggingContextFilter", "request": ""}},
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["context"],
        }
    },
    "root": {"level": "WARNING", "handlers": ["console"]},
    "disable_existing_loggers": False,
}
