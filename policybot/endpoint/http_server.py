"""The endpoint's fast web server: it owns the connections and ends those that take too long."""

import asyncio
from contextlib import suppress
from email.utils import formatdate
from heapq import nsmallest

from .body import IN_PROCESS, LargeBodies
from .connection import Connection
from .exchange import SHUTDOWN_S, Endpoint
from .handshake import Handshakes
from .patience import Patience

_MADE_ROOM = 64
"""So many idle connections end at once when there are too many: looking for them costs time."""


class HttpServer:
    """Serves an endpoint over HTTP/1.1.

    ``most`` is the number of connections: beyond it the longest idle ones end, and if none is
    idle, the new one. ``look_s`` is how often deadlines are looked at, ``shutdown_s`` how long
    requests under way may take at the end, both in seconds.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        patience: Patience | None = None,
        most: int = 2_000,
        look_s: float = 1.0,
        shutdown_s: float = SHUTDOWN_S,
        large_bodies: LargeBodies = IN_PROCESS,
    ) -> None:
        self.endpoint = endpoint
        self.large_bodies = large_bodies
        self.patience = patience or Patience()
        self.date = _date()
        self._most = most
        self._look_s = look_s
        self._shutdown_s = shutdown_s
        self._connections: set[Connection] = set()
        self._left_alone: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._looking: asyncio.Task[None] | None = None
        self.handshakes = Handshakes(lambda: Connection(self))

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Open the listener; the address it has.

        Raises:
            OSError: the address is in use or not ours.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self.handshakes.protocol, host, port, backlog=1024)
        self._looking = asyncio.create_task(self._look(), name="connections")
        address = self._server.sockets[0].getsockname()
        return address[0], address[1]

    async def stop(self) -> None:
        """Close the listener after the requests under way."""
        if self._server is None or self._looking is None:
            return
        self._server.close()
        await self.handshakes.stop()
        for connection in tuple(self._connections):
            connection.close_soon()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._shutdown_s):
                while self._connections:
                    self._empty.clear()
                    await self._empty.wait()
                while self._left_alone:
                    await asyncio.wait(self._left_alone)
        tasks = [connection.task for connection in self._connections if connection.task]
        tasks += self._left_alone
        for connection in tuple(self._connections):
            connection.abort()
        for task in (*tasks, self._looking):
            task.cancel()
        await asyncio.gather(*tasks, self._looking, return_exceptions=True)
        await self._server.wait_closed()
        self._server = self._looking = None

    @property
    def open_connections(self) -> int:
        """How many connections there are."""
        return len(self._connections)

    @property
    def busy_connections(self) -> int:
        """How many of them have a request under way or on its way."""
        return sum(not connection.idle for connection in self._connections)

    def opened(self, connection: Connection) -> None:
        """A connection was made."""
        if len(self._connections) >= self._most and not self._make_room():
            connection.abort()
            return
        self._connections.add(connection)

    def closed(self, connection: Connection) -> None:
        """A connection has ended."""
        self._connections.discard(connection)
        if connection.task is not None:
            self._left_alone.add(connection.task)
            connection.task.add_done_callback(self._left_alone.discard)
        if not self._connections:
            self._empty.set()

    def _make_room(self) -> bool:
        idle = [connection for connection in self._connections if connection.idle]
        for connection in nsmallest(_MADE_ROOM, idle, key=lambda idle: idle.deadline):
            connection.close_soon()
            self._connections.discard(connection)
        return bool(idle)

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._look_s)
            self.date = _date()
            now = loop.time()
            for connection in [c for c in self._connections if c.deadline < now]:
                connection.overdue()


def _date() -> bytes:
    return f"Date: {formatdate(usegmt=True)}\r\n".encode("ascii")
