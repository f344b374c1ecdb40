"""The endpoint's own HTTP listener, used where no web server is given to us."""

import asyncio
import logging
from typing import Protocol

from .certificate import Certificate
from .exchange import Endpoint
from .handshake import Handshakes
from .web_app import WebServer

try:
    from .http_server import HttpServer
except ImportError:
    _HAS_HTTPTOOLS = False
else:
    _HAS_HTTPTOOLS = True

log = logging.getLogger("policybot.endpoint")


class AddressUnusable(OSError):
    """The endpoint cannot listen where it should. The text is one sentence for the operator."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        super().__init__(error.errno, error.strerror)
        self._sentence = (
            f"The endpoint cannot listen on {host}, port {port}: "
            f"{error.strerror or error}. Change `listen`, or end what listens there."
        )

    def __str__(self) -> str:
        return self._sentence


class Server(Protocol):
    """A web server for one endpoint."""

    handshakes: Handshakes

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen, and give the address; OSError if that cannot be."""
        ...

    async def stop(self) -> None:
        """Listen no more, and end after the requests under way, within a bound."""
        ...


def server_for(endpoint: Endpoint) -> Server:
    """The fast server where httptools is installed, else aiohttp's."""
    return HttpServer(endpoint) if _HAS_HTTPTOOLS else WebServer(endpoint)


class Listener:
    """Serves an endpoint on one address, over TLS where a ``certificate`` is given; ``port`` 0
    takes any free one."""

    def __init__(
        self,
        endpoint: Endpoint,
        host: str,
        port: int,
        server: Server | None = None,
        *,
        certificate: Certificate | None = None,
    ) -> None:
        self._server = server or server_for(endpoint)
        self._host = host
        self._port = port
        self._certificate = certificate
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the listener and log its address.

        Raises:
            AddressUnusable: the address is in use or not ours.
            CertificateUnusable: certificate or key cannot be used.
        """
        if self._certificate is not None:
            self._certificate.load()
        self._server.handshakes.certificate = self._certificate
        try:
            self._address = await self._server.start(self._host, self._port)
        except OSError as error:
            raise AddressUnusable(self._host, self._port, error) from error
        self._watch()
        log.info("Listening on %s", self.url)

    @property
    def url(self) -> str:
        """Where it listens."""
        return url_of(*self._address, scheme="http" if self._certificate is None else "https")

    async def show(self, certificate: Certificate | None) -> None:
        """Show this certificate to who connects from now on, or with None speak plain HTTP.

        Raises:
            CertificateUnusable: it cannot be used; nothing is changed.
        """
        if certificate is not None:
            certificate.load()
        await self._stop_watching()
        self._certificate = self._server.handshakes.certificate = certificate
        self._watch()

    def faults(self) -> list[str]:
        """What is wrong with the certificate, as sentences."""
        return [] if self._certificate is None else self._certificate.faults()

    async def stop(self) -> None:
        """Close the listener after the requests under way are answered, within a bound."""
        await self._stop_watching()
        await self._server.stop()

    def _watch(self) -> None:
        if self._certificate is not None:
            self._watching = asyncio.create_task(self._certificate.watch(), name="certificate")

    async def _stop_watching(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None


def url_of(host: str, port: int, *, scheme: str = "http") -> str:
    """The URL of an address; an IPv6 address stands in brackets."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
