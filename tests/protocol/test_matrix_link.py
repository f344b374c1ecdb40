"""Links of both kinds, encoded and not, and what only looks like one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policybot.protocol.matrix_link import (
    MAX_VIA,
    InvalidMatrixLink,
    MatrixLink,
    parse_matrix_link,
)

HASH = "h8_-" + "a" * 39
EVENT = "$" + HASH


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("https://matrix.to/#/#mods:example.org", MatrixLink("#mods:example.org")),
        ("http://matrix.to/#/%23mods%3Aexample.org", MatrixLink("#mods:example.org")),
        ("https://www.matrix.to/#/@a/b:example.org", MatrixLink("@a/b:example.org")),
        ("HTTPS://MATRIX.TO/#/%40a%2Fb%3Aexample.org", MatrixLink("@a/b:example.org")),
        (f"https://matrix.to/#/!{HASH}", MatrixLink("!" + HASH)),
        (
            "https://matrix.to/#/!abc:example.org?via=a.org&via=b.org:8448&via=a.org&x=y",
            MatrixLink("!abc:example.org", None, ("a.org", "b.org:8448")),
        ),
        (
            f"https://matrix.to/#/!abc:example.org/{EVENT}?via=a.org",
            MatrixLink("!abc:example.org", EVENT, ("a.org",)),
        ),
        (
            f"https://matrix.to/#/%21abc%3Aexample.org/%24{HASH}",
            MatrixLink("!abc:example.org", EVENT),
        ),
        (
            "https://matrix.to/#/!a/b:example.org/$1/2:example.org",
            MatrixLink("!a/b:example.org", "$1/2:example.org"),
        ),
        (
            "https://matrix.to/#/#a:b/$" + "a/+" * 14 + "b",
            MatrixLink("#a:b", "$" + "a/+" * 14 + "b"),
        ),
        ("https://matrix.to/#/#a:b/", MatrixLink("#a:b")),
        ("matrix:r/mods:example.org", MatrixLink("#mods:example.org")),
        ("MATRIX:room/mods:example.org", MatrixLink("#mods:example.org")),
        ("matrix:r/%23x%3Aexample.org", MatrixLink("#x:example.org")),
        ("matrix:u/a:example.org?action=chat", MatrixLink("@a:example.org")),
        ("matrix:user/@a:example.org", MatrixLink("@a:example.org")),
        (f"matrix:roomid/{HASH}?via=a.org", MatrixLink("!" + HASH, None, ("a.org",))),
        (
            f"matrix:roomid/abc:example.org/e/{HASH}?via=a.org",
            MatrixLink("!abc:example.org", EVENT, ("a.org",)),
        ),
        (f"matrix://example.org/r/a:b/event/{HASH}", MatrixLink("#a:b", EVENT)),
        ("matrix:r/a:b/e/x%2Fy:c", MatrixLink("#a:b", "$x/y:c")),
        ("https://matrix.to/#/#a:b?via=not a server&via=%ff", MatrixLink("#a:b")),
        ("https://matrix.to/#/#ü:b", MatrixLink("#ü:b")),
    ],
)
def test_links(text: str, link: MatrixLink) -> None:
    assert parse_matrix_link(text) == link


def test_the_number_of_servers_is_bounded() -> None:
    query = "&".join(f"via=s{number}.org" for number in range(200))
    link = parse_matrix_link(f"https://matrix.to/#/!a:b?{query}")
    assert link is not None
    assert len(link.via) == MAX_VIA


@pytest.mark.parametrize(
    "text",
    [
        "",
        "#mods:example.org",
        "!abc:example.org",
        "@a:b",
        "example.org",
        "https://example.org/#/#a:b",
        "https://matrix.to.example.org/#/#a:b",
        "https://matrix.to/",
        "xmatrix:r/a:b",
        "https://matrix.to/#/#a:b" + "?" * 5_000,
    ],
)
def test_no_links(text: str) -> None:
    assert parse_matrix_link(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "https://matrix.to/#/",
        "https://matrix.to/#/example.org",
        "https://matrix.to/#/#mods",
        "https://matrix.to/#/!short",
        "https://matrix.to/#/%ff",
        "https://matrix.to/#/+group:example.org",
        f"https://matrix.to/#/@a:b/{EVENT}",
        "https://matrix.to/#/#a:b/$short",
        "https://matrix.to/#/#a:b/$",
        "https://matrix.to/#/#\x00:b",
        "matrix:",
        "matrix:r",
        "matrix:r/",
        "matrix:x/a:b",
        "matrix:e/" + HASH,
        "matrix:u/a:b/e/" + HASH,
        "matrix:r/a:b/e/short",
        "matrix:r/a:b/e/%ff",
        "matrix:#a:b",
    ],
)
def test_links_that_name_nothing(text: str) -> None:
    with pytest.raises(InvalidMatrixLink, match=r"\.$"):
        parse_matrix_link(text)


@given(
    st.sampled_from(["https://matrix.to/#/", "matrix:", "matrix:r/", "matrix:roomid/a:b/e/", ""]),
    st.text(),
)
def test_no_text_breaks_the_parser(start: str, rest: str) -> None:
    try:
        parse_matrix_link(start + rest)
    except InvalidMatrixLink:
        pass
