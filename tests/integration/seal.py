"""The policy server's signature, and whether it is on a homeserver's copy of an event."""

from policybot.demo.homeserver import Homeserver
from policybot.demo.user import User
from policybot.protocol.event_hash import signing_bytes
from policybot.protocol.policy_event import POLICY_EVENT, parse_policy_event
from policybot.protocol.room_version import RoomVersion, room_version_of
from policybot.protocol.signing import POLICY_SERVER_KEY_ID, VerifyKey


class Seal:
    """What the policy server ``name`` adds to the events of a room, by the key that it has there.

    Made of the room's state by ``seal_of``.
    """

    def __init__(self, name: str, key: VerifyKey, version: RoomVersion) -> None:
        self.name = name
        self._key = key
        self._version = version

    async def is_on(self, event_id: str, homeserver: Homeserver) -> bool:
        """Whether the homeserver stores the event with a signature that is right."""
        event = await homeserver.stored_event(event_id)
        signature = event["signatures"].get(self.name, {}).get(POLICY_SERVER_KEY_ID)
        return signature is not None and self._key.verify(
            signing_bytes(event, self._version), signature
        )


async def seal_of(room_id: str, member: User) -> Seal:
    """The seal of a protected room, as a member's homeserver knows it."""
    create = await member.state_event(room_id, "m.room.create")
    policy = parse_policy_event(await member.state_event(room_id, POLICY_EVENT))
    assert create is not None and policy is not None
    return Seal(policy.via, VerifyKey.from_base64(policy.public_key), room_version_of(create))
