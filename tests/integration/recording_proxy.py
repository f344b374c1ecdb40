"""The way to a homeserver, on which every request is written down and which can be closed."""

import asyncio

from aiohttp import web

from policybot.demo.network import Network
from policybot.demo.proxy import ReverseProxy, Route
from policybot.demo.user import Account


class RecordingProxy(ReverseProxy):
    """Hands everything on to hs1. ``requests`` are the methods and raw targets so far.

    After ``stop`` the homeserver is away, as seen from here, until ``start`` with the same port.
    Targets that begin with ``broken`` are answered with 502.
    """

    def __init__(self, network: Network) -> None:
        super().__init__(network.certificates.server_context(), [Route("/", network.hs1.url)])
        self.requests: list[str] = []
        self.broken: str | None = None
        self._asked = asyncio.Event()

    def standalone(self, account: Account) -> dict[str, object]:
        """The section ``standalone`` of a bot that reaches its homeserver this way."""
        return {
            "homeserver": {
                "url": f"https://localhost:{self.port}",
                "user_id": account.user_id,
                "password": account.password,
            }
        }

    async def wait_for_request(self, *fragments: str, deadline: float = 30.0) -> None:
        """Return once a request came whose target holds all the fragments.

        Raises:
            TimeoutError: none came within ``deadline`` seconds.
        """
        async with asyncio.timeout(deadline):
            while not any(all(part in asked for part in fragments) for asked in self.requests):
                self._asked.clear()
                await self._asked.wait()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.raw_path}")
        self._asked.set()
        if self.broken is not None and request.raw_path.startswith(self.broken):
            return web.Response(status=502)
        return await super()._handle(request)
