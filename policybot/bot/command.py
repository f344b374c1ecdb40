"""A command as a moderator types it, parsed to a value or refused with its usage. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

from .errors import CommandError

MAX_COMMAND_CHARACTERS = 4_000

# How some clients write a mention in the plain text, with no HTML beside it.
_MARKDOWN_LINK = re.compile(r"\[[^\[\]\n]*\]\(<?((?:https://matrix\.to/#/|matrix:)[^\s()<>]+)>?\)")


@dataclass(frozen=True, slots=True)
class CommandForm:
    """What a command looks like: how many words, which flags, which options with a value.

    ``changes`` tells whether it changes something, and so needs the command power level.
    ``rest`` tells whether words beyond ``most`` are free text such as a reason.
    """

    name: str
    usage: str
    summary: str
    details: str
    least: int = 0
    most: int = 0
    flags: frozenset[str] = frozenset()
    options: frozenset[str] = frozenset()
    rest: bool = False
    changes: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its words, flags such as ``replace``, options such as ``list``, free text.

    ``agreed`` is None as a command is given. After a yes to the question that it raised it tells
    how many people the question said it would hit.
    """

    form: CommandForm
    words: tuple[str, ...]
    flags: frozenset[str]
    options: Mapping[str, str]
    rest: str
    agreed: int | None = None


_FORMS = (
    CommandForm(
        name="enable",
        usage="enable <room> [--replace] [--unchecked]",
        summary="protect a room: its events are checked before they are shown",
        details=(
            "I join the room, check that this policy server can be reached under its public name "
            "and that server keys are delivered, protect the room and set m.room.policy there. "
            "--replace replaces another policy server. --unchecked skips the check of the public "
            "name; use it only if that name cannot be asked from here. Before a moderation or "
            "reports room I ask."
        ),
        least=1,
        most=1,
        flags=frozenset({"replace", "unchecked"}),
        changes=True,
    ),
    CommandForm(
        name="disable",
        usage="disable <room|all>",
        summary="take the policy server out of a room, or of all rooms",
        details=(
            "I empty m.room.policy and go on signing everything for 7 days, since servers that "
            "missed the change go on asking."
        ),
        least=1,
        most=1,
        changes=True,
    ),
    CommandForm(
        name="status",
        usage="status [room]",
        summary="rooms, lists and how they are doing",
        details="With a room: all that is known about it.",
        most=1,
    ),
    CommandForm(
        name="watch",
        usage="watch <list> [shortcode]",
        summary="follow a policy list",
        details=(
            "The list is a room with ban rules, by ID, alias or link. Lists are asked in the "
            "order in which they are watched. The shortcode is a short name for `--list`."
        ),
        least=1,
        most=2,
        changes=True,
    ),
    CommandForm(
        name="unwatch",
        usage="unwatch <list>",
        summary="stop following a policy list",
        details="By shortcode, ID, alias or link.",
        least=1,
        most=1,
        changes=True,
    ),
    CommandForm(
        name="lists",
        usage="lists",
        summary="the lists followed here",
        details="With the number of rules, and rules that are left unused.",
    ),
    CommandForm(
        name="ban",
        usage="ban <user|server|room> [--list <shortcode>] [reason…]",
        summary="write a ban rule; without a list I make one",
        details=(
            "Messages of a banned user or server are refused in all protected rooms from then on. "
            "Name one user, server or room; a mention or a link does as well. `*` stands for any "
            "text, `?` for one character. Before a rule that hits more than five members of "
            "protected rooms I ask. I do not kick: ban the person in the room as well."
        ),
        least=1,
        most=1,
        options=frozenset({"list"}),
        rest=True,
        changes=True,
    ),
    CommandForm(
        name="unban",
        usage="unban <user|server|room> [--list <shortcode>]",
        summary="remove a ban rule",
        details="New messages pass at once. What was refused stays refused: it can be sent again.",
        least=1,
        most=1,
        options=frozenset({"list"}),
        rest=True,
        changes=True,
    ),
    CommandForm(
        name="match",
        usage="match <user|server|room>",
        summary="which rules match, and what would be decided",
        details="Changes nothing.",
        least=1,
        most=1,
    ),
    CommandForm(
        name="why",
        usage="why <reference|event ID|link>",
        summary="why an event was refused or exempted",
        details="The reference stands in the report and in the error that the person saw.",
        least=1,
        most=1,
    ),
    CommandForm(
        name="help",
        usage="help [command]",
        summary="this list, or more about one command",
        details="",
        most=1,
    ),
)

COMMAND_FORMS: Mapping[str, CommandForm] = {form.name: form for form in _FORMS}


def parse_command(body: str, prefix: str) -> Command | None:
    """Parse a message. None if it is no command, that is: does not begin with ``prefix``.

    Raises:
        CommandError: it is a command, but not one that can be carried out.
    """
    body = body.strip()
    if not body.lower().startswith(prefix.lower()):
        return None
    line = body[len(prefix) :]
    if line and not line[0].isspace():
        return None
    if len(line) > MAX_COMMAND_CHARACTERS:
        raise CommandError("That command is too long.")
    words = line.split()
    if not words:
        words = ["help"]
    name = words[0].lower()
    form = COMMAND_FORMS.get(name)
    if form is None:
        raise CommandError(f"I do not know that command. What I know: {prefix} help")
    return _parse_words(form, words[1:], prefix)


def _parse_words(form: CommandForm, words: list[str], prefix: str) -> Command:
    usage = f"Write it like this: {prefix} {form.usage}"
    plain: list[str] = []
    flags: set[str] = set()
    options: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        option = _option(word)
        known = option in form.flags or option in form.options
        if option is None or (form.rest and len(plain) > form.most and not known):
            plain.append(word)
        elif option in form.flags:
            flags.add(option)
        elif option in form.options:
            value = next(rest, None)
            if value is None:
                raise CommandError(f"--{option} needs a value. {usage}")
            options[option] = value
        else:
            raise CommandError(f"{form.name} has no such option. {usage}")
    if len(plain) < form.least:
        raise CommandError(f"Something is missing. {usage}")
    if len(plain) > form.most and not form.rest:
        raise CommandError(f"That is one word too many. {usage}")
    return Command(
        form,
        tuple(plain[: form.most]),
        frozenset(flags),
        options,
        " ".join(plain[form.most :]),
    )


def _option(word: str) -> str | None:
    """The name of an option. Telephones turn two hyphens into a dash; both are taken."""
    for mark in ("--", "\N{EM DASH}", "\N{EN DASH}"):
        if word.startswith(mark) and len(word) > len(mark):
            return word[len(mark) :].lower()
    return None


def message_text(content: Mapping[str, Any]) -> str | None:
    """The text of a message, with mentions (shown as a display name) replaced by their link.

    None if the message is no text message, or is an edit of an earlier one.
    """
    if content.get("msgtype") != "m.text":
        return None
    relation = content.get("m.relates_to")
    if isinstance(relation, dict) and relation.get("rel_type") == "m.replace":
        return None
    body = content.get("body")
    if not isinstance(body, str):
        return None
    html = content.get("formatted_body")
    if (
        content.get("format") == "org.matrix.custom.html"
        and isinstance(html, str)
        and ("matrix.to/#/" in html or "matrix:" in html)
    ):
        if len(html) > 4 * MAX_COMMAND_CHARACTERS:
            # Not the body: in it a mention is a name that its bearer has chosen, and may have
            # made so long. As a command this is refused for its length.
            return html
        parser = _Mentions(emphasis=next((mark for mark in "*_" if mark in body), ""))
        parser.feed(html)
        parser.close()
        return "".join(parser.parts)
    return _MARKDOWN_LINK.sub(r"\1", _without_reply_fallback(body))


def _without_reply_fallback(body: str) -> str:
    lines = body.split("\n")
    if not lines[0].startswith("> <"):
        return body
    while lines and lines[0].startswith(">"):
        lines.pop(0)
    return "\n".join(lines)


class _Mentions(HTMLParser):
    """Turns HTML to text; a link to a user, room or event is given as its target.

    ``emphasis`` is the mark that a client may have turned into emphasis: two stars may have been
    wildcards.
    """

    def __init__(self, emphasis: str) -> None:
        super().__init__(convert_charrefs=True)
        self._marks = {"em": emphasis, "strong": 2 * emphasis}
        self.parts: list[str] = []
        self._skipped: str | None = None

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if self._skipped is not None:
            return
        if tag == "mx-reply":
            self._skipped = tag
        elif tag == "a":
            target = dict(attributes).get("href") or ""
            if "matrix.to/#/" in target or target.startswith("matrix:"):
                self.parts.append(target)
                self._skipped = tag
        elif tag in ("br", "p"):
            self.parts.append(" ")
        else:
            self.parts.append(self._marks.get(tag, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == self._skipped:
            self._skipped = None
        elif self._skipped is None:
            self.parts.append(self._marks.get(tag, ""))

    def handle_data(self, data: str) -> None:
        if self._skipped is None:
            self.parts.append(data)
