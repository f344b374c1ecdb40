"""The question before a risky command, answered by a reaction with ✅.

A slip of the thumb must not refuse a whole crowd. Such a command is not carried out at once: the
bot says what would happen, and goes on when somebody who may command agrees. Then the command is
carried out as if it had just been given, with all its checks. Open questions are in memory only.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from policybot.protocol.canonical_json import JsonObject

from .client import HomeserverAway, MatrixClient, Refused
from .command import Command
from .errors import CommandError
from .moderation_rooms import ModerationRooms, OpenRoom
from .raw_event import is_event
from .reply import Reply

YES = "✅"
ANSWER_MS = 10 * 60 * 1000
FEW_MEMBERS = 5
"""A rule that hits more people than this is asked about."""

QUESTION_FIELD = "policybot.question"
"""In the content of a question's message, so that it is known as one after a restart."""

MAX_OPEN = 10
MAX_SETTLED = 1_000

_SELECTORS = "\ufe0e\ufe0f"  # say whether an emoji is shown in colour

log = logging.getLogger("policybot.commands")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked instead of carrying out a command: ``text`` says what would happen,
    ``members`` is how many people it would hit."""

    command: Command
    text: Reply
    members: int = 0

    def worded(self) -> Reply:
        """The whole message."""
        reply = Reply("❓").add(self.text)
        return reply.line().text("Nothing is done yet: react with ✅ within 10 minutes to go on.")


@dataclass(frozen=True, slots=True)
class _Open:
    command: Command
    until_ms: int


class Questions:
    """The questions of all moderation rooms. ``clock`` gives milliseconds since 1970.

    At most 10 are open in one room; beyond that the oldest lapses.
    """

    def __init__(
        self,
        client: MatrixClient,
        moderation_rooms: ModerationRooms,
        *,
        bot_user_id: str,
        clock: Callable[[], int],
    ) -> None:
        self._client = client
        self._moderation_rooms = moderation_rooms
        self._bot_user_id = bot_user_id
        self._clock = clock
        self._open: dict[str, dict[str, _Open]] = {}
        self._settled: dict[str, None] = {}  # events to which a reaction means nothing any more

    def opened(self, room_id: str, event_id: str, question: Question) -> None:
        """A question was asked by this event."""
        questions = self._open.setdefault(room_id, {})
        command = replace(question.command, agreed=question.members)
        questions[event_id] = _Open(command, self._clock() + ANSWER_MS)
        if len(questions) > MAX_OPEN:
            del questions[next(iter(questions))]

    async def agreed(
        self, room_id: str, event_id: str, sender: str, came_ms: int
    ) -> Command | CommandError | None:
        """Somebody reacted with ✅ to an event: the command to carry out, once; or what to tell
        him, if the event is a question that is no longer open; or None if it means nothing.

        ``came_ms`` is when the bot learned of it, by its clock.
        """
        if event_id in self._settled:
            return None
        asked = self._open.get(room_id, {}).get(event_id)
        if asked is None and not self._is_member(room_id, sender):
            return None  # not worth asking the homeserver
        try:
            if not await self._stands(room_id, event_id):
                self._settle(room_id, event_id)
                return None
            await self._moderation_rooms.check(room_id, sender, changes=True)
        except OpenRoom as error:
            return error
        except CommandError:
            log.info("%s may not answer a question in %s.", sender, room_id)
            return None
        except (Refused, HomeserverAway) as error:
            log.warning("Could not read what %s reacted to in %s: %s", sender, room_id, error)
            if asked is None:
                return None
            return CommandError(
                "Your homeserver does not answer. React again, or send the command again."
            )
        self._settle(room_id, event_id)
        if asked is None or came_ms > asked.until_ms:
            return CommandError(
                "This question is no longer open, so nothing was done. Send the command again."
            )
        return asked.command

    def _is_member(self, room_id: str, sender: str) -> bool:
        value = self._moderation_rooms.get(room_id)
        return value is not None and sender in value.members

    async def _stands(self, room_id: str, event_id: str) -> bool:
        """Whether an event is a question of ours that nobody has removed."""
        event = await self._client.event(room_id, event_id)
        return (
            is_event(event)
            and event["sender"] == self._bot_user_id
            and QUESTION_FIELD in event["content"]
        )

    def _settle(self, room_id: str, event_id: str) -> None:
        self._open.get(room_id, {}).pop(event_id, None)
        self._settled[event_id] = None
        if len(self._settled) > MAX_SETTLED:
            del self._settled[next(iter(self._settled))]


def agreed_event(event: JsonObject) -> str | None:
    """The ID of the event to which an event is a reaction with ✅; None if it is none."""
    relation = event["content"].get("m.relates_to")
    if event["type"] != "m.reaction" or not isinstance(relation, dict):
        return None
    key, event_id = relation.get("key"), relation.get("event_id")
    if relation.get("rel_type") != "m.annotation" or not isinstance(key, str):
        return None
    return event_id if key.rstrip(_SELECTORS) == YES and isinstance(event_id, str) else None


def must_ask(command: Command, members: int) -> bool:
    """Whether to ask before a rule that hits so many people: never for a few, and not again
    unless clearly more came since somebody agreed."""
    if command.agreed is None:
        return members > FEW_MEMBERS
    return members > command.agreed + max(FEW_MEMBERS, command.agreed // 10)
