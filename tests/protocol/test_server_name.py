import pytest
from hypothesis import given
from hypothesis import strategies as st

from policybot.protocol.server_name import (
    InvalidServerName,
    ServerName,
    is_server_name,
    parse_server_name,
    without_port,
)

from .events import steady


@pytest.mark.parametrize(
    ("text", "host", "port", "is_ip"),
    [
        ("example.org", "example.org", None, False),
        ("Example.ORG:8448", "Example.ORG", 8448, False),
        ("localhost", "localhost", None, False),
        ("xn--bcher-kva.example:1", "xn--bcher-kva.example", 1, False),
        ("1.2.3.4", "1.2.3.4", None, True),
        ("1.2.3.4:65535", "1.2.3.4", 65535, True),
        ("1.2.3.400", "1.2.3.400", None, False),
        ("1.2.3", "1.2.3", None, False),
        ("[::1]", "[::1]", None, True),
        ("[2001:db8::1]:08448", "[2001:db8::1]", 8448, True),
        ("[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]", None, True),
        ("a" * 255, "a" * 255, None, False),
    ],
)
def test_server_names(text: str, host: str, port: int | None, is_ip: bool) -> None:
    assert parse_server_name(text) == ServerName(host, port, is_ip)
    assert is_server_name(text)
    assert without_port(text) == host


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        ":80",
        ".",
        "a..b",
        ".a",
        "a.",
        "a b",
        "a_b.example",
        "bücher.example",
        "a:",
        "a:0",
        "a:65536",
        "a:123456",
        "a:80:80",
        "a:x",
        "a:\u0661",
        "a:+1",
        "a/b",
        "a@b",
        "a\n",
        "a\0",
        "https://a",
        "*.a",
        "::1",
        "[",
        "[]",
        "[::1",
        "[::1]x",
        "[::g]",
        "[fe80::1%eth0]",
        "[1.2.3.4]",
        "[::1]:",
        "a" * 256,
        "\ud800",
        "a-" * 50_000,
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_no_server_names(text: str) -> None:
    assert not is_server_name(text)
    with pytest.raises(InvalidServerName) as caught:
        parse_server_name(text)
    assert len(str(caught.value)) < 60


@steady(300)
@given(st.text(max_size=20) | st.text("a0.-:[]f", max_size=20))
def test_any_text(text: str) -> None:
    without_port(text)
    if not is_server_name(text):
        with pytest.raises(InvalidServerName):
            parse_server_name(text)
        return
    name = parse_server_name(text)
    assert without_port(text) == name.host
    assert text.startswith(name.host)


@pytest.mark.parametrize("text", ["", "*.example.org", "::1", "[::1]", "a:b"])
def test_other_text_keeps_what_is_no_port(text: str) -> None:
    assert without_port(text) == text
