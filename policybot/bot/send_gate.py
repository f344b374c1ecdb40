"""Whose turn it is to send, when the homeserver takes only so much from one account.

An ordinary account may send one event in five seconds after the first ten. Once the homeserver
says so, all that wants to send waits for the moment that it named, and then what a moderator asked
for goes first.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import IntEnum

MAX_CLOSED_S = 60.0
"""The homeserver is asked again after so long, whatever it said."""


class Precedence(IntEnum):
    """Who goes first: what carries out a command or replies to it, or what the bot says by
    itself."""

    ASKED = 0
    UNASKED = 1


class SendGate:
    """The gate that everything sent by one account passes.

    What was asked for passes whenever the gate is open. What was not asked for passes alone and
    only if nothing else waits, so that it takes nobody's turn.
    """

    def __init__(self) -> None:
        self._opens_at = 0.0
        self._tickets = itertools.count()
        self._waiting: list[tuple[Precedence, int]] = []
        self._under_way = 0
        self._moved = asyncio.Event()

    def close(self, seconds: float) -> None:
        """Let nobody pass for so long: the homeserver asked for it."""
        opens_at = asyncio.get_running_loop().time() + min(seconds, MAX_CLOSED_S)
        self._opens_at = max(self._opens_at, opens_at)

    @asynccontextmanager
    async def turn(self, precedence: Precedence) -> AsyncIterator[None]:
        """Wait for the turn to send one request, and keep it while the request is under way."""
        ticket = (precedence, next(self._tickets))
        self._waiting.append(ticket)
        try:
            while not self._may_pass(ticket):
                await self._wait()
        finally:
            self._waiting.remove(ticket)
            self._move()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._move()

    def _closed_for(self) -> float:
        return self._opens_at - asyncio.get_running_loop().time()

    def _may_pass(self, ticket: tuple[Precedence, int]) -> bool:
        if self._closed_for() > 0 or ticket != min(self._waiting):
            return False
        return ticket[0] is Precedence.ASKED or not self._under_way

    async def _wait(self) -> None:
        """Wait until the gate opens or somebody has moved."""
        closed_for = self._closed_for()
        with suppress(TimeoutError):
            async with asyncio.timeout(closed_for if closed_for > 0 else None):
                await self._moved.wait()

    def _move(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
