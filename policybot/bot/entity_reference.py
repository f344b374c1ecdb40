"""The user, server or room that a moderator means by what he types."""

import re

from policybot.policy.entity import Entity, InvalidEntity, parse_entity
from policybot.policy.rule import RuleKind

from .command import Command
from .errors import CommandError
from .reply import quoted

_QUOTED = re.compile("“(.*?)”", re.DOTALL)
_BETWEEN_NAMES = ("and", "&", "+", ",")


def entity_reference(text: str) -> Entity:
    """Raises:
    CommandError: it names nothing.
    """
    try:
        return parse_entity(text)
    except InvalidEntity as error:
        # What was typed is made quiet; our own hints stay as they are, to be copied.
        text = _QUOTED.sub(lambda match: quoted(match[1]), str(error))
        raise CommandError(text) from None


def only_entity(command: Command) -> Entity:
    """The one name in a command with free text behind it.

    Raises:
        CommandError: it names nothing, or a second name follows: as the begin of a reason it would
            be left out silently.
    """
    entity = entity_reference(command.words[0])
    words = command.rest.split()
    while words and words[0].lower() in _BETWEEN_NAMES:
        words.pop(0)
    try:
        second = parse_entity(words[0]) if words else None
    except InvalidEntity:
        return entity
    # The reason to ban a user may well begin with the name of a website.
    if second is None or (second.kind is RuleKind.SERVER and entity.kind is not RuleKind.SERVER):
        return entity
    raise CommandError(
        f"Only one name fits into a command, and {quoted(words[0])} looks like a second one, so "
        "nothing was done. Write a command for each. If it belongs to the reason, begin the "
        "reason with another word."
    )
