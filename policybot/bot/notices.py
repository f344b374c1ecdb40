"""What the bot says unasked: one queue, sent in order, kept until the homeserver takes it."""

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Callable

from .client import HomeserverAway, MatrixClient, Precedence, Refused, TokenRejected
from .reply import Reply

MAX_WAITING = 500
RETRY_FIRST_S = 1.0
RETRY_MOST_S = 60.0

log = logging.getLogger("policybot.notices")


class Notices:
    """Notices to moderation rooms. ``moderation_rooms`` gives the rooms for `tell_all`, ``prefix``
    begins each command that a notice names.

    At most 500 wait; beyond that the oldest go, which is logged.
    """

    def __init__(
        self, client: MatrixClient, moderation_rooms: Callable[[], tuple[str, ...]], prefix: str
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._moderation_rooms = moderation_rooms
        self._waiting: deque[tuple[str, Reply, str]] = deque()
        self._wake = asyncio.Event()

    def tell(self, moderation_room: str, notice: Reply) -> None:
        """Queue a notice; without a moderation room it goes to all of them."""
        if not moderation_room:
            self.tell_all(notice)
            return
        if len(self._waiting) >= MAX_WAITING:
            room, lost, _ = self._waiting.popleft()
            log.warning("Too many notices wait; one for %s is lost: %s", room, lost)
        self._waiting.append((moderation_room, notice, f"policybot-notice-{uuid.uuid4().hex}"))
        self._wake.set()

    def tell_all(self, notice: Reply) -> None:
        """Queue a notice for every moderation room."""
        for room_id in self._moderation_rooms():
            self.tell(room_id, notice)

    async def run(self) -> None:
        """Send what is queued, for ever."""
        pause = RETRY_FIRST_S
        while True:
            await self._wake.wait()
            if not self._waiting:
                self._wake.clear()
                continue
            room_id, notice, transaction_id = self._waiting[0]
            rendered = notice.render(self._prefix)
            try:
                await self._client.send_notice(
                    room_id,
                    rendered.plain,
                    rendered.html,
                    transaction_id=transaction_id,
                    precedence=Precedence.UNASKED,
                )
            except TokenRejected:
                raise
            except (Refused, HomeserverAway) as error:
                if isinstance(error, HomeserverAway) or error.status == 429:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, RETRY_MOST_S)
                    continue
                log.warning("A notice to %s was refused (%s): %s", room_id, error.message, notice)
            pause = RETRY_FIRST_S
            if self._waiting and self._waiting[0][2] == transaction_id:
                self._waiting.popleft()
