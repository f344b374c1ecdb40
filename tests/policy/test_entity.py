import pytest
from hypothesis import given
from hypothesis import strategies as st

from policybot.policy.entity import Entity, InvalidEntity, parse_entity
from policybot.policy.rule import RuleKind

USER, SERVER, ROOM = RuleKind
HASH = "!" + "a" * 43


@pytest.mark.parametrize(
    ("text", "kind", "entity"),
    [
        ("@spam:evil.org", USER, "@spam:evil.org"),
        ("  @Spam:evil.org ", USER, "@Spam:evil.org"),
        ("<@spam:evil.org>", USER, "@spam:evil.org"),
        ("@spam:evil.org:8448", USER, "@spam:evil.org:8448"),
        ("@irc/spam:evil.org", USER, "@irc/spam:evil.org"),
        ("@spam*:evil.org", USER, "@spam*:evil.org"),
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


def test_half_a_server_rule_for_users_is_explained() -> None:
    with pytest.raises(InvalidEntity, match=r"@\*:example\.org"):
        parse_entity("*:evil.org")


def test_is_glob() -> None:
    assert parse_entity("@a*:b.org").is_glob
    assert not parse_entity("@a:b.org").is_glob


@given(st.text(max_size=40) | st.text("@#!$*?:/.[]a<> %2", max_size=15))
def test_any_text_is_understood_or_refused(text: str) -> None:
    for candidate in (text, "https://matrix.to/#/" + text, "matrix:" + text, "matrix:u/" + text):
        try:
            entity = parse_entity(candidate)
        except InvalidEntity as error:
            assert str(error)
            continue
        if not any(map(str.isspace, entity.text)):  # such old user IDs come by links only
            assert parse_entity(entity.text) == entity
