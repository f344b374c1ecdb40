import pytest
from hypothesis import given
from hypothesis import strategies as st

from policybot.protocol.canonical_json import InvalidJson
from policybot.protocol.signing import SigningKey
from policybot.protocol.xmatrix import (
    InvalidAuthorization,
    XMatrix,
    authorization_header,
    parse_authorization,
    request_bytes,
)

from .events import SEED, steady

KEY = SigningKey.from_base64(SEED)
PLAIN = XMatrix("a.example", "p.example", "ed25519:k1", "c2ln")
OLD = XMatrix("a.example", None, "ed25519:k1", "c2ln")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            'X-Matrix origin="a.example",key="ed25519:k1",sig="c2ln",destination="p.example"',
            PLAIN,
        ),
        ('X-Matrix origin="a.example",key="ed25519:k1",sig="c2ln"', OLD),
        ('X-Matrix origin=a.example,key="ed25519:k1",sig="c2ln"', OLD),
        ("X-Matrix origin=a.example,key=ed25519:k1,sig=c2ln", OLD),
        ("X-Matrix    key=ed25519:k1 ,\t sig=c2ln\t,  origin=a.example", OLD),
        ("x-matrix ORIGIN=a.example,Key=ed25519:k1,SIG=c2ln", OLD),
        ('X-Matrix origin="a.example",key="ed25519:k1",signature="c2ln"', OLD),
        ('X-Matrix origin="a.example",key="ed25519:k1",sig="c2ln",signature="other"', OLD),
        ('X-Matrix origin="a\\.example",key="ed25519\\:k1",sig="c2\\ln"', OLD),
        ('X-Matrix origin="a.example",key="ed25519:k1",sig="c2ln",x="\\"\\\\,="', OLD),
        ('X-Matrix origin="a.example",key="ed25519:k1",sig="c2ln",x=', OLD),
        ('X-Matrix origin = "a.example",key= "ed25519:k1",sig ="c2ln"', OLD),
        (
            'X-Matrix origin="[::1]:8448",key="ed25519:k1",sig="c2ln",destination="p.example"',
            XMatrix("[::1]:8448", "p.example", "ed25519:k1", "c2ln"),
        ),
        (
            "X-Matrix origin=a.example:8448,key=ed25519:k1,sig=a+/b==,destination=p.example:1",
            XMatrix("a.example:8448", "p.example:1", "ed25519:k1", "a+/b=="),
        ),
    ],
)
def test_forms_of_the_header(header: str, expected: XMatrix) -> None:
    assert parse_authorization([header]) == (expected,)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "X-Matrix",
        "X-Matrix ",
        "X-Matrixorigin=a,key=b,sig=c",
        "Bearer abc",
        "X-Matrix origin=a.example,key=ed25519:k1",
        "X-Matrix origin=a.example,sig=c2ln",
        "X-Matrix key=ed25519:k1,sig=c2ln",
        'X-Matrix origin="",key="ed25519:k1",sig="c2ln"',
        'X-Matrix origin="a b",key="ed25519:k1",sig="c2ln"',
        'X-Matrix origin="a.example/x",key="ed25519:k1",sig="c2ln"',
        'X-Matrix origin="a.example:0",key="ed25519:k1",sig="c2ln"',
        'X-Matrix origin="a.example",key="",sig="c2ln"',
        'X-Matrix origin="a.example",key="ed 25519",sig="c2ln"',
        'X-Matrix origin="a.example",key="' + "k" * 256 + '",sig="c2ln"',
        'X-Matrix origin="a.example",origin="b.example",key="ed25519:k1",sig="c2ln"',
        'X-Matrix origin="a.example",key="ed25519:k1",sig="c2ln',
        'X-Matrix origin="a.example",key="ed25519:k1",sig="c2ln\\"',
        'X-Matrix origin="a.example" key="ed25519:k1" sig="c2ln"',
        'X-Matrix origin="a.example",,key="ed25519:k1",sig="c2ln"',
        'X-Matrix origin="a.example",key="ed25519:k1",sig="c2ln",',
        'X-Matrix ,origin="a.example",key="ed25519:k1",sig="c2ln"',
        'X-Matrix origin="a.example"x,key="ed25519:k1",sig="c2ln"',
        "X-Matrix origin",
        "X-Matrix =a",
        "X-Matrix origin=a.example,key=ed25519:k1,sig=c2ln," + "x=" + "y" * 5_000,
    ],
    ids=lambda header: header[:60],
)
def test_malformed_headers(header: str) -> None:
    with pytest.raises(InvalidAuthorization):
        parse_authorization([header])


def test_several_headers() -> None:
    first = "X-Matrix origin=a.example,key=ed25519:k1,sig=c2ln"
    second = "X-Matrix origin=a.example,key=ed25519:k2,sig=c2ln"
    found = parse_authorization(["Bearer x", first, second])
    assert [header.key_id for header in found] == ["ed25519:k1", "ed25519:k2"]
    for other in (
        "X-Matrix origin=b.example,key=ed25519:k2,sig=c2ln",
        second + ",destination=p.example",
        "X-Matrix broken",
    ):
        with pytest.raises(InvalidAuthorization):
            parse_authorization([first, other])
    with pytest.raises(InvalidAuthorization):
        parse_authorization([])
    with pytest.raises(InvalidAuthorization):
        parse_authorization(["Bearer x"])
    with pytest.raises(InvalidAuthorization):
        parse_authorization([first] * 9)


@pytest.mark.parametrize(
    "header",
    [
        'X-Matrix a="' + "\\" * 4_000,
        'X-Matrix a="' + '\\"' * 2_000,
        "X-Matrix " + "a=b," * 1_000,
        "X-Matrix " + " " * 4_000,
        "X-Matrix a" + "\t" * 4_000,
        "X-Matrix " + "a" * 4_000,
        "X-Matrix a=b" + " " * 4_000 + "c",
    ],
    ids=lambda header: header[:16],
)
def test_long_headers(header: str) -> None:
    with pytest.raises(InvalidAuthorization):
        parse_authorization([header])


_PIECES = ["origin", "key", "sig", "destination", "=", ",", '"', "\\", " ", "\t", "a.example", "é"]


@steady(300)
@given(
    st.lists(st.sampled_from([*_PIECES, 'origin="a"', ',key="b"', ',sig="c"']), max_size=10).map(
        lambda pieces: "X-Matrix " + "".join(pieces)
    )
    | st.text(max_size=30)
)
def test_any_text_gives_headers_or_our_error(header: str) -> None:
    try:
        (found,) = parse_authorization([header])
    except InvalidAuthorization:
        return
    assert found.origin


def test_request_bytes() -> None:
    assert request_bytes("GET", "/a%20b?c=%2F", "a.example", None, None) == (
        b'{"method":"GET","origin":"a.example","uri":"/a%20b?c=%2F"}'
    )
    assert request_bytes("POST", "/x", "a.example", "p.example", {"b": 1, "a": []}) == (
        b'{"content":{"a":[],"b":1},"destination":"p.example","method":"POST",'
        b'"origin":"a.example","uri":"/x"}'
    )
    assert b'"content":{}' in request_bytes("POST", "/x", "a.example", None, {})
    with pytest.raises(InvalidJson):
        request_bytes("GET", "/\udc80", "a.example", None, None)


def test_our_own_header() -> None:
    uri, body = "/_matrix/policy/v1/sign", {"a": 1}
    header = authorization_header(
        "a.example", "p.example:8448", "ed25519:k1", KEY, "POST", uri, body
    )
    (found,) = parse_authorization([header])
    assert (found.origin, found.destination) == ("a.example", "p.example:8448")
    message = request_bytes("POST", uri, "a.example", "p.example:8448", body)
    assert KEY.verify_key.verify(message, found.signature)
    assert header == (
        'X-Matrix origin="a.example",key="ed25519:k1",'
        f'sig="{found.signature}",destination="p.example:8448"'
    )
