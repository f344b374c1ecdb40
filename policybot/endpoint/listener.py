"""The endpoint's own HTTP listener, used where no web server is given to us."""

import logging

from aiohttp import web

from .routes import PolicyRoutes
from .sign import MAX_BODY_BYTES

log = logging.getLogger("policybot.endpoint")

SHUTDOWN_SECONDS = 10.0


def application(routes: PolicyRoutes) -> web.Application:
    """The web application, for a listener or for a test's client."""
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[routes.middleware()])
    app.add_routes(routes.routes())
    return app


class Listener:
    """Serves an application on one address; ``port`` 0 takes any free one."""

    def __init__(self, app: web.Application, host: str, port: int) -> None:
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS
        )
        self._host = host
        self._port = port

    async def start(self) -> None:
        """Open the listener and log its address.

        Raises:
            OSError: the address is in use or not ours.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, backlog=1024)
        try:
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise
        host, port = self._runner.addresses[0][:2]
        self.url = url_of(host, port)
        log.info("Listening on %s", self.url)

    async def stop(self) -> None:
        """Close the listener after the requests under way are answered, within a bound."""
        await self._runner.cleanup()


def url_of(host: str, port: int) -> str:
    """The URL of an address; an IPv6 address stands in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
