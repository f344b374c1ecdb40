"""What the bot says, built once and rendered as plain text and as HTML.

Whatever comes from outside (names, reasons, IDs, server answers) goes through `name` or `code`:
escaped, shortened, without control or direction marks, and unable to mention anybody.
"""

import html
import json
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from policybot.protocol.canonical_json import JsonObject

MAX_NAME = 100
MAX_CODE = 255
MAX_SPOILER = 2_000
MAX_SPOILER_LINES = 30
MAX_BYTES = 50_000
"""Bytes of both forms together, as JSON. A whole event may have 65,536."""

Item = TypeVar("Item")

_ZERO_WIDTH = "\u200b"
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_INVISIBLE_LETTERS = "\u115f\u1160\u2800\u3164\uffa0"  # fillers that no category tells

# Stands for the configured command prefix until a reply is rendered. A private-use character,
# which `clean` takes out of everything that comes from outside.
_PREFIX = "\ue000"

_PLAIN_QUOTES = str.maketrans("“”„‟", '""""')


def clean(text: str, length: int) -> str:
    """One line of printable text of at most ``length`` characters.

    Control, direction and other invisible characters go: they could turn the rest of the line
    round or hide in it. Long runs of combining marks go too, since they paint over other lines.
    """
    kept: list[str] = []
    marks = 0
    for character in text[: 4 * length]:
        category = unicodedata.category(character)
        if category in ("Mn", "Me"):
            marks += 1
            if marks > 3:
                continue
        else:
            marks = 0
        if category in ("Zl", "Zp") or character in "\n\r\t":
            kept.append(" ")
        elif category not in _INVISIBLE_CATEGORIES and character not in _INVISIBLE_LETTERS:
            kept.append(character)
    line = " ".join("".join(kept).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def quiet(text: str, length: int) -> str:
    """The same, and clients find no mention and no URL in it."""
    text = clean(text, length)
    return text.replace("@", "@" + _ZERO_WIDTH).replace("://", ":" + _ZERO_WIDTH + "//")


def quoted(text: str, length: int = 200) -> str:
    """A text from outside for use inside a sentence: cleaned, shortened, in quotation marks."""
    # Quotation marks of its own could end the quotation and go on in our voice.
    line = quiet(text.translate(_PLAIN_QUOTES), length) or "(empty)"
    return f"“{line}”"


@dataclass(frozen=True, slots=True)
class Rendered:
    """Both forms of one message."""

    plain: str
    html: str


class Reply:
    """A message under construction; each method adds to it and returns it."""

    def __init__(self, sign: str = "") -> None:
        self._plain: list[str] = [f"{sign} "] if sign else []
        self._html: list[str] = [f"{sign} "] if sign else []

    @classmethod
    def done(cls, text: str = "") -> "Reply":
        """A reply that begins with a tick."""
        return cls("✅").text(text)

    @classmethod
    def refused(cls, text: str = "") -> "Reply":
        """A reply that begins with a cross."""
        return cls("❌").text(text)

    @classmethod
    def problem(cls, text: str = "") -> "Reply":
        """A notice about something that needs a moderator."""
        return cls("⚠️").text(text)

    def text(self, text: str) -> Self:
        """Our own words."""
        self._plain.append(text)
        self._html.append(html.escape(text, quote=False))
        return self

    def name(self, text: str, length: int = MAX_NAME) -> Self:
        """A text from outside, such as a room's name or a reason, in quotation marks."""
        line = quoted(text, length)
        self._plain.append(line)
        self._html.append(html.escape(line))
        return self

    def code(self, text: str, length: int = MAX_CODE) -> Self:
        """An ID or a command, to be copied as it is."""
        line = clean(text, length)
        # What holds spaces could pass for our own words.
        if " " in line:
            self._plain.append("`" + line.replace("`", "'") + "`")
        else:
            self._plain.append(line)
        self._html.append(f"<code>{html.escape(line)}</code>")
        return self

    def command(self, text: str) -> Self:
        """A command to be copied, without its prefix."""
        line = clean(text, MAX_CODE)
        self._plain.append(f"{_PREFIX} {line}")
        self._html.append(f"<code>{_PREFIX} {html.escape(line)}</code>")
        return self

    def strong(self, text: str) -> Self:
        """Our own words, set off."""
        self._plain.append(text)
        self._html.append(f"<strong>{html.escape(text, quote=False)}</strong>")
        return self

    def line(self) -> Self:
        """Start a new line."""
        self._plain.append("\n")
        self._html.append("<br>")
        return self

    def item(self) -> Self:
        """Start a new line of a list."""
        self._plain.append("\n• ")
        self._html.append("<br>• ")
        return self

    def spoiler(self, warning: str, text: str) -> Self:
        """A text from outside that may hurt, hidden until somebody wants to see it.

        Plain text can hide nothing, so there the text comes after our own words of ``warning``
        and some empty lines, which keeps it out of previews.
        """
        lines = [quiet(line, MAX_SPOILER) for line in text[:MAX_SPOILER].splitlines()]
        lines = [line.replace("www.", "www." + _ZERO_WIDTH) for line in lines if line]
        cut = len(lines) > MAX_SPOILER_LINES or len(text) > MAX_SPOILER
        lines = [*lines[:MAX_SPOILER_LINES], *(["…"] if cut else [])] or ["(empty)"]
        self._plain.append(f"⚠️ {warning}:\n\n\n" + "\n".join(f"| {line}" for line in lines))
        # Clients make no link and no preview of what stands in <code>.
        shown = "<br>".join(f"<code>{html.escape(line)}</code>" for line in lines)
        self._html.append(f'<span data-mx-spoiler="{html.escape(warning)}">{shown}</span>')
        return self

    def json(self, content: JsonObject) -> Self:
        """A block of JSON to be copied."""
        block = json.dumps(content, indent=2, ensure_ascii=False)
        self._plain.append(f"\n{block}\n")
        self._html.append(f"<pre><code>{html.escape(block)}</code></pre>")
        return self

    def add(self, other: "Reply") -> Self:
        """Append another reply."""
        self._plain += other._plain
        self._html += other._html
        return self

    def several(self, items: Sequence[Item], most: int, shown: "Callable[[Item], Reply]") -> Self:
        """The first of the items, at most so many, each as ``shown`` puts it, and how many more
        there are."""
        for index, item in enumerate(items[:most]):
            self.text(", " if index else "").add(shown(item))
        return self.text(f" and {len(items) - most:,} more") if len(items) > most else self

    def render(self, prefix: str = "!policy", most: int = MAX_BYTES) -> Rendered:
        """Both forms; what is longer than ``most`` bytes together is cut, saying so. ``prefix``
        begins each command."""
        plain = "".join(self._plain).replace(_PREFIX, prefix)
        rich = "".join(self._html).replace(_PREFIX, html.escape(prefix))
        length = most // 2
        while _size(plain) + _size(rich) > most:
            plain = plain[:length].rpartition("\n")[0] or plain[:length]
            plain += "\n… (cut)"
            rich = html.escape(plain, quote=False).replace("\n", "<br>")
            length //= 2
        return Rendered(plain, rich)

    def __str__(self) -> str:
        return self.render().plain


def _size(text: str) -> int:
    """Bytes in canonical JSON."""
    return len(json.dumps(text, ensure_ascii=False).encode("utf-8", "replace"))
