"""Whether verdicts can be written, and what is said while they cannot."""

import asyncio
import logging
from collections.abc import Callable

from .failure import blames_row, first_line, passes

log = logging.getLogger("policybot.store")

COMPLAINT_INTERVAL_S = 60.0
TOLD_AFTER_S = 60.0


class WriteOutage:
    """``failing`` tells that the last attempt to write has failed.

    The log gets a line a minute. ``on_change`` is called with the database's words when people
    should know: at once, or after a minute if it may pass by itself, as a lock or a server that
    restarts; and with None when it is over. ``told_after_s`` is that minute.
    """

    def __init__(self, *, told_after_s: float = TOLD_AFTER_S) -> None:
        self.failing = False
        self.on_change: Callable[[str | None], None] | None = None
        self._told_after_s = told_after_s
        self._since = 0.0
        self._complained_at: float | None = None
        self._logged = False
        self._told = False

    def failed(self, error: Exception, *, waiting: int, dropped: int) -> bool:
        """Note a failed attempt; True for the first of a row."""
        now = asyncio.get_running_loop().time()
        first = not self.failing
        if first:
            self.failing, self._since = True, now
        if self._complained_at is None or now - self._complained_at >= COMPLAINT_INTERVAL_S:
            self._complained_at = now
            self._logged = True
            log.error(
                "Verdicts cannot be written to the database (%s: %s); answers are given from "
                "memory, %d wait, %d were dropped so far.",
                type(error).__name__,
                first_line(error),
                waiting,
                dropped,
            )
        lasting = now - self._since >= self._told_after_s
        if not self._told and (lasting or not (passes(error) or blames_row(error))):
            self._told = True
            self._tell(first_line(error))
        return first

    def over(self, *, waiting: int) -> None:
        """Note an attempt that went through."""
        self.failing = False
        if self._logged:
            log.warning("The database can be written again; %d verdicts wait.", waiting)
        self._logged = False
        if self._told:
            self._told = False
            self._tell(None)

    def _tell(self, error: str | None) -> None:
        if self.on_change is None:
            return
        try:
            self.on_change(error)
        except Exception:
            log.exception("Telling about the database failed.")
