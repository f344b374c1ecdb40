"""Whether the protected rooms rely on us as they should, read from the rooms: part of `check`."""

from mautrix.util.async_db import Database

from .bot.client import HomeserverAway, MatrixClient, Refused
from .bot.enable_plan import standing_server
from .bot.policy_change import Standing, standing
from .bot.policy_user import MEMBER, JoinTimes, PolicyUser
from .policy.records import RoomRecord
from .protocol.canonical_json import JsonObject
from .protocol.policy_event import POLICY_EVENT, UNSTABLE_POLICY_EVENT, PolicyServer
from .store.rooms import RoomTable

MOST_FAULTS = 20
"""Rooms with a fault that are named; beyond, no further room is read."""


class RoomsCheck:
    """Looks at the rooms. ``ours`` is the name and key that they should carry; ``policy_user`` is
    the user that should be in them, None where the bot itself is that."""

    def __init__(
        self,
        client: MatrixClient,
        database: Database,
        bot_user_id: str,
        ours: PolicyServer,
        policy_user: str | None,
    ) -> None:
        self._client = client
        self._table = RoomTable(database)
        self._ours = ours
        self._user = PolicyUser(
            client, None, policy_user, bot_user_id=bot_user_id, times=JoinTimes()
        )
        self.count = 0

    async def faults(self) -> list[str]:
        """What is wrong, one sentence for each room; ``count`` is then how many were read."""
        found = []
        for record in await self._table.load():
            if not record.mode.is_protected:
                continue
            self.count += 1
            fault = await self._fault(record)
            if fault is not None:
                found.append(f"{record.room_id}: {fault}")
            if len(found) == MOST_FAULTS:
                break
        return found

    async def _fault(self, record: RoomRecord) -> str | None:
        try:
            state = await self._read(record.room_id)
        except Refused as error:
            return f"the room cannot be read ({error.message}). Invite the bot to it again."
        except HomeserverAway as error:
            return f"the room could not be read: the homeserver {error}."
        server = standing_server(state)
        # Whether the name is one of before, the key tells: who asks may have changed it just now.
        same_key = server is not None and server.public_key == self._ours.public_key
        former = frozenset((server.via,)) if server is not None and same_key else frozenset()
        stands = standing(state, self._ours, former)
        if stands is Standing.FORMER:
            return "the room names a former name of this policy server. Write: !policy migrate"
        if stands is not Standing.OURS:
            return (
                "the room does not name this policy server and its key, so nothing is checked"
                " there. `!policy status` tells more."
            )
        obstacle = self._user.obstacle(state)
        if obstacle is not None:
            return obstacle
        if not self._user.is_joined(state):
            return (
                f"{self._user.user_id} is not in the room, so nobody asks this policy server. "
                f"Write: !policy rejoin {record.room_id}"
            )
        return None

    async def _read(self, room_id: str) -> dict[tuple[str, str], JsonObject]:
        wanted = [(POLICY_EVENT, ""), (UNSTABLE_POLICY_EVENT, ""), ("m.room.server_acl", "")]
        if self._user.user_id is not None:
            wanted.append((MEMBER, self._user.user_id))
        state = {}
        for place in wanted:
            event = await self._client.state_event(room_id, *place)
            if event is not None:
                state[place] = event
        return state
