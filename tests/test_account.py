"""What can be told of a configuration without the database."""

from typing import Any

import pytest

from policybot.account import Account, StartFailed, check_config
from policybot.config import parse_config
from policybot.protocol.signing import SigningKey

SEED = SigningKey(b"1" * 32).seed
ACCOUNT = Account("@policybot:example.org", "https://matrix.example.org")


def check(*, listen: Any = {}, **policy_server: Any) -> None:  # noqa: B006 (never changed)
    mapping = {
        "listen": listen,
        "moderation_rooms": ["#mods:example.org"],
        "policy_server": {"name": "example.org", **policy_server},
    }
    check_config(parse_config(mapping, standalone=False), ACCOUNT)


def test_the_two_keys_must_differ() -> None:
    check(signing_key=SEED, federation_key=SigningKey(b"2" * 32).seed)
    with pytest.raises(StartFailed, match="policy_server.federation_key is the same") as raised:
        check(signing_key=SEED, federation_key=SEED)
    assert SEED not in str(raised.value)


def test_a_name_of_its_own_needs_a_listener_of_its_own() -> None:
    with pytest.raises(StartFailed, match="listen is null, but policy_server.name is a name of"):
        check(name="policy.example.org", listen=None)
