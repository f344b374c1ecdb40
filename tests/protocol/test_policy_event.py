from typing import Any

import pytest

from policybot.protocol.policy_event import (
    POLICY_EVENT,
    UNSTABLE_POLICY_EVENT,
    PolicyServer,
    parse_policy_event,
    policy_content,
)

STANDARD = "a+/" + "A" * 40
URLSAFE = "a-_" + "A" * 40
NAME = "policy.example.org"
SERVER = PolicyServer(NAME, STANDARD)


@pytest.mark.parametrize(
    ("content", "server"),
    [
        ({"via": NAME, "public_keys": {"ed25519": STANDARD}}, SERVER),
        ({"via": NAME, "public_keys": {"ed25519": URLSAFE}}, SERVER),
        ({"via": NAME, "public_keys": {"ed25519": STANDARD + "="}}, SERVER),
        ({"via": NAME, "public_key": URLSAFE}, SERVER),
        ({"via": NAME, "public_key": STANDARD, "public_keys": {}}, SERVER),
        ({"via": NAME, "public_key": STANDARD, "public_keys": {"ed25519": 1}}, SERVER),
        ({"via": NAME, "public_key": "x", "public_keys": {"ed25519": STANDARD}}, SERVER),
        ({"via": NAME, "public_key": "short"}, PolicyServer(NAME, "short")),
        ({"via": NAME, "public_key": ""}, PolicyServer(NAME, "")),
        ({"via": "b:8448", "public_key": STANDARD}, PolicyServer("b:8448", STANDARD)),
    ],
)
def test_forms(content: Any, server: PolicyServer) -> None:
    assert parse_policy_event(content) == server


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"via": NAME},
        {"via": NAME, "public_keys": {}},
        {"via": NAME, "public_keys": {"ed25519": None}},
        {"via": NAME, "public_keys": [STANDARD]},
        {"public_keys": {"ed25519": STANDARD}},
        {"via": None, "public_key": STANDARD},
        {"via": "", "public_key": STANDARD},
        {"via": "https://a", "public_key": STANDARD},
        {"via": "a" * 256, "public_key": STANDARD},
        None,
        1,
        [],
        "x",
    ],
    ids=str,
)
def test_no_policy_server(content: Any) -> None:
    assert parse_policy_event(content) is None


def test_what_we_write_is_what_we_read() -> None:
    content = policy_content(NAME, STANDARD)
    assert content == {"via": NAME, "public_keys": {"ed25519": STANDARD}}
    assert parse_policy_event(content) == SERVER


def test_types() -> None:
    assert POLICY_EVENT == "m.room.policy"
    assert UNSTABLE_POLICY_EVENT == "org.matrix.msc4284.policy"
