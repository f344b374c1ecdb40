"""How long the fast web server waits for its callers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a connection may take, in seconds: for a whole request from its first byte,
    without any request, to take an answer, and to end after we stopped reading.

    A connection that a reverse proxy is about to use must not be closed by us: nginx keeps them
    for 60 seconds, Traefik for 90, Caddy for 120.
    """

    request: float = 10.0
    idle: float = 150.0
    answer: float = 30.0
    end: float = 5.0
