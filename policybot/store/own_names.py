"""The names that the policy server has and had: rooms go on naming a former one until moved."""

import json

from mautrix.util.async_db import Database

from policybot.protocol.policy_event import (
    POLICY_EVENT,
    UNSTABLE_POLICY_EVENT,
    PolicyServer,
    parse_policy_event,
)

from .rooms import RoomTable
from .settings import Setting, Settings

MAX_NAMES = 10
"""Names that are kept. Beyond that the oldest is forgotten."""


class OwnNames:
    """Kept as one value, the newest name last."""

    def __init__(self, db: Database) -> None:
        self._settings = Settings(db)
        self._rooms = RoomTable(db)

    async def former(self, ours: PolicyServer) -> frozenset[str]:
        """The names before the current one, which is noted as the newest."""
        stored = await self._settings.get(Setting.NAMES)
        before = await self._in_rooms(ours) if stored is None else json.loads(stored)
        names = [*(name for name in before if name != ours.via), ours.via][-MAX_NAMES:]
        if stored is None or names != before:
            await self._settings.set(Setting.NAMES, json.dumps(names))
        return frozenset(names[:-1])

    async def _in_rooms(self, ours: PolicyServer) -> list[str]:
        """The names that our rooms give for our key. A version that did not keep its names may
        have put them there."""
        servers = {
            parse_policy_event(event.get("content"))
            for record in await self._rooms.load()
            if record.moderation_room
            for event in record.state
            if event.get("type") in (POLICY_EVENT, UNSTABLE_POLICY_EVENT)
        }
        return sorted(
            server.via
            for server in servers
            if server is not None and server.public_key == ours.public_key
        )
