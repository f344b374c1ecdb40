"""The state event that names a room's policy server: set, emptied and read back."""

import asyncio
import logging
from dataclasses import dataclass

from policybot.protocol.policy_event import POLICY_EVENT, policy_content

from .client import HomeserverAway, MatrixClient, Refused
from .enable_plan import RoomState
from .protected_rooms import ProtectedRooms

log = logging.getLogger("policybot.rooms")


@dataclass(frozen=True, slots=True)
class ReadBack:
    """How often and after how many seconds a state event is read back while the homeserver does
    not answer."""

    pauses_s: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)


class PolicyState:
    """Writes and reads the policy server of rooms. The caller holds the room's lock."""

    def __init__(
        self, client: MatrixClient, protected_rooms: ProtectedRooms, read_back: ReadBack
    ) -> None:
        self._client = client
        self._rooms = protected_rooms
        self._read_back = read_back

    async def set(self, room_id: str) -> None:
        """Name our server and key.

        Raises:
            Refused, HomeserverAway: it was not set, or it is not known whether it was.
        """
        content = policy_content(self._rooms.ours.via, self._rooms.ours.public_key)
        await self._client.put_state(room_id, POLICY_EVENT, "", content)

    async def empty(self, room_id: str, event_type: str) -> str | None:
        """Empty one form of the state event; the fault if that failed."""
        try:
            await self._client.put_state(room_id, event_type, "", {})
        except (Refused, HomeserverAway) as error:
            log.warning("Emptying %s in %s: %s", event_type, room_id, error)
            return error.message
        return None

    async def read_until_known(self, room_id: str) -> RoomState | None:
        """The room's state; None if the homeserver does not tell."""
        for pause in (*self._read_back.pauses_s, None):
            try:
                return await self._rooms.read(room_id)
            except Refused:
                return None
            except HomeserverAway:
                if pause is None:
                    return None
                await asyncio.sleep(pause)
        return None
