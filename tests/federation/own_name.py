"""A name of our own that is served by the endpoint itself, over TLS."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from policybot.endpoint.certificate import Certificate, CertificateFiles
from policybot.endpoint.federation_routes import FederationRoutes
from policybot.endpoint.listener import Listener
from policybot.federation.own_keys import OwnKeys
from policybot.protocol.signing import SigningKey
from policybot.stand_in import Nobody, StandIn

from .authority import Authority

NAME = "policy.example.org"
INSTANCE = "me"
NOW = 2_000_000_000_000
KEY = SigningKey.generate()


def federation_routes(
    name: str = NAME, *, key: SigningKey = KEY, now_ms: int = NOW, instance_id: str = INSTANCE
) -> FederationRoutes:
    """The real answers of a name of our own."""
    nobody = Nobody()
    return FederationRoutes(
        users={name: f"@policy:{name}"},
        user_id=f"@policy:{name}",
        own_keys=OwnKeys(name, key, {}),
        keys=nobody,
        rooms={},
        invitations=nobody,
        hints=nobody,
        clock=lambda: now_ms,
        contact=None,
        instance_id=instance_id,
    )


@asynccontextmanager
async def serving_name(
    authority: Authority, routes: FederationRoutes | None = None, *names: str, port: int = 0
) -> AsyncIterator[int]:
    """Serve on loopback with a certificate for ``names``; gives the port."""
    file = str(authority.server_file(*(names or (NAME,))))
    certificate = Certificate(CertificateFiles(file, file))
    stand_in = StandIn(INSTANCE, routes or federation_routes())
    listener = Listener(stand_in, "127.0.0.1", port, certificate=certificate)
    await listener.start()
    try:
        yield int(listener.url.rpartition(":")[2])
    finally:
        await listener.stop()
