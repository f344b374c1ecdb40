"""The federation of the demonstration: two homeservers, and two reverse proxies.

hs1 is the community's homeserver: ``localhost:PORT``, where PORT is its proxy's. policybot shares
its name, or has one of its own: ``localhost:PORT`` with the port of the other proxy. hs2,
``127.0.0.1:PORT``, is everyone else's. (Server rules leave the port out, so two servers called
``localhost`` are one to them.)
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ..protocol.paths import POLICY_PATHS
from .certificates import Certificates, write_certificates
from .homeserver import Homeserver
from .proxy import ReverseProxy, Route


@dataclass(frozen=True, slots=True)
class Network:
    """What runs. ``directory`` is private, and gone when the network has ended.

    ``proxy`` stands before hs1, ``dedicated_proxy`` before nothing but policybot.
    """

    directory: Path
    certificates: Certificates
    proxy: ReverseProxy
    dedicated_proxy: ReverseProxy
    hs1: Homeserver
    hs2: Homeserver

    @property
    def dedicated_name(self) -> str:
        """A server name that no homeserver has."""
        return f"localhost:{self.dedicated_proxy.port}"

    def route_policy_to(self, upstream: str | None, name: str | None = None) -> None:
        """Let the proxy of ``name`` send to this URL what is for the policy server.

        That is everything, but only the policy paths of hs1's name (also None). Without a URL
        there is no policy server. A name that no proxy stands before needs no route.
        """
        if name in (None, self.hs1.name):
            policy = () if upstream is None else (Route(path, upstream) for path in POLICY_PATHS)
            self.proxy.routes = (*policy, Route("/", self.hs1.url))
        elif name == self.dedicated_name:
            self.dedicated_proxy.routes = () if upstream is None else (Route("/", upstream),)


@asynccontextmanager
async def running_network() -> AsyncIterator[Network]:
    """Start all in a temporary directory; afterwards no process and no file is left.

    Raises:
        ProcessFailed: a homeserver did not start.
    """
    async with AsyncExitStack() as stack:
        directory = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="policybot-demo-"))
        )
        certificates = write_certificates(directory)
        proxy, dedicated_proxy = (ReverseProxy(certificates.server_context()) for _ in range(2))
        for each in (proxy, dedicated_proxy):
            stack.push_async_callback(each.stop)
            await each.start()
        hs1 = Homeserver("hs1", directory / "hs1", certificates, f"localhost:{proxy.port}")
        hs2 = Homeserver("hs2", directory / "hs2", certificates)
        stack.push_async_callback(_close_both, hs1, hs2)
        await _start_both(hs1, hs2)
        network = Network(directory, certificates, proxy, dedicated_proxy, hs1, hs2)
        network.route_policy_to(None)
        yield network


async def _start_both(hs1: Homeserver, hs2: Homeserver) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(hs1.start())
            group.create_task(hs2.start())
    except* Exception as failures:
        # One sentence for a person, instead of a group of failures.
        raise failures.exceptions[0] from None


async def _close_both(hs1: Homeserver, hs2: Homeserver) -> None:
    await asyncio.gather(hs1.close(), hs2.close())
