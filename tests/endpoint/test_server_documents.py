"""What a server with a name of its own tells anybody."""

from typing import Any

import pytest

from policybot import __version__
from policybot.protocol.paths import (
    FEDERATION_VERSION,
    SERVER_KEYS,
    SERVER_WELL_KNOWN,
    SUPPORT_WELL_KNOWN,
)
from policybot.protocol.server_keys import parse_server_keys

from ..protocol.events import NAME
from .both_servers import make_server
from .conftest import Serve
from .federated import FederatedScene, scene
from .scene import INSTANCE

__all__ = ["make_server", "scene"]

HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    "path", [SERVER_KEYS, f"{SERVER_KEYS}/auto", f"{SERVER_KEYS}/ed25519%3Aa"]
)
async def test_the_federation_key_is_published(scene: FederatedScene, path: str) -> None:
    reply = await scene.get(path)
    keys = parse_server_keys(reply.json, NAME)
    assert dict(keys.verify_keys) == {scene.own_keys.key_id: scene.own_keys.signing_key.verify_key}
    assert keys.valid_until_ts == scene.now + 24 * HOUR_MS
    assert reply.headers["Policybot-Instance"] == INSTANCE


async def test_the_published_keys_never_end_soon(scene: FederatedScene) -> None:
    for _ in range(10):
        reply = await scene.get(SERVER_KEYS)
        assert parse_server_keys(reply.json, NAME).valid_until_ts >= scene.now + 12 * HOUR_MS
        scene.now += 5 * HOUR_MS


async def test_version(scene: FederatedScene) -> None:
    reply = await scene.get(FEDERATION_VERSION)
    assert reply.json == {"server": {"name": "policybot", "version": __version__}}


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("policy.example.org", {"m.server": "policy.example.org:443"}),
        ("policy.example.org:8448", None),
        ("192.0.2.1", None),
        ("[2001:db8::1]", None),
    ],
)
async def test_where_servers_find_us(serve: Serve, name: str, document: Any) -> None:
    scene = FederatedScene(names=(name,))
    await serve(scene)
    reply = await scene.get(SERVER_WELL_KNOWN, host=name)
    if document is None:
        assert (reply.status, reply.json["errcode"]) == (404, "M_UNRECOGNIZED")
    else:
        assert (reply.status, reply.json) == (200, document)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("policy.example.org", "policy.example.org"),
        ("old.example.org", "old.example.org"),
        ("OLD.example.org:443", "old.example.org"),
        ("older.example.org:8448", "older.example.org:8448"),
        ("older.example.org", "older.example.org:8448"),
        ("elsewhere.example.org", "policy.example.org"),
        ("", "policy.example.org"),
        ("\u00ff:\u00ff", "policy.example.org"),
    ],
)
async def test_each_of_our_names_has_its_documents(serve: Serve, host: str, name: str) -> None:
    """While a room carries a former name, servers must find us under it."""
    scene = FederatedScene(
        names=("policy.example.org", "old.example.org", "older.example.org:8448")
    )
    await serve(scene)
    keys = parse_server_keys((await scene.get(SERVER_KEYS, host)).json, name)
    assert list(keys.verify_keys) == [scene.own_keys.key_id]
    place = await scene.get(SERVER_WELL_KNOWN, host)
    assert place.json.get("m.server") == (None if ":" in name else f"{name}:443")


async def test_whom_to_ask(serve: Serve) -> None:
    scene = FederatedScene(contact="@admin:example.org")
    await serve(scene)
    reply = await scene.get(SUPPORT_WELL_KNOWN)
    assert reply.json == {
        "contacts": [{"matrix_id": "@admin:example.org", "role": "m.role.admin"}]
    }
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
