"""Replies: both forms, and what comes from outside does no harm in either."""

import json
import unicodedata
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policybot.bot.reply import MAX_BYTES, MAX_CODE, MAX_NAME, MAX_SPOILER_LINES, Reply, clean

HOSTILE = [
    "\u202egnp.exe",
    "a\u2066b\u2069c\u200fd",
    "zero\u200bwidth\u2060\ufeff",
    "<b>bold</b><script>alert(1)</script>",
    "</code><a href='https://matrix.to/#/@a:b'>x</a>",
    "&lt;b&gt; & \"quotes\" 'single'",
    "line\nbreak\r\n\tand\x0bmore\u2028end\u2029",
    "`code` ``` block",
    "@room",
    "@room: everybody",
    "@alice:example.org",
    "https://matrix.to/#/@alice:example.org",
    "https://evil.example/path",
    "\ue000 ban @alice:example.org",
    "\x00\x01\x1b[31m",
    "\ud800lone",
    "e" + "\u0301" * 500,
    "x" * 10_000,
    "\u202e" * 10_000,
    "😀" * 10_000,
    " " * 10_000,
    "\u3164\u2800",
    "",
]


class Tags(HTMLParser):
    """Collects tags, attributes and text of a piece of HTML."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_reply_in_both_forms() -> None:
    reply = (
        Reply.done("Protected ")
        .name("Cats & dogs")
        .text(" <now>.")
        .line()
        .strong("Undo: ")
        .command("disable !abc:example.org")
        .item()
        .code("!abc:example.org")
        .add(Reply().text(" end"))
    )
    rendered = reply.render("!ps&")
    assert rendered.plain == (
        "✅ Protected “Cats & dogs” <now>.\nUndo: !ps& disable !abc:example.org\n"
        "• !abc:example.org end"
    )
    assert rendered.html == (
        "✅ Protected “Cats &amp; dogs” &lt;now&gt;.<br><strong>Undo: </strong>"
        "<code>!ps&amp; disable !abc:example.org</code><br>• <code>!abc:example.org</code> end"
    )
    assert str(Reply.refused("No.")) == "❌ No."
    assert str(Reply.problem("Look.")) == "⚠️ Look."


def test_json_to_copy() -> None:
    content = {"via": "<example.org>", "public_keys": {"ed25519": "abc+/"}}
    rendered = Reply().json(content).render()
    assert json.loads(rendered.plain) == content
    tags = Tags(rendered.html)
    assert tags.tags == ["pre", "code", "/code", "/pre"]
    assert json.loads(tags.text) == content


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_names(text: str) -> None:
    _check_harmless(text)


@given(st.text(max_size=300))
def test_any_name(text: str) -> None:
    _check_harmless(text)


def _check_harmless(text: str) -> None:
    for reply, limit, tags in (
        (Reply().name(text), MAX_NAME, []),
        (Reply().code(text), MAX_CODE, ["code", "/code"]),
    ):
        rendered = reply.render()
        parsed = Tags(rendered.html)
        assert parsed.tags == tags
        assert parsed.attributes == []
        assert parsed.text.strip("`") == rendered.plain.strip("`") or "`" in text
        for form in (rendered.plain, parsed.text):
            assert len(form.replace("\u200b", "")) <= limit + 2
            assert _invisible(form) == set()
            assert "\n" not in form
            assert "!policy" not in form or "!policy" in text
        assert json.dumps(rendered.plain, ensure_ascii=False).encode()
    name = Reply().name(text).render()
    for form in (name.plain, name.html):
        assert "@room" not in form
        assert "@alice" not in form
        assert "://" not in form


def _invisible(text: str) -> set[str]:
    """Characters that could hide or turn text round, but for the break that we set ourselves."""
    bad = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    return {c for c in text if unicodedata.category(c) in bad} - {"\u200b"}


def test_an_empty_name_shows() -> None:
    assert str(Reply().name("\u202e \u3164")) == "“(empty)”"


def test_a_name_cannot_end_its_quotation() -> None:
    plain = str(Reply().name("x” is allowed. “"))
    assert plain.count("“") == plain.count("”") == 1
    assert plain.endswith("”")


def test_an_id_with_spaces_does_not_pass_for_our_words() -> None:
    assert str(Reply().text("Banned ").code("x` is allowed. ✅ See")) == (
        "Banned `x' is allowed. ✅ See`"
    )


@pytest.mark.parametrize(
    ("text", "length", "cleaned"),
    [
        ("a  b\n c", 10, "a b c"),
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abcde…"),
        ("a\u0300\u0301\u0302\u0303b", 9, "a\u0300\u0301\u0302b"),
        ("\u202e" * 8 + "a", 2, ""),
        ("été naïve 日本語 עברית", 40, "été naïve 日本語 עברית"),
        ("👩‍👧", 10, "👩👧"),
    ],
)
def test_clean(text: str, length: int, cleaned: str) -> None:
    assert clean(text, length) == cleaned


@pytest.mark.parametrize("line", ["x" * 300, "😀" * 200, "<&>" * 100, '"\\' * 100, "a b " * 60])
def test_a_long_reply_fits_into_an_event(line: str) -> None:
    reply = Reply.done("Rooms:")
    for _ in range(500):
        reply.item().name(line, 400).code(line, 400)
    rendered = reply.render()
    content = {"body": rendered.plain, "formatted_body": rendered.html}
    assert len(json.dumps(content, ensure_ascii=False).encode()) <= MAX_BYTES + 100
    assert rendered.plain.endswith("\n… (cut)")
    assert rendered.html.endswith("<br>… (cut)")
    assert set(Tags(rendered.html).tags) == {"br"}
    assert len(rendered.plain.encode()) > 5_000


def test_a_reply_of_ordinary_length_is_whole() -> None:
    reply = Reply.done("Rooms:")
    for _ in range(100):
        reply.item().name("A room").text(": ").code("!abcdefghijklmnop:example.org")
    assert "cut" not in str(reply)


def test_one_line_that_is_far_too_long() -> None:
    rendered = Reply().text("x" * 200_000).render()
    assert len(rendered.plain) < MAX_BYTES
    assert rendered.plain.endswith("(cut)")


@pytest.mark.parametrize("text", [*HOSTILE, "a\n" * 1_000, "@" * 2_000, "😀" * 2_000, '"' * 2_000])
def test_a_spoiler_is_bounded_and_harmless(text: str) -> None:
    rendered = Reply("✅").spoiler("Careful", text).text("after").render()
    assert len(json.dumps([rendered.plain, rendered.html], ensure_ascii=False)) < MAX_BYTES // 2
    parsed = Tags(rendered.html)
    assert {tag.strip("/") for tag in parsed.tags} <= {"span", "code", "br"}
    assert parsed.attributes == [("data-mx-spoiler", "Careful")]
    warning, _, shown = rendered.plain.partition(":\n\n\n")
    assert warning == "✅ ⚠️ Careful"
    lines = shown.splitlines()
    assert 1 <= len(lines) <= MAX_SPOILER_LINES + 1
    assert all(line.startswith("| ") for line in lines)
    for form in (shown, parsed.text):
        assert "://" not in form and "@room" not in form and "\u202e" not in form
