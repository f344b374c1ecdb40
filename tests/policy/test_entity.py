import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from policybot.policy.entity import Entity, InvalidEntity, parse_entity
from policybot.policy.rule import RuleKind
from policybot.protocol.pasted_name import is_invisible

USER, SERVER, ROOM = RuleKind
HASH = "!" + "a" * 43


@pytest.mark.parametrize(
    ("text", "kind", "entity"),
    [
        ("@spam:evil.org", USER, "@spam:evil.org"),
        ("  @Spam:evil.org ", USER, "@Spam:evil.org"),
        ("<@spam:evil.org>", USER, "@spam:evil.org"),
        ("@spam:evil.org,", USER, "@spam:evil.org"),
        ("@spam:evil.org:", USER, "@spam:evil.org"),
        ("(@spam:evil.org).", USER, "@spam:evil.org"),
        ("“@spam:evil.org”", USER, "@spam:evil.org"),
        ("„@spam:evil.org“", USER, "@spam:evil.org"),
        ("'@spam:evil.org'", USER, "@spam:evil.org"),
        ("`@spam:evil.org`", USER, "@spam:evil.org"),
        ("@\u200bspam:evil.org", USER, "@spam:evil.org"),
        ("\u2068@spam:evil.org\u2069", USER, "@spam:evil.org"),
        ("\ufeff@spam:evil.org\u200e", USER, "@spam:evil.org"),
        ("@spam*:evil.org,", USER, "@spam*:evil.org"),
        ("@*:[2001:db8::*]", USER, "@*:[2001:db8::*]"),
        ("evil.org.", SERVER, "evil.org"),
        ("«evil.org»,", SERVER, "evil.org"),
        ("#room:example.org!", ROOM, "#room:example.org"),
        ("https://matrix.to/#/@spam:evil.org:", USER, "@spam:evil.org"),
        ("<https://matrix.to/#/@spam:evil.org>.", USER, "@spam:evil.org"),
        ("https://matrix.to/#/@sp%E2%80%8Bam:evil.org", USER, "@sp\u200bam:evil.org"),
        ("@spam:evil.org:8448", USER, "@spam:evil.org:8448"),
        ("@irc/spam:evil.org", USER, "@irc/spam:evil.org"),
        ("@spam*:evil.org", USER, "@spam*:evil.org"),
        (r"@\*:evil.org", USER, "@*:evil.org"),
        (r"@a\_b:evil.org", USER, "@a_b:evil.org"),
        ("@*:*", USER, "@*:*"),
        ("@spam*", USER, "@spam*"),
        ("evil.org", SERVER, "evil.org"),
        ("EVIL.org", SERVER, "evil.org"),
        ("*.evil.org", SERVER, "*.evil.org"),
        ("evil?.org", SERVER, "evil?.org"),
        ("*", SERVER, "*"),
        ("localhost", SERVER, "localhost"),
        ("192.0.2.1", SERVER, "192.0.2.1"),
        ("[2001:DB8::1]", SERVER, "[2001:db8::1]"),
        ("[2001:db8:*]", SERVER, "[2001:db8:*]"),
        ("#room:example.org", ROOM, "#room:example.org"),
        ("#room*:example.org", ROOM, "#room*:example.org"),
        ("!room:example.org", ROOM, "!room:example.org"),
        (HASH, ROOM, HASH),
        ("https://matrix.to/#/@spam:evil.org", USER, "@spam:evil.org"),
        ("https://matrix.to/#/%40spam%3Aevil.org", USER, "@spam:evil.org"),
        ("http://www.matrix.to/#/@spam:evil.org?via=x.org", USER, "@spam:evil.org"),
        ("https://matrix.to/#/@irc/spam:evil.org", USER, "@irc/spam:evil.org"),
        ("https://matrix.to/#/@irc%2Fspam:evil.org/", USER, "@irc/spam:evil.org"),
        ("HTTPS://Matrix.to/#/#room:example.org", ROOM, "#room:example.org"),
        ("https://matrix.to/#/%23room:example.org?via=x", ROOM, "#room:example.org"),
        (f"https://matrix.to/#/{HASH}?via=example.org", ROOM, HASH),
        ("matrix:u/spam:evil.org", USER, "@spam:evil.org"),
        ("matrix:u/spam:evil.org?action=chat", USER, "@spam:evil.org"),
        ("matrix:u/irc%2Fspam:evil.org", USER, "@irc/spam:evil.org"),
        ("matrix:user/spam:evil.org", USER, "@spam:evil.org"),
        ("matrix:r/room:example.org", ROOM, "#room:example.org"),
        ("matrix:roomid/room:example.org?via=a", ROOM, "!room:example.org"),
        (f"matrix:roomid/{HASH[1:]}", ROOM, HASH),
    ],
)
def test_what_is_understood(text: str, kind: RuleKind, entity: str) -> None:
    assert parse_entity(text) == Entity(kind, entity)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "<>",
        "@spam",
        "@spam:",
        "@spam evil:x.org",
        "@spam *:x.org",
        "@spam:evil..org/",
        "@spam?",
        "@sp\u200bam:evil.org",
        "@spam\u202e:evil.org",
        "@a:evil.org,@b:evil.org",
        "@*:evil.org,@b:evil.org",
        "evil.org;bad.org",
        "@*:evil.org/",
        "@*:https://evil.org",
        "\u200b",
        "“”",
        "spam",
        "spam*",
        "spam:evil.org",
        "*:evil.org",
        "evil.org:8448",
        "[2001:db8::1]:8448",
        "https://evil.org",
        "https://evil.org/",
        "evil.org/",
        "https://app.element.io/#/user/@spam:evil.org",
        "mxc://evil.org/abc",
        "spam@evil.org",
        "evil .org",
        "evil_.org",
        "évil.org",
        "...",
        "#room",
        "!room",
        "# *:x",
        "$event",
        "https://matrix.to/#/",
        "https://matrix.to/#/evil.org",
        "https://matrix.to/#/@spam",
        "https://matrix.to/#/@*:evil.org",
        "https://matrix.to/#/!room:example.org/$event",
        "https://matrix.to/#/$event",
        "matrix:",
        "matrix:u",
        "matrix:u/",
        "matrix:u/*:evil.org",
        "matrix:x/spam:evil.org",
        "matrix:r/room:example.org/e/event",
        "matrix://u/spam:evil.org",
        "@" + "a" * 250 + ":x.org",
        "*a" * 11 + ".org",
        "@\ud800:x.org",
        "@a\0:x.org",
    ],
)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(InvalidEntity) as raised:
        parse_entity(text)
    message = str(raised.value)
    assert message.endswith(".") and len(message) < 300
    message.encode()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("@spam", "lacks the server of the user; write @name:example.org"),
        ("spam@evil.org", "looks like a mail address. If you mean a Matrix user, write “@spam:"),
        ("spam:evil.org", "lacks its first character. For a user, write “@spam:evil.org”;"),
        ("evil.org:8448", "A rule about a server holds for all of its ports; write “evil.org”."),
        (
            "https://evil.org",
            "is an address in the web. To name the server, write “evil.org” alone",
        ),
        ("https://evil.org:8448/x", "To name the server, write “evil.org” alone."),
        ("mxc://évil.org/x", "is an address in the web. Name a user"),
        ("evil.org/", "To name the server, write “evil.org” alone."),
        ("https://app.element.io/#/user/@s:evil.org", "what it shows, write “@s:evil.org”."),
        ("https://app.element.io/#/room/#s:evil.org", "what it shows, write “#s:evil.org”."),
        ("@a:evil.org,@b:evil.org", "is more than one name. Write a command for each"),
        ("evil.org,bad.org", "is more than one name"),
        ("@sp\u200bam:evil.org", "holds an invisible character. Type the name by hand"),
        (
            "Spam",
            "is neither a user ID nor a server name. Name a user (@name:example.org, or pick",
        ),
        ("spam*", "is neither a user ID nor a server name"),
        ("#room", "is neither an alias (#name:example.org) nor a room ID"),
        ("https://matrix.to/#/@spam", "copy the whole link"),
    ],
)
def test_the_error_says_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(InvalidEntity) as raised:
        parse_entity(text)
    assert hint in str(raised.value)


def test_half_a_server_rule_for_users_is_explained() -> None:
    with pytest.raises(InvalidEntity, match=r"@\*:example\.org"):
        parse_entity("*:evil.org")


def test_quotation_marks_of_others_do_not_end_ours() -> None:
    with pytest.raises(InvalidEntity) as raised:
        parse_entity("a” b “c/d")
    assert str(raised.value).startswith('“a" b "c/d” is an address')


def test_is_glob() -> None:
    assert parse_entity("@a*:b.org").is_glob
    assert not parse_entity("@a:b.org").is_glob


@given(st.text(max_size=40) | st.text("@#!$*?:/.[]a<> %2", max_size=15))
@example("\b:0")
def test_any_text_is_understood_or_refused(text: str) -> None:
    for candidate in (text, "https://matrix.to/#/" + text, "matrix:" + text, "matrix:u/" + text):
        try:
            entity = parse_entity(candidate)
        except InvalidEntity as error:
            assert str(error)
            continue
        # Old user IDs with such characters come by links only.
        if not any(char.isspace() or is_invisible(char) for char in entity.text):
            assert parse_entity(entity.text) == entity
