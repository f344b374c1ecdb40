"""The name in what people type and paste, without what stands around it.

Telephones put full stops after words and curly quotation marks around them; copying from a client
brings invisible marks along.
"""

import unicodedata

_BEFORE = "<(\"'`“”„‟‘’‚«»‹›"
# A question mark stays: it is a wildcard. So does a bracket: IPv6 addresses end with one.
_AFTER = ">)\"'`“”‘’«»‹›,.;:!…"
_SIGILS = "@#!$"


def bare_name(text: str) -> str:
    """The text without spaces, quotation marks and brackets around it, punctuation after it, and
    invisible characters at its ends or after its sigil."""
    start, end = 0, len(text)
    while start < end and _is_around(text[start], _BEFORE):
        start += 1
    while start < end and _is_around(text[end - 1], _AFTER):
        end -= 1
    sigil, rest = text[start:end][:1], text[start:end][1:]
    if sigil in _SIGILS:
        rest = rest.lstrip("\u200b")  # we put it there ourselves, so that nobody is mentioned
    return sigil + rest


def is_invisible(character: str) -> bool:
    """Whether a character is a control, direction or zero-width mark."""
    return unicodedata.category(character) in ("Cc", "Cf")


def _is_around(character: str, marks: str) -> bool:
    return character in marks or character.isspace() or is_invisible(character)
