"""The endpoint's own HTTP listener, used where no web server is given to us."""

import logging
from typing import Protocol

from .exchange import Endpoint
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
    """Serves an endpoint on one address; ``port`` 0 takes any free one."""

    def __init__(
        self, endpoint: Endpoint, host: str, port: int, server: Server | None = None
    ) -> None:
        self._server = server or server_for(endpoint)
        self._host = host
        self._port = port

    async def start(self) -> None:
        """Open the listener and log its address.

        Raises:
            AddressUnusable: the address is in use or not ours.
        """
        try:
            address = await self._server.start(self._host, self._port)
        except OSError as error:
            raise AddressUnusable(self._host, self._port, error) from error
        self.url = url_of(*address)
        log.info("Listening on %s", self.url)

    async def stop(self) -> None:
        """Close the listener after the requests under way are answered, within a bound."""
        await self._server.stop()


def url_of(host: str, port: int) -> str:
    """The URL of an address; an IPv6 address stands in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
