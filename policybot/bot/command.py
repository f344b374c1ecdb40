"""A command as a moderator types it, parsed to a value or refused with its usage. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from typing import Any

from .command_forms import COMMAND_FORMS, CommandForm
from .errors import CommandError

MAX_COMMAND_CHARACTERS = 4_000

# How some clients write a mention in the plain text, with no HTML beside it.
_MARKDOWN_LINK = re.compile(r"\[[^\[\]\n]*\]\(<?((?:https://matrix\.to/#/|matrix:)[^\s()<>]+)>?\)")


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its words, flags such as ``replace``, options such as ``list``, free text.

    ``text`` is the whole of it as it was given.

    ``agreed`` is None as a command is given. After a yes to the question that it raised it tells
    how many people the question said it would hit.
    """

    form: CommandForm
    words: tuple[str, ...]
    flags: frozenset[str]
    options: Mapping[str, str]
    rest: str
    agreed: int | None = None
    text: str = field(default="", compare=False)


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
    return replace(_parse_words(form, words[1:], prefix), text=body)


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
