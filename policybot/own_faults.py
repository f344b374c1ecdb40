"""What the moderators are told of faults of the bot itself: each at most once an hour."""

import time
from collections.abc import Callable

from .bot.chat import Chat
from .bot.reply import Reply

NOTICE_INTERVAL_S = 3600.0


class OwnFaults:
    """Tells the moderation rooms of ``chat``. ``clock_s`` gives seconds and never jumps."""

    def __init__(self, chat: Chat, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._chat = chat
        self._clock_s = clock_s
        self._told_at: dict[str, float] = {}
        self._outage_told = False

    def _may_tell(self, what: str) -> bool:
        now = self._clock_s()
        if now - self._told_at.get(what, float("-inf")) < NOTICE_INTERVAL_S:
            return False
        self._told_at[what] = now
        return True

    def not_judged(self, room_id: str, signed: bool) -> None:
        """A fault of our own while judging an event of that room, and what was answered."""
        if not self._may_tell("judging"):
            return
        rooms = self._chat.protected_rooms
        record = rooms.record(room_id)
        notice = Reply.problem("I failed to judge an event in ")
        notice.name(rooms.name(room_id)).text(" by a fault of mine, and ")
        notice.text("signed it unchecked" if signed else "refused it")
        notice.text(". The operator finds the details in my log. I say this once an hour at most.")
        self._chat.notices.tell(record.moderation_room if record is not None else "", notice)

    def database(self, error: str | None) -> None:
        """The database cannot be written, for that reason; or with None, it can again."""
        if error is None:
            self._chat.care.soon.set()  # there is something to be written
            if self._outage_told:
                self._outage_told = False
                self._chat.notices.tell_all(Reply.done("My database can be written again."))
        elif self._may_tell("database"):
            self._outage_told = True
            notice = Reply.problem("My database cannot be written (").name(error, 200)
            notice.text(
                "). I go on answering from memory; what I refuse is reported when it can be "
                "written again. What waits is lost if I am stopped before. The operator has to "
                "look at it: is the disk full?"
            )
            self._chat.notices.tell_all(notice)
