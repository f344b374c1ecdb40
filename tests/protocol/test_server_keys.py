from typing import Any

import pytest

from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.server_keys import (
    MAX_OLD_VERIFY_KEYS,
    MAX_VERIFY_KEYS,
    InvalidServerKeys,
    ServerKeys,
    parse_server_keys,
    server_keys_document,
)
from policybot.protocol.signing import SigningKey, sign_json, verify_json

NAME = "a.example"
KEY, OTHER = SigningKey(b"1" * 32), SigningKey(b"2" * 32)
OLD = SigningKey(b"3" * 32)


def document(**fields: Any) -> JsonObject:
    return {
        "server_name": NAME,
        "verify_keys": {"ed25519:k1": {"key": KEY.public_key}},
        "old_verify_keys": {"ed25519:k0": {"key": OLD.public_key, "expired_ts": 1000}},
        "valid_until_ts": 2000,
        **fields,
    }


def signed(**fields: Any) -> JsonObject:
    return sign_json(document(**fields), NAME, "ed25519:k1", KEY)


def test_a_document() -> None:
    assert parse_server_keys(signed(), NAME) == ServerKeys(
        NAME,
        {"ed25519:k1": KEY.verify_key},
        {"ed25519:k0": (OLD.verify_key, 1000)},
        2000,
    )


def test_with_the_signature_of_a_notary() -> None:
    notarised = sign_json(signed(), "notary.example", "ed25519:n", OTHER)
    assert parse_server_keys(notarised, NAME) == parse_server_keys(signed(), NAME)


def test_one_of_two_signatures_is_enough() -> None:
    keys = {
        "ed25519:k2": {"key": OTHER.public_key},
        "ed25519:k1": {"key": KEY.public_key},
    }
    assert set(parse_server_keys(signed(verify_keys=keys), NAME).verify_keys) == set(keys)


@pytest.mark.parametrize(
    "keys",
    [
        sign_json(document(), NAME, "ed25519:k1", OTHER),
        sign_json(document(), "b.example", "ed25519:k1", KEY),
        sign_json(document(), NAME, "ed25519:k2", KEY),
        sign_json(document(), NAME, "ed25519:k0", OLD),
        {**signed(), "valid_until_ts": 2001},
        document(),
        document(signatures=None),
        document(signatures={NAME: []}),
        document(signatures={NAME: {"ed25519:k1": 1}}),
        {**signed(), "extra": "\ud800"},
    ],
)
def test_not_self_signed(keys: JsonObject) -> None:
    with pytest.raises(InvalidServerKeys, match="not signed"):
        parse_server_keys(keys, NAME)


@pytest.mark.parametrize("hostile", [None, 1, 1.5, True, "x", [], [[]]])
def test_hostile_documents(hostile: Any) -> None:
    with pytest.raises(InvalidServerKeys):
        parse_server_keys(hostile, NAME)
    for field in ("server_name", "verify_keys", "signatures"):
        with pytest.raises(InvalidServerKeys):
            parse_server_keys({**signed(), field: hostile}, NAME)
    if hostile != 1:
        with pytest.raises(InvalidServerKeys):
            parse_server_keys(signed(valid_until_ts=hostile), NAME)
    with pytest.raises(InvalidServerKeys):
        parse_server_keys(signed(old_verify_keys=hostile), NAME)
    with pytest.raises(InvalidServerKeys):
        parse_server_keys(signed(), "b.example")
    old = {"ed25519:a": hostile, "ed25519:b": {"key": hostile, "expired_ts": 1}}
    assert parse_server_keys(signed(old_verify_keys=old), NAME).old_verify_keys == {}


def test_unusable_keys_are_left_out() -> None:
    verify_keys: JsonObject = {
        "ed25519:k1": {"key": KEY.public_key},
        "ed448:k": {"key": KEY.public_key},
        "ed25519": {"key": KEY.public_key},
        "ed25519:": {"key": KEY.public_key},
        "ed25519:a b": {"key": KEY.public_key},
        "ed25519:short": {"key": "AAAA"},
        "ed25519:junk": {"key": "é"},
        "ed25519:none": {},
        "ed25519:list": [],
    }
    old: JsonObject = {
        "ed25519:fine": {"key": OLD.public_key, "expired_ts": 5},
        "ed25519:never": {"key": OLD.public_key},
        "ed25519:bool": {"key": OLD.public_key, "expired_ts": True},
        "ed25519:negative": {"key": OLD.public_key, "expired_ts": -1},
    }
    keys = parse_server_keys(signed(verify_keys=verify_keys, old_verify_keys=old), NAME)
    assert set(keys.verify_keys) == {"ed25519:k1"}
    assert set(keys.old_verify_keys) == {"ed25519:fine"}


def test_no_usable_key() -> None:
    for verify_keys in ({}, {"ed448:k": {"key": KEY.public_key}}):
        with pytest.raises(InvalidServerKeys, match="no Ed25519 key"):
            parse_server_keys(signed(verify_keys=verify_keys), NAME)


def test_old_keys_may_be_absent() -> None:
    keys = document()
    del keys["old_verify_keys"]
    parsed = parse_server_keys(sign_json(keys, NAME, "ed25519:k1", KEY), NAME)
    assert parsed.old_verify_keys == {}


def test_endless_validity_stays_in_range() -> None:
    parsed = parse_server_keys(signed(valid_until_ts=10**30), NAME)
    assert parsed.valid_until_ts == 2**53 - 1


@pytest.mark.parametrize(
    ("field", "most"),
    [("verify_keys", MAX_VERIFY_KEYS), ("old_verify_keys", MAX_OLD_VERIFY_KEYS)],
)
def test_number_of_keys_is_bounded(field: str, most: int) -> None:
    entry = {"key": KEY.public_key, "expired_ts": 1}
    keys = {f"ed25519:k{number}": entry for number in range(most)}
    parse_server_keys(signed(**{field: keys}), NAME)
    with pytest.raises(InvalidServerKeys, match=field):
        parse_server_keys(signed(**{field: {**keys, "ed25519:more": entry}}), NAME)


def test_the_own_document_is_signed_with_every_key() -> None:
    old = {"ed25519:k0": (OLD.verify_key, 1000)}
    keys = {"ed25519:k1": KEY, "ed25519:k2": OTHER}
    made = server_keys_document(NAME, keys, old, 2000)
    assert all(verify_json(made, NAME, key_id, key.verify_key) for key_id, key in keys.items())
    assert {**made, "signatures": {}} == {
        "server_name": NAME,
        "verify_keys": {
            "ed25519:k1": {"key": KEY.public_key},
            "ed25519:k2": {"key": OTHER.public_key},
        },
        "old_verify_keys": {"ed25519:k0": {"key": OLD.public_key, "expired_ts": 1000}},
        "valid_until_ts": 2000,
        "signatures": {},
    }
    assert parse_server_keys(made, NAME).old_verify_keys == old
