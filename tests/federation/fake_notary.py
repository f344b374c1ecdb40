"""A homeserver as a notary, over real HTTP, behaving as measured for Synapse 1.163.2."""

import asyncio
from typing import Any

from aiohttp import web

from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.signing import SigningKey, sign_json

OWN_NAME = "home.example"
NOW = 1_800_000_000_000
HOUR = 3_600_000
DAY = 24 * HOUR


class Clock:
    """Milliseconds, set by the test."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def document(
    server_name: str,
    *keys: tuple[str, SigningKey],
    until: int = NOW + DAY,
    old: dict[str, tuple[SigningKey, int]] | None = None,
    **more: Any,
) -> JsonObject:
    """What a server publishes, signed with each of its keys (key ID, key)."""
    published: JsonObject = {
        "server_name": server_name,
        "verify_keys": {key_id: {"key": key.public_key} for key_id, key in keys},
        "old_verify_keys": {
            key_id: {"key": key.public_key, "expired_ts": expired_ts}
            for key_id, (key, expired_ts) in (old or {}).items()
        },
        "valid_until_ts": until,
        **more,
    }
    for key_id, key in keys:
        published = sign_json(published, server_name, key_id, key)
    return published


class FakeNotary:
    """``servers`` holds what other servers publish now, or None for one that is away;
    ``gates`` the servers that answer only when the event is set; ``held`` is the same for all
    questions to the notary."""

    def __init__(self, own: JsonObject) -> None:
        self.own = own
        self.servers: dict[str, JsonObject | None] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.held: asyncio.Event | None = None
        self.questions: list[JsonObject] = []
        self.fetched: list[str] = []
        self.lie: web.Response | None = None
        self.asking = 0
        self.most_asking = 0
        self._cache: dict[str, dict[str, JsonObject]] = {}

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/_matrix/key/v2/server", self._server)
        app.router.add_post("/_matrix/key/v2/query", self._query)
        return app

    def remember(self, published: JsonObject) -> None:
        """Put a document where the notary finds it without a fetch."""
        known = self._cache.setdefault(published["server_name"], {})
        for key_id in (*published["verify_keys"], *published["old_verify_keys"]):
            known[key_id] = published

    async def _server(self, _request: web.Request) -> web.Response:
        return web.json_response(self.own)

    async def _query(self, request: web.Request) -> web.Response:
        wanted = (await request.json())["server_keys"]
        self.questions.append(wanted)
        if self.held is not None:
            await self.held.wait()
        if self.lie is not None:
            return web.Response(
                status=self.lie.status, body=self.lie.body, content_type="application/json"
            )
        self.asking += 1
        self.most_asking = max(self.asking, self.most_asking)
        try:
            missed = [
                server for server, criteria in wanted.items() if self._misses(server, criteria)
            ]
            await asyncio.gather(*(self._fetch(server) for server in missed))
        finally:
            self.asking -= 1
        found = [
            published
            for server, criteria in wanted.items()
            for key_id, published in self._cache.get(server, {}).items()
            if not criteria or key_id in criteria
        ]
        different = [d for i, d in enumerate(found) if d not in found[:i]]
        return web.json_response({"server_keys": different})

    def _misses(self, server: str, criteria: JsonObject) -> bool:
        known = self._cache.get(server, {})
        return any(
            key_id not in known
            or known[key_id]["valid_until_ts"] < wanted.get("minimum_valid_until_ts", 0)
            for key_id, wanted in criteria.items()
        )

    async def _fetch(self, server: str) -> None:
        if server == OWN_NAME:
            return
        self.fetched.append(server)
        if server in self.gates:
            await self.gates[server].wait()
        published = self.servers.get(server)
        if published is not None:
            self.remember(published)
