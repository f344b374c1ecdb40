"""What is asked of the bot in an event: a command, or a yes to a question of its own."""

import asyncio
from dataclasses import dataclass, field, replace

from policybot.policy.records import CommandRecord
from policybot.protocol.canonical_json import JsonObject

from .command import Command, message_text, parse_command
from .errors import CommandError
from .question import agreed_event


@dataclass(frozen=True, slots=True)
class Asked:
    """A command; or a yes to a question of ours, where the command is not known yet. ``reply_to``
    is the message with the command, or the question; ``came_ms`` is when it came, in milliseconds
    since 1970; ``answered`` is set when all is done about it."""

    event_id: str
    sender: str
    command: Command | CommandError | None
    reply_to: str
    came_ms: int
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    def records(self, room_id: str) -> tuple[CommandRecord, ...]:
        """What is to be kept until it is answered: itself, if it changes something."""
        command = self.command
        if not isinstance(command, Command) or not command.form.changes:
            return ()
        origin = (self.event_id, room_id, self.sender, command.text, self.came_ms, self.reply_to)
        return (CommandRecord(*origin, command.agreed),)


def asked_in(event: JsonObject, prefix: str, now_ms: int) -> Asked | None:
    """What is asked in an event that came now, or None."""
    event_id = event.get("event_id")
    if not isinstance(event_id, str):
        return None
    question = agreed_event(event)
    if question is not None:
        return Asked(event_id, event["sender"], None, question, now_ms)
    text = message_text(event["content"]) if event["type"] == "m.room.message" else None
    if text is None:
        return None
    return asked_again(
        CommandRecord(event_id, "", event["sender"], text, now_ms, event_id), prefix
    )


def asked_again(record: CommandRecord, prefix: str) -> Asked | None:
    """The command of a record, or None if the text is none."""
    command: Command | CommandError | None
    try:
        command = parse_command(record.text, prefix)
    except CommandError as error:
        command = error
    if isinstance(command, Command):
        command = replace(command, agreed=record.agreed)
    if command is None:
        return None
    return Asked(record.event_id, record.sender, command, record.reply_to, record.taken_ts)
