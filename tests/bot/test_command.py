"""Commands as people type them on telephones and keyboards."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policybot.bot.command import (
    MAX_COMMAND_CHARACTERS,
    Command,
    message_text,
    parse_command,
)
from policybot.bot.command_forms import COMMAND_FORMS
from policybot.bot.errors import CommandError
from tests.protocol.events import steady


def parsed(body: str, prefix: str = "!policy") -> Command:
    command = parse_command(body, prefix)
    assert command is not None
    return command


@pytest.mark.parametrize(
    "body", ["", "hello", "!policyenable x", "!polic y", "say !policy help", "!polıcy help", "!p"]
)
def test_what_is_no_command(body: str) -> None:
    assert parse_command(body, "!policy") is None


@pytest.mark.parametrize(
    ("body", "name", "words", "flags", "options", "rest"),
    [
        ("!policy", "help", (), set(), {}, ""),
        ("  !POLICY   Help  ", "help", (), set(), {}, ""),
        ("!policy\nstatus", "status", (), set(), {}, ""),
        ("!policy\u00a0status", "status", (), set(), {}, ""),
        ("!policy enable #a:b", "enable", ("#a:b",), set(), {}, ""),
        ("!policy enable #a:b --replace", "enable", ("#a:b",), {"replace"}, {}, ""),
        ("!policy enable —replace #a:b", "enable", ("#a:b",), {"replace"}, {}, ""),
        ("!policy enable #a:b –UNCHECKED", "enable", ("#a:b",), {"unchecked"}, {}, ""),
        ("!policy ban @a:b", "ban", ("@a:b",), set(), {}, ""),
        ("!policy ban @a:b one  two", "ban", ("@a:b",), set(), {}, "one two"),
        ("!policy ban @a:b --list x why", "ban", ("@a:b",), set(), {"list": "x"}, "why"),
        ("!policy ban —list x @a:b why", "ban", ("@a:b",), set(), {"list": "x"}, "why"),
        ("!policy ban @a:b why not --list x", "ban", ("@a:b",), set(), {"list": "x"}, "why not"),
        ("!policy ban @a:b spam -- again", "ban", ("@a:b",), set(), {}, "spam -- again"),
        ("!policy ban @a:b spam --really", "ban", ("@a:b",), set(), {}, "spam --really"),
        ("!policy ban @a:b spam — again", "ban", ("@a:b",), set(), {}, "spam — again"),
        ("!policy watch #a:b code", "watch", ("#a:b", "code"), set(), {}, ""),
    ],
)
def test_words_flags_options_and_free_text(
    body: str,
    name: str,
    words: tuple[str, ...],
    flags: set[str],
    options: dict[str, str],
    rest: str,
) -> None:
    command = parsed(body)
    assert command.form.name == name
    assert command.words == words
    assert command.flags == flags
    assert command.options == options
    assert command.rest == rest


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("!policy sing", "What I know: !policy help"),
        ("!policy enable", "Something is missing. Write it like this: !policy enable <room>"),
        ("!policy enable a b", "one word too many"),
        ("!policy enable a --dry", "enable has no such option"),
        ("!policy ban a --lits x", "ban has no such option"),
        ("!policy ban a --list", "--list needs a value"),
        ("!policy " + "x" * (MAX_COMMAND_CHARACTERS + 1), "too long"),
    ],
)
def test_refusals_tell_how_to_write_it(body: str, text: str) -> None:
    with pytest.raises(CommandError, match=text.replace("!", r"\!")):
        parse_command(body, "!policy")


def test_usages_parse_as_they_are_shown() -> None:
    for form in COMMAND_FORMS.values():
        assert form.usage.startswith(form.name)
        assert form.summary[0].islower() and not form.summary.endswith(".")


@steady(200)
@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parse_command("!policy " + text, "!policy")
    except CommandError as error:
        assert len(error.text) < 300


# -- the text of a message ------------------------------------------------------------------------

PILL = '<a href="https://matrix.to/#/@queen:spam.example">Spam Queen</a>'


def content(**fields: Any) -> dict[str, Any]:
    return {"msgtype": "m.text", "body": "body", **fields}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "body"),
        ({"formatted_body": "html"}, "body"),
        ({"format": "org.matrix.custom.html", "formatted_body": "<b>html</b>"}, "body"),
        (
            {"format": "org.matrix.custom.html", "formatted_body": f"!policy ban {PILL}: spam"},
            "!policy ban https://matrix.to/#/@queen:spam.example: spam",
        ),
        (
            {
                "format": "org.matrix.custom.html",
                "formatted_body": f"<mx-reply><blockquote>{PILL}</blockquote></mx-reply>"
                f"<p>!policy &amp;<br>{PILL}</p>",
            },
            " !policy & https://matrix.to/#/@queen:spam.example",
        ),
        (
            {
                "body": "!policy ban @*:evil.org and * of Spam Queen",
                "format": "org.matrix.custom.html",
                "formatted_body": f"!policy ban @<em>:evil.org and </em> of {PILL}",
            },
            "!policy ban @*:evil.org and * of https://matrix.to/#/@queen:spam.example",
        ),
        (
            {
                "format": "org.matrix.custom.html",
                "formatted_body": f"<strong>!policy</strong> ban <b>{PILL}</b>",
            },
            "!policy ban https://matrix.to/#/@queen:spam.example",
        ),
        (
            {
                "format": "org.matrix.custom.html",
                "formatted_body": '!policy ban <a href="matrix:u/queen:spam.example">Queen</a>',
            },
            "!policy ban matrix:u/queen:spam.example",
        ),
        (
            {
                "format": "org.matrix.custom.html",
                "formatted_body": '!policy ban <a href="https://spam.example">x.org</a> matrix:',
            },
            "!policy ban x.org matrix:",
        ),
        (
            {"body": "!policy ban [Spam (Queen)](https://matrix.to/#/@queen:spam.example): ads"},
            "!policy ban https://matrix.to/#/@queen:spam.example: ads",
        ),
        (
            {"body": "!policy ban [x](<matrix:u/queen:spam.example>)"},
            "!policy ban matrix:u/queen:spam.example",
        ),
        ({"body": "[x](https://spam.example)"}, "[x](https://spam.example)"),
        ({"format": "org.matrix.custom.html", "formatted_body": 7}, "body"),
        (
            {
                "body": "!policy ban @innocent:example.org " + '"' * 3_000,
                "format": "org.matrix.custom.html",
                "formatted_body": f"!policy ban {PILL}" + "&quot;" * 3_000,
            },
            f"!policy ban {PILL}" + "&quot;" * 3_000,
        ),
        ({"body": "> <@a:b> !policy disable all\n> more\n\n!policy help"}, "\n!policy help"),
        ({"msgtype": "m.notice"}, None),
        ({"msgtype": ["m.text"]}, None),
        ({"body": None}, None),
        ({"m.relates_to": {"rel_type": "m.replace"}}, None),
        ({"m.relates_to": "odd"}, "body"),
    ],
)
def test_message_text(fields: dict[str, Any], text: str | None) -> None:
    assert message_text(content(**fields)) == text


@steady(100)
@given(st.text(alphabet='<>/ab ="&;!-p', max_size=80))
def test_any_html_is_read(html: str) -> None:
    html = "matrix.to/#/" + html
    fields = content(format="org.matrix.custom.html", formatted_body=html)
    assert isinstance(message_text(fields), str)
