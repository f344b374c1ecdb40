"""Joins and leaves of the policy user by federation, which really change the fake rooms."""

import asyncio
from collections.abc import Sequence

from policybot.bot.policy_user import MembershipFault

from .fake_homeserver import FakeHomeserver

AWAY = MembershipFault("no server of the room answered", final=False)
FORBIDDEN = MembershipFault("hs.example: You are not allowed here", final=True)


class FakeFederation:
    """``joins`` and ``leaves`` are what was asked: (room, servers). ``faults`` are answered in
    their order in place of doing it; ``hides`` lets a join be accepted and not be shown; ``gate``,
    if it is set, lets requests wait until it opens."""

    def __init__(self, homeserver: FakeHomeserver, user_id: str) -> None:
        self._homeserver = homeserver
        self._user_id = user_id
        self.joins: list[tuple[str, list[str]]] = []
        self.leaves: list[tuple[str, list[str]]] = []
        self.faults: list[MembershipFault] = []
        self.hides = False
        self.gate: asyncio.Event | None = None
        self.asked = asyncio.Event()

    async def join(self, room_id: str, servers: Sequence[str]) -> MembershipFault | None:
        self.joins.append((room_id, list(servers)))
        await self._arrived()
        if self.faults:
            return self.faults.pop(0)
        room = self._homeserver.rooms[room_id]
        membership = room.membership(self._user_id)
        public = room.content("m.room.join_rules").get("join_rule") == "public"
        if membership not in ("join", "invite") and not (public and membership == "leave"):
            return FORBIDDEN
        if not self.hides:
            await self._homeserver.set_membership(room_id, self._user_id, "join")
        return None

    async def leave(self, room_id: str, servers: Sequence[str]) -> MembershipFault | None:
        self.leaves.append((room_id, list(servers)))
        await self._arrived()
        if self.faults:
            return self.faults.pop(0)
        await self._homeserver.set_membership(room_id, self._user_id, "leave")
        return None

    async def _arrived(self) -> None:
        self.asked.set()
        if self.gate is not None:
            await self.gate.wait()
