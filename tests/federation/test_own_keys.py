"""The federation key: made, kept, replaced, and published."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policybot.federation.own_keys import MAX_OLD_KEYS, OwnKeys, key_id_of, load_own_keys
from policybot.protocol.server_keys import ServerKeys, parse_server_keys
from policybot.protocol.signing import InvalidKey, SigningKey, VerifyKey

NAME = "policy.example.org"
NOW = 1_700_000_000_000
HOUR_MS = 3_600_000
SEED = SigningKey(b"1" * 32).seed
OTHER = SigningKey(b"2" * 32).seed


def published(keys: OwnKeys, now_ms: int = NOW) -> ServerKeys:
    return parse_server_keys(keys.document(now_ms), NAME)


def test_a_key_is_made_once_and_goes_on() -> None:
    made, stored = load_own_keys(NAME, None, None, NOW)
    again, stored_again = load_own_keys(NAME, stored, None, NOW + 1)
    assert again.signing_key.seed == made.signing_key.seed
    assert stored_again == stored
    assert published(again) == ServerKeys(
        NAME, {made.key_id: made.signing_key.verify_key}, {}, NOW + 24 * HOUR_MS
    )
    assert load_own_keys(NAME, None, None, NOW)[0].key_id != made.key_id


def test_the_key_id_comes_from_the_key() -> None:
    key = SigningKey.from_base64(SEED)
    assert key_id_of(key.verify_key) == "ed25519:24aa2a55"
    assert load_own_keys(NAME, None, SEED, NOW)[0].key_id == key_id_of(key.verify_key)


def test_a_replaced_key_is_published_as_an_old_one() -> None:
    made, stored = load_own_keys(NAME, None, None, NOW)
    configured, stored = load_own_keys(NAME, stored, SEED, NOW + 1)
    assert configured.signing_key.seed == SEED
    old = {made.key_id: (made.signing_key.verify_key, NOW + 1)}
    assert published(configured).old_verify_keys == old
    # At the next start nothing changes, and the configured seed is not in the database.
    again, stored_again = load_own_keys(NAME, stored, SEED, NOW + 2)
    assert published(again) == published(configured)
    assert stored_again == stored
    assert SEED not in stored and made.signing_key.seed not in stored


def test_a_seed_taken_out_of_the_configuration() -> None:
    configured, stored = load_own_keys(NAME, None, SEED, NOW)
    made, stored = load_own_keys(NAME, stored, None, NOW + 1)
    assert made.key_id != configured.key_id
    assert set(published(made).old_verify_keys) == {configured.key_id}


def test_a_key_that_comes_back_is_no_old_one() -> None:
    stored = None
    for now, seed in enumerate((SEED, OTHER, SEED)):
        keys, stored = load_own_keys(NAME, stored, seed, NOW + now)
    other = SigningKey.from_base64(OTHER).verify_key
    assert published(keys).old_verify_keys == {key_id_of(other): (other, NOW + 2)}


def test_old_keys_are_bounded() -> None:
    stored = None
    for number in range(MAX_OLD_KEYS + 3):
        seed = SigningKey(number.to_bytes(32, "big")).seed
        keys, stored = load_own_keys(NAME, stored, seed, NOW + number)
    expired = [end for _, end in published(keys).old_verify_keys.values()]
    assert expired == [NOW + number for number in range(3, MAX_OLD_KEYS + 3)]


def test_the_document_is_made_anew_at_half_of_its_validity() -> None:
    keys, _ = load_own_keys(NAME, None, SEED, NOW)
    assert published(keys, NOW).valid_until_ts == NOW + 24 * HOUR_MS
    assert published(keys, NOW + 12 * HOUR_MS - 1).valid_until_ts == NOW + 24 * HOUR_MS
    assert published(keys, NOW + 12 * HOUR_MS).valid_until_ts == NOW + 36 * HOUR_MS
    # A clock that was wrong and is set back.
    assert published(keys, NOW - 1).valid_until_ts == NOW - 1 + 24 * HOUR_MS


def changed(change: Callable[[dict[str, object]], object]) -> str:
    value = json.loads(load_own_keys(NAME, None, None, NOW)[1])
    change(value)
    return json.dumps(value)


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "no key",
        "[]",
        "null",
        changed(lambda value: value.update(key="AAAA")),
        changed(lambda value: value.update(seed=5)),
        changed(lambda value: value.update(seed=SEED)),
        changed(lambda value: value.pop("seed")),
        changed(lambda value: value.update(old=[{"key": "AAAA", "expired_ts": 1}])),
        changed(lambda value: value.update(old=[SEED])),
    ],
)
def test_what_is_stored_makes_no_sense(stored: str) -> None:
    with pytest.raises(InvalidKey) as raised:
        load_own_keys(NAME, stored, None, NOW)
    assert str(raised.value) == "The federation keys in the database cannot be read."


@settings(max_examples=50)
@given(st.lists(st.sampled_from([None, SEED, OTHER]), min_size=1, max_size=6))
def test_whatever_is_configured_in_turn_can_be_checked(configured: list[str | None]) -> None:
    stored, used = None, dict[str, VerifyKey]()
    for now, seed in enumerate(configured):
        keys, stored = load_own_keys(NAME, stored, seed, NOW + now)
        used[keys.key_id] = keys.signing_key.verify_key
    document = published(keys)
    assert document.verify_keys == {keys.key_id: keys.signing_key.verify_key}
    old = {key_id: entry[0] for key_id, entry in document.old_verify_keys.items()}
    assert {**document.verify_keys, **old} == used
