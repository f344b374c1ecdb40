import pytest
from hypothesis import given
from hypothesis import strategies as st

from policybot.protocol.pasted_name import bare_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", ""),
        (" ", ""),
        ("<>", ""),
        ("@a:b.org", "@a:b.org"),
        ("(see @a:b.org)", "see @a:b.org"),
        ("<@a:b.org>,", "@a:b.org"),
        ("„#a:b.org“!", "#a:b.org"),
        ("@\u200ba:b.org", "@a:b.org"),
        ("\u2067b.org\u2069 …", "b.org"),
        ("[2001:db8::1]", "[2001:db8::1]"),
        ("*.b.org", "*.b.org"),
        ("b.or?", "b.or?"),
        ("@", "@"),
        ("!", ""),
    ],
)
def test_bare_name(text: str, name: str) -> None:
    assert bare_name(text) == name


@given(st.text(max_size=30))
def test_it_is_part_of_the_text_and_stays_as_it_is(text: str) -> None:
    name = bare_name(text)
    assert name.replace("\u200b", "") in text.replace("\u200b", "")
    assert bare_name(name) == name
