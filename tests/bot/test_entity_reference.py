"""The one name in a command, and second names that would be lost."""

import pytest

from policybot.bot.command import Command, parse_command
from policybot.bot.entity_reference import entity_reference, only_entity
from policybot.bot.errors import CommandError


def command(words: str, verb: str = "ban") -> Command:
    parsed = parse_command(f"!policy {verb} {words}", "!policy")
    assert parsed is not None
    return parsed


@pytest.mark.parametrize("verb", ["ban", "unban"])
@pytest.mark.parametrize(
    "words",
    [
        "@a:spam.example @b:spam.example",
        "@a:spam.example, @b:spam.example spam",
        "@a:spam.example\n@b:spam.example",
        "@a:spam.example and @b:spam.example",
        "@a:spam.example , @b:spam.example",
        "@a:spam.example https://matrix.to/#/@b:spam.example",
        "@a:spam.example --list x @b:spam.example",
        "@a:spam.example #b:spam.example",
        "spam.example bad.example",
        "spam.example *",
        "spam.example @b:spam.example",
        "#a:spam.example #b:spam.example",
    ],
)
def test_a_second_name_is_not_taken_for_the_reason(verb: str, words: str) -> None:
    with pytest.raises(CommandError, match="looks like a second one, so nothing was done"):
        only_entity(command(words, verb))


@pytest.mark.parametrize(
    "reason",
    ["", "spam.example ads", "alt of @b:spam.example", "$event", "and so on", "and", "* *"]
    + ["https://matrix.to/#/!room:x.org/$" + "a" * 43, "@b"],
)
def test_reasons_may_hold_names(reason: str) -> None:
    assert only_entity(command(f"@a:spam.example {reason}")).text == "@a:spam.example"


def test_what_was_typed_pings_nobody() -> None:
    with pytest.raises(CommandError) as raised:
        entity_reference("@room")
    assert "@room" not in raised.value.text
    assert "@name:example.org" in raised.value.text
