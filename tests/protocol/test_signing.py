import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policybot.protocol.canonical_json import InvalidJson, JsonObject
from policybot.protocol.signing import (
    POLICY_SERVER_KEY_ID,
    InvalidKey,
    SigningKey,
    VerifyKey,
    json_signing_bytes,
    sign_json,
    signature_of,
    verify_json,
)

from .events import SEED, json_values, steady

PUBLIC = "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI"
KEY = SigningKey.from_base64(SEED)


def test_key_of_the_specification() -> None:
    assert KEY.public_key == PUBLIC
    # The specification's text has stray bits after the last byte.
    assert KEY.seed == SEED[:-1] + "0"
    assert KEY.verify_key == VerifyKey.from_base64(PUBLIC)
    assert POLICY_SERVER_KEY_ID == "ed25519:policy_server"


@pytest.mark.parametrize(
    ("obj", "signature"),
    [
        (
            {},
            "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/"
            "7Xg4ahLwYGYZzuHGZKM5ZAQ",
        ),
        (
            {"one": 1, "two": "Two"},
            "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZ"
            "hG6kYdD13EIMJpvhJI+6Bw",
        ),
    ],
)
def test_signatures_of_the_specification(obj: JsonObject, signature: str) -> None:
    signed = sign_json(obj, "domain", "ed25519:1", KEY)
    assert signed == {**obj, "signatures": {"domain": {"ed25519:1": signature}}}
    assert verify_json(signed, "domain", "ed25519:1", KEY.verify_key)


def test_signing_keeps_other_signatures_and_the_original() -> None:
    obj: JsonObject = {"a": 1, "signatures": {"x": {"k": "s"}, "y": {"k": "s"}}, "unsigned": {}}
    before = copy.deepcopy(obj)
    signed = sign_json(obj, "x", "ed25519:1", KEY)
    assert obj == before
    assert signed["signatures"]["y"] == {"k": "s"}
    assert signed["signatures"]["x"]["k"] == "s"
    assert signed["unsigned"] == {}
    assert verify_json({**signed, "unsigned": {"b": 1}}, "x", "ed25519:1", KEY.verify_key)
    assert not verify_json({**signed, "b": 1}, "x", "ed25519:1", KEY.verify_key)
    assert not verify_json(signed, "y", "ed25519:1", KEY.verify_key)
    assert not verify_json(signed, "x", "ed25519:2", KEY.verify_key)
    assert not verify_json(signed, "x", "ed25519:1", SigningKey.generate().verify_key)


@pytest.mark.parametrize("hostile", [None, 1, "x", [], {}, {"x": 1}, {"x": {"k": 1}}, {"x": []}])
def test_hostile_signatures(hostile: Any) -> None:
    obj = {"signatures": hostile}
    assert signature_of(obj, "x", "k") is None
    assert not verify_json(obj, "x", "k", KEY.verify_key)
    assert verify_json(sign_json(obj, "x", "k", KEY), "x", "k", KEY.verify_key)


def test_object_without_canonical_form() -> None:
    hostile = {"a": "\ud800", "signatures": {"x": {"k": "s"}}}
    assert not verify_json(hostile, "x", "k", KEY.verify_key)
    with pytest.raises(InvalidJson):
        json_signing_bytes(hostile)
    with pytest.raises(InvalidJson):
        sign_json(hostile, "x", "k", KEY)


@steady(100)
@given(st.dictionaries(st.text(max_size=5), json_values(strict=False), max_size=3))
def test_any_object_can_be_signed(obj: JsonObject) -> None:
    signed = sign_json(obj, "x", "k", KEY)
    assert verify_json(signed, "x", "k", KEY.verify_key)
    assert json_signing_bytes(signed) == json_signing_bytes(obj)


@steady(200)
@given(st.binary(max_size=80), st.text(max_size=90) | st.text("AZaz09+/-_=", max_size=90))
def test_verify_takes_any_text(message: bytes, signature: str) -> None:
    assert KEY.verify_key.verify(message, signature) is False


def test_verify() -> None:
    signature = KEY.sign(b"message")
    assert len(signature) == 86
    assert KEY.verify_key.verify(b"message", signature)
    assert KEY.verify_key.verify(b"message", signature + "==")
    assert KEY.verify_key.verify(b"message", signature.replace("+", "-").replace("/", "_"))
    assert not KEY.verify_key.verify(b"Message", signature)
    assert not KEY.verify_key.verify(b"message", signature[:-4])
    assert not KEY.verify_key.verify(b"message", signature + "AAAA")
    assert not KEY.verify_key.verify(b"message", "\ud800")
    assert not KEY.verify_key.verify(b"message", "A" * 1_000_000)


def test_weak_keys_verify_nothing() -> None:
    for raw in (bytes(32), bytes([1]) + bytes(31), b"\xff" * 32):
        assert not VerifyKey(raw).verify(b"message", "A" * 86)


def test_generated_keys_differ() -> None:
    first, second = SigningKey.generate(), SigningKey.generate()
    assert first.seed != second.seed
    assert SigningKey.from_base64(first.seed).public_key == first.public_key


@pytest.mark.parametrize("text", ["", "x", "é", PUBLIC[:-3], PUBLIC + "AAAA", " " + PUBLIC, "\n"])
def test_invalid_keys(text: str) -> None:
    with pytest.raises(InvalidKey):
        VerifyKey.from_base64(text)
    with pytest.raises(InvalidKey) as caught:
        SigningKey.from_base64(text)
    assert not text.strip() or text.strip() not in str(caught.value)
    with pytest.raises(InvalidKey):
        VerifyKey(b"short")
    with pytest.raises(InvalidKey):
        SigningKey(b"short")


@pytest.mark.parametrize("text", [PUBLIC, PUBLIC + "=", PUBLIC.replace("+", "-")])
def test_spellings_of_a_public_key(text: str) -> None:
    key = VerifyKey.from_base64(text)
    assert key.to_base64() == PUBLIC
    assert {key: 1}[KEY.verify_key] == 1


def test_the_seed_does_not_leak() -> None:
    for text in (repr(KEY), str(KEY), f"{KEY}", repr([KEY]), repr(KEY.verify_key)):
        assert SEED[:20] not in text
        assert repr(KEY._seed) not in text
    assert PUBLIC in repr(KEY)
    with pytest.raises(TypeError):
        pickle.dumps(KEY)
