"""TLS before HTTP: callers whose handshake is not done yet, bounded in number and time.

A web server hears of a connection only when its handshake is done, and until then each one is an
open file. So the handshakes are counted here.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from .certificate import Certificate

HANDSHAKE_S = 10.0
"""How long a handshake may take, in seconds."""

MOST_HANDSHAKES = 500

_SHUTDOWN_S = 5.0

log = logging.getLogger("policybot.endpoint")


class Handshakes:
    """Makes the protocols of a listener; ``made`` makes that of a connection which can be used.

    ``certificate`` None means plain HTTP; it may be changed at any time and counts for new
    connections. Beyond ``most`` handshakes at a time the longest one ends; each ends after
    ``limit_s`` seconds.
    """

    def __init__(
        self,
        made: Callable[[], asyncio.Protocol],
        *,
        most: int = MOST_HANDSHAKES,
        limit_s: float = HANDSHAKE_S,
    ) -> None:
        self.certificate: Certificate | None = None
        self.made = made
        self._most = most
        self._limit_s = limit_s
        self._tasks: dict[asyncio.Task[Any], None] = {}  # in the order of their beginning

    def protocol(self) -> asyncio.Protocol:
        """The protocol of a new connection."""
        if self.certificate is None:
            return self.made()
        return _Arrival(self, self.certificate.context)

    @property
    def under_way(self) -> int:
        """How many callers have not done their handshake."""
        return len(self._tasks)

    def begin(self, caller: socket.socket, context: ssl.SSLContext) -> None:
        """Somebody has connected."""
        if len(self._tasks) >= self._most:
            # Many may come before the first of them has ended.
            left = (task for task in self._tasks if not task.cancelling())
            if (longest := next(left, None)) is not None:
                longest.cancel()
        handshake = asyncio.get_running_loop().connect_accepted_socket(
            self.made,
            caller,
            ssl=context,
            ssl_handshake_timeout=self._limit_s,
            ssl_shutdown_timeout=_SHUTDOWN_S,
        )
        task = asyncio.create_task(handshake, name="handshake")
        self._tasks[task] = None
        task.add_done_callback(partial(self._ended, caller))

    async def stop(self) -> None:
        """End those that are under way."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, caller: socket.socket, task: asyncio.Task[Any]) -> None:
        del self._tasks[task]
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            caller.close()
        # Who speaks no TLS that we do, takes too long, or goes away is no news.
        if error is not None and not isinstance(error, OSError):
            log.error("A connection could not be secured: %r", error)


class _Arrival(asyncio.Protocol):
    """A connection in its first moment, before anything is read of it."""

    def __init__(self, handshakes: Handshakes, context: ssl.SSLContext) -> None:
        self._handshakes = handshakes
        self._context = context

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Only a socket can be begun with anew: by start_tls() what uvloop has read already would
        # be lost.
        opened = transport.get_extra_info("socket")
        try:
            caller = socket.fromfd(opened.fileno(), opened.family, opened.type)
        except OSError as error:  # too many open files
            log.warning("A connection cannot be taken: %s", error.strerror)
        else:
            self._handshakes.begin(caller, self._context)
        # uvloop's transports do not inherit from asyncio's.
        cast(asyncio.Transport, transport).abort()
