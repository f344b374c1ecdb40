"""The way to a homeserver, which can be closed, and on which every request is written down."""

from aiohttp import web

from policybot.demo.network import Network
from policybot.demo.proxy import ReverseProxy, Route
from policybot.demo.user import Account


class RecordingProxy(ReverseProxy):
    """Hands everything on to hs1. ``requests`` are the methods and raw paths so far.

    After ``stop`` the homeserver is away as seen from here, until ``start`` with the same port.
    """

    def __init__(self, network: Network) -> None:
        super().__init__(
            network.certificates.server_context(), [Route("/", network.hs1.url)]
        )
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        """Where the homeserver seems to be."""
        return f"https://localhost:{self.port}"

    def standalone(self, account: Account) -> dict[str, object]:
        """The section ``standalone`` for a bot that goes this way."""
        return {
            "homeserver": {
                "url": self.url,
                "user_id": account.user_id,
                "password": account.password,
            }
        }

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.raw_path}")
        return await super()._handle(request)
