"""The federation of the demonstration: two homeservers, and a reverse proxy before the first.

hs1 is the community's homeserver: ``localhost:PORT``, where PORT is the proxy's. policybot shares
its name. hs2, ``127.0.0.1:PORT``, is everyone else's. (Server rules leave the port out, so two
servers called ``localhost`` would be one to them.)
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ..endpoint.paths import POLICY_PATHS
from .certificates import Certificates, write_certificates
from .homeserver import Homeserver
from .proxy import ReverseProxy, Route


@dataclass(frozen=True, slots=True)
class Network:
    """What runs. ``directory`` is private, and gone when the network has ended."""

    directory: Path
    certificates: Certificates
    proxy: ReverseProxy
    hs1: Homeserver
    hs2: Homeserver

    def route_policy_to(self, upstream: str | None) -> None:
        """Let the proxy send the policy paths to this URL; None = to the homeserver like all."""
        policy = () if upstream is None else (Route(path, upstream) for path in POLICY_PATHS)
        self.proxy.routes = (*policy, Route("/", self.hs1.url))


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
        proxy = ReverseProxy(certificates.server_context())
        stack.push_async_callback(proxy.stop)
        await proxy.start()
        hs1 = Homeserver("hs1", directory / "hs1", certificates, f"localhost:{proxy.port}")
        hs2 = Homeserver("hs2", directory / "hs2", certificates)
        stack.push_async_callback(_close_both, hs1, hs2)
        await _start_both(hs1, hs2)
        network = Network(directory, certificates, proxy, hs1, hs2)
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
