"""From a message in a moderation room to one reply.

Commands of one room are carried out one after the other, in the order in which they came, and
once: the sync position is stored before they are. What was sent while the bot was away is carried
out if it is younger than five minutes; the rest is listed in one notice. What the process ended in
is carried out once more, see `unanswered`.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from policybot.protocol.canonical_json import JsonObject

from .asked import Asked, asked_again, asked_in
from .client import HomeserverAway, MatrixClient, Refused
from .command import Command
from .errors import CommandError, NotStored
from .help import help_command
from .moderation_rooms import ModerationRooms, OpenRoom
from .notices import Notices
from .question import QUESTION_FIELD, YES, Question, Questions
from .raw_event import age_ms
from .reply import Reply
from .unanswered import MAX_AGE_MS, Unanswered, tell_missed

MAX_WAITING = 50
MAX_SEEN = 10_000
OPEN_ROOM_PAUSE_MS = 60 * 1000
SLOW_S = 2.0
REACTION_TIME_LIMIT_S = 10.0  # what is worth waiting for under a send limit
REPLY_PAUSES_S = (1.0, 5.0, 15.0)

CommandHandler = Callable[[str, str, Command], Awaitable[Reply | Question]]
"""Carries out a command for (moderation room, sender, command) and returns the reply, or does
nothing yet and returns what to ask first."""

log = logging.getLogger("policybot.commands")


class Commands:
    """Takes messages, runs one worker per moderation room, sends the replies."""

    def __init__(
        self,
        client: MatrixClient,
        moderation_rooms: ModerationRooms,
        notices: Notices,
        unanswered: Unanswered,
        handlers: Mapping[str, CommandHandler],
        *,
        bot_user_id: str,
        prefix: str,
        clock: Callable[[], int],
        slow_s: float = SLOW_S,
    ) -> None:
        self._client = client
        self._moderation_rooms = moderation_rooms
        self._notices = notices
        self._unanswered = unanswered
        self._handlers = {**handlers, "help": help_command}
        self._bot_user_id = bot_user_id
        self._prefix = prefix
        self._clock = clock
        self._slow_s = slow_s
        self._questions = Questions(client, moderation_rooms, bot_user_id=bot_user_id, clock=clock)
        self._queues: dict[str, asyncio.Queue[Asked]] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._seen: dict[str, None] = {}
        self._closed_told: dict[str, int] = {}

    async def take(self, room_id: str, events: tuple[JsonObject, ...], *, entered: bool) -> None:
        """Queue the commands, and the answers to questions, among the events of a room that is a
        moderation room.

        ``entered``: the room was not followed until now. Then its old commands may have been
        carried out long ago, so they are not listed.
        """
        if room_id not in self._moderation_rooms.ids():
            return
        missed: list[str] = []
        taken: list[Asked] = []
        for event in events:
            if event["sender"] == self._bot_user_id:
                continue
            asked = asked_in(event, self._prefix, self._clock())
            if asked is None or asked.event_id in self._seen:
                continue
            self._remember(asked.event_id)
            old = age_ms(event, asked.came_ms) > MAX_AGE_MS
            if old and asked.command is not None:
                missed.append(str(event["content"].get("body")))
            elif old and entered:
                pass  # a yes of long ago
            else:
                taken.append(asked)
        await self._unanswered.add(r for asked in taken for r in asked.records(room_id))
        crowd = [asked.event_id for asked in taken if not self._queue(room_id, asked)]
        if crowd:
            log.warning("Too many commands wait in %s; %d are dropped.", room_id, len(crowd))
            await self._unanswered.remove(crowd)
        if missed and not entered:
            tell_missed(self._notices, room_id, missed)

    def _remember(self, event_id: str) -> None:
        """Note a command: a sync that begins anew brings it again."""
        self._seen[event_id] = None
        if len(self._seen) > MAX_SEEN:
            del self._seen[next(iter(self._seen))]

    def _queue(self, room_id: str, asked: Asked) -> bool:
        queue = self._queues.get(room_id)
        if queue is None:
            queue = self._queues[room_id] = asyncio.Queue(MAX_WAITING)
            task = asyncio.create_task(self._work(room_id, queue), name=f"commands of {room_id}")
            self._workers.add(task)
        try:
            queue.put_nowait(asked)
        except asyncio.QueueFull:
            return False
        return True

    async def resume(self) -> list[asyncio.Event]:
        """Take once more what the last run of the process did not answer, before anything new;
        each event is set when one of these is answered. The moderation rooms are known by now."""
        resumed = []
        for record in await self._unanswered.left_over(self._moderation_rooms.ids()):
            asked = asked_again(record, self._prefix)
            if asked is not None and self._queue(record.room_id, asked):
                self._remember(record.event_id)
                resumed.append(asked.answered)
        return resumed

    async def stop(self) -> None:
        """End the workers; a command that is being carried out is broken off between two steps,
        and carried out once more at the next start."""
        for task in self._workers:
            task.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    # -- carrying out ----------------------------------------------------------------------------

    async def _work(self, room_id: str, queue: asyncio.Queue[Asked]) -> None:
        while True:
            asked = await queue.get()
            try:
                if asked.command is None:
                    command = await self._questions.agreed(
                        room_id, asked.reply_to, asked.sender, asked.came_ms
                    )
                    if command is None:
                        continue
                    asked = replace(asked, command=command)
                    await self._unanswered.add(asked.records(room_id))
                reply = await self._reply(room_id, asked)
                if isinstance(reply, Question):
                    await self._ask(room_id, asked, reply)
                elif reply is not None:
                    await self._send(room_id, asked, reply)
            except Exception:
                log.exception("Replying to a command in %s failed.", room_id)
            await self._unanswered.remove([asked.event_id])
            asked.answered.set()

    async def _reply(self, room_id: str, asked: Asked) -> Reply | Question | None:
        waiting = asyncio.create_task(self._acknowledge(room_id, asked.reply_to))
        try:
            return await self._carry_out(room_id, asked)
        except OpenRoom as error:
            # Anybody can come and make the bot talk there, so it says this once a minute.
            now = self._clock()
            # A clock that was set back must not silence it for long.
            if 0 <= now - self._closed_told.get(room_id, -OPEN_ROOM_PAUSE_MS) < OPEN_ROOM_PAUSE_MS:
                return None
            self._closed_told[room_id] = now
            return Reply.refused(error.text)
        except CommandError as error:
            reply = Reply.refused(error.text)
            return reply.json(error.paste) if error.paste is not None else reply
        except NotStored as error:
            return (
                Reply.refused("My database does not take it (")
                .name(str(error), 200)
                .text("), so I changed nothing. The operator has to look at it; then try again.")
            )
        except HomeserverAway as error:
            return Reply.refused("Your homeserver does not answer (").name(str(error), 200).text(
                "). Look with "
            ).command("status").text(" at what was done, and try again.")  # fmt: skip
        except Refused as error:
            return Reply.refused("Your homeserver refused: ").name(error.message, 300)
        except Exception:
            log.exception("A command in %s failed.", room_id)
            return Reply.refused(
                "That failed by a fault of mine; my log has the details. It may have been done in "
                "part. Look with "
            ).command("status")
        finally:
            waiting.cancel()
            await asyncio.wait({waiting})  # not awaited itself: its end must not hide ours

    async def _carry_out(self, room_id: str, asked: Asked) -> Reply | Question:
        command = asked.command
        assert command is not None
        changes = isinstance(command, Command) and command.form.changes
        await self._moderation_rooms.check(room_id, asked.sender, changes=changes)
        if isinstance(command, CommandError):
            raise command
        agreed = "" if command.agreed is None else ", agreed to"
        log.info("%s in %s: %s%s", asked.sender, room_id, command.form.name, agreed)
        handler = self._handlers[command.form.name]
        return await handler(room_id, asked.sender, command)

    async def _acknowledge(self, room_id: str, event_id: str) -> None:
        """Show that a command was seen, only if it takes longer: an ordinary account may send one
        event in five seconds."""
        await asyncio.sleep(self._slow_s)
        await self._react(room_id, event_id, "👀")

    async def _react(self, room_id: str, event_id: str, key: str) -> None:
        try:
            await self._client.react(
                room_id,
                event_id,
                key,
                transaction_id=f"policybot-react-{uuid.uuid4().hex}",
                time_limit=REACTION_TIME_LIMIT_S,
            )
        except (Refused, HomeserverAway) as error:
            log.debug("Could not react in %s: %s", room_id, error)

    async def _ask(self, room_id: str, asked: Asked, question: Question) -> None:
        event_id = await self._send(room_id, asked, question.worded(), {QUESTION_FIELD: {}})
        if event_id is None:
            return
        self._questions.opened(room_id, event_id, question)
        # So that one tap on it is an answer. It may come late or not at all: not waited for.
        task = asyncio.create_task(self._react(room_id, event_id, YES), name="offer an answer")
        self._workers.add(task)
        task.add_done_callback(self._workers.discard)

    async def _send(
        self,
        room_id: str,
        asked: Asked,
        reply: Reply,
        extra: Mapping[str, JsonObject] = MappingProxyType({}),
    ) -> str | None:
        """Send a reply; its event ID, or None if it could not be sent."""
        rendered = reply.render(self._prefix)
        for pause in (*REPLY_PAUSES_S, None):
            try:
                return await self._client.send_notice(
                    room_id,
                    rendered.plain,
                    rendered.html,
                    # The same ID at each attempt: the homeserver drops doubles.
                    transaction_id=f"policybot-reply-{asked.event_id}",
                    reply_to=asked.reply_to,
                    extra=extra,
                )
            except (Refused, HomeserverAway) as error:
                if isinstance(error, Refused) and error.status != 429:
                    log.warning("A reply in %s was refused: %s", room_id, error)
                    return None
                if pause is None:
                    break
                await asyncio.sleep(pause)
        log.warning("A reply in %s could not be sent yet.", room_id)
        if not extra:
            self._notices.tell(room_id, reply)
        return None
