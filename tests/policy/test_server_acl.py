"""Which servers a server ACL lets take part."""

from typing import Any

import pytest

from policybot.policy.server_acl import acl_allows

ALL = {"allow": ["*"]}


@pytest.mark.parametrize(
    ("content", "server", "allowed"),
    [
        (None, "policy.example.org", True),
        (ALL, "policy.example.org", True),
        ({}, "policy.example.org", False),  # a missing list is an empty one
        ({"allow": [], "deny": []}, "policy.example.org", False),
        ({"allow": "*"}, "policy.example.org", False),
        ([], "policy.example.org", False),
        ({**ALL, "deny": ["*.example.org"]}, "policy.example.org", False),
        ({**ALL, "deny": ["*.example.org"]}, "example.org", True),
        ({**ALL, "deny": ["POLICY.Example.org"]}, "policy.example.ORG", False),
        ({**ALL, "deny": ["policy.example.org"]}, "policy.example.org:8448", False),
        ({**ALL, "deny": ["policy.example.org:8448"]}, "policy.example.org:8448", True),
        ({**ALL, "deny": ["policy?example.org"]}, "policy.example.org", False),
        ({**ALL, "deny": "policy.example.org"}, "policy.example.org", True),
        ({**ALL, "deny": [1, None, {}, "evil.*"]}, "policy.example.org", True),
        ({"allow": ["example.org", "policy.*"]}, "policy.example.org", True),
        ({"allow": ["example.org"]}, "policy.example.org", False),
        (ALL, "127.0.0.1:8448", True),
        ({**ALL, "allow_ip_literals": False}, "127.0.0.1:8448", False),
        ({**ALL, "allow_ip_literals": False}, "[::1]:8448", False),
        ({**ALL, "allow_ip_literals": False}, "policy.example.org", True),
        ({**ALL, "allow_ip_literals": "no"}, "127.0.0.1", True),
        ({**ALL, "deny": ["[::1]"]}, "[::1]:8448", False),
    ],
)
def test_acl_allows(content: Any, server: str, allowed: bool) -> None:
    assert acl_allows(content, server) is allowed
