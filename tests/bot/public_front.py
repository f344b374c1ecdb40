"""What other servers find under the policy server's public name: a reverse proxy on loopback."""

from typing import Self

import aiohttp
from aiohttp import web

from policybot.protocol.paths import POLICY_PATHS


class PublicFront:
    """Hands requests on to ``behind``, or gives ``answer`` in place of it. Its ``url`` stays the
    same when what is behind it is started anew. With a ``homeserver``, only what begins with one
    of ``prefixes`` goes to ``behind``."""

    def __init__(self) -> None:
        self.behind = ""
        self.homeserver = ""
        self.prefixes: tuple[str, ...] = POLICY_PATHS
        self.answer: tuple[int, str] | None = None
        self.asked = 0
        self.url = ""
        self._runner = web.ServerRunner(web.Server(self._serve), shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._runner.cleanup()

    async def close(self) -> None:
        """From now on connections are refused."""
        await self._runner.cleanup()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked += 1
        if self.answer is not None:
            status, text = self.answer
            return web.Response(status=status, text=text, content_type="application/json")
        behind = self.behind
        if self.homeserver and not request.raw_path.startswith(self.prefixes):
            behind = self.homeserver
        headers = {"Content-Type": "application/json"}
        if "Authorization" in request.headers:
            headers["Authorization"] = request.headers["Authorization"]
        timeout = aiohttp.ClientTimeout(total=10)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(
                request.method,
                behind + request.raw_path,
                data=await request.read(),
                headers=headers,
            ) as response,
        ):
            kept = {k: v for k, v in response.headers.items() if k.startswith("Policybot-")}
            return web.Response(
                status=response.status,
                body=await response.read(),
                content_type="application/json",
                headers=kept,
            )
