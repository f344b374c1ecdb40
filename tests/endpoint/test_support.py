"""Whom to ask about a server: only what clients can use."""

from typing import Any

import pytest

from policybot.endpoint.support import support_document


@pytest.mark.parametrize(
    ("contact", "document"),
    [
        (
            "@admin:example.org",
            {"contacts": [{"matrix_id": "@admin:example.org", "role": "m.role.admin"}]},
        ),
        (
            "abuse@example.org",
            {"contacts": [{"email_address": "abuse@example.org", "role": "m.role.admin"}]},
        ),
        ("#help:example.org", {"support_page": "https://matrix.to/#/%23help%3Aexample.org"}),
        ("https://example.org/help?a=b", {"support_page": "https://example.org/help?a=b"}),
        ("http://example.org/help", None),
        ("https://example.org/a b", None),
        ("Ask @admin:example.org", None),
        ("abuse@example", None),
        ("abuse@example.org, or @admin:example.org", None),
        ("a@b@example.org", None),
        ("the moderators", None),
        ("@admin", None),
        ("", None),
        (None, None),
    ],
)
def test_contacts(contact: str | None, document: Any) -> None:
    assert support_document(contact) == document
