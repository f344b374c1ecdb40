"""What is to be set outside of policybot, as lines to be copied: DNS, firewall, reverse proxy."""

from .config import ListenConfig
from .endpoint.listener import url_of
from .federation.probe import Cure
from .protocol.paths import POLICY_PATHS
from .protocol.server_name import without_port

WHERE = "Where they stand: docs/deploy.md"


def rule(name: str, own: bool, url: str) -> str:
    """What the reverse proxy has to send to ``url``, as a sentence; ``own`` for a name of our
    own."""
    if own:
        return f"Everything that is sent to {name} must come, as it is, to {url}"
    return (
        f"The reverse proxy of {name} sends, as they are, the paths that begin with "
        f"{', '.join(POLICY_PATHS)} to {url}"
    )


def proxy_lines(prefix: str, host: str, port: int) -> tuple[str, ...]:
    """What sends the paths that begin with ``prefix`` to us, as docs/deploy.md has it."""
    url = _reached(host, port)
    pattern = f"{prefix}*" if prefix.endswith("/") else prefix
    return (
        f"nginx:   location ^~ {prefix} {{ proxy_pass {url}; }}",
        f"Caddy:   reverse_proxy {pattern} {url.removeprefix('http://')}",
        f"Traefik: PathPrefix(`{prefix}`) in the rule of the router to {url}",
        WHERE,
    )


def own_name_lines(name: str, listen: ListenConfig) -> tuple[str, ...]:
    """What sends everything of a name of our own to us."""
    host = without_port(name)
    if listen.tls is not None:
        return (
            f"policybot listens on {listen.host}, port {listen.port}, with TLS: {_public(name)}",
            "must lead there. Where that stands: docs/deploy.md",
        )
    url = _reached(listen.host, listen.port)
    return (
        f"nginx:   server_name {host}; location / {{ proxy_pass {url}; }}",
        f"Caddy:   {host} {{ reverse_proxy {url.removeprefix('http://')} }}",
        f"Traefik: Host(`{host}`) as the rule of the router to {url}",
        WHERE,
    )


def dns_line(name: str) -> str:
    """What DNS has to say about a name of our own."""
    host = without_port(name)
    return f"DNS: an A record (and AAAA) of {host} with the public address of the machine"


def firewall_line(name: str) -> str:
    """Who has to be let in."""
    return f"Firewall: {_public(name)} must be open for everybody"


def cure_lines(cure: Cure, name: str, listen: ListenConfig) -> tuple[str, ...]:
    """What to look at where a name of our own is not served by us."""
    match cure:
        case Cure.DNS:
            return (
                dns_line(name),
                "A private address: federation.allow_networks must name its network",
            )
        case Cure.FIREWALL:
            return (firewall_line(name), "Does the reverse proxy run, and listen there?")
        case Cure.CERTIFICATE:
            host = without_port(name)
            holder = "The reverse proxy" if listen.tls is None else "listen.tls"
            return (
                f"{holder} needs a certificate for {host} that other servers trust, with those",
                "between it and its authority: docs/deploy.md",
            )
        case Cure.PROXY:
            return own_name_lines(name, listen)


def _public(name: str) -> str:
    """The port under which others come."""
    port = name.removeprefix(without_port(name)).lstrip(":")
    return f"port {port}" if port else "port 443 (or 8448)"


def _reached(host: str, port: int) -> str:
    """Where a proxy on the same machine reaches us."""
    return url_of({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)
