"""The whole bot where the policy server has a name of its own, with a policy user."""

from dataclasses import replace
from pathlib import Path

from policybot.bot.policy_user import JoinTimes
from policybot.protocol.canonical_json import JsonObject

from .fake_federation import FakeFederation
from .fake_homeserver import FakeHomeserver
from .moderated import KEY, QUICK, Moderated
from .other_server import OtherServer
from .public_front import PublicFront

POLICY_NAME = "policy.example.org"
POLICY_USER = f"@policy:{POLICY_NAME}"
NAMED: JsonObject = {"via": POLICY_NAME, "public_keys": {"ed25519": KEY.public_key}}

QUICK_JOINS = JoinTimes(first_pause=0.02, longest_pause=0.05, shown_within=0.05, look_again=0.01)
PATIENT_JOINS = replace(QUICK_JOINS, first_pause=600.0, longest_pause=600.0)
"""Never tries again by itself within a test."""


class Dedicated(Moderated):
    """``federation`` is what the policy user does; invitations of it are answered by the bot."""

    federation: FakeFederation

    def __init__(self, homeserver: FakeHomeserver, front: PublicFront, directory: Path) -> None:
        super().__init__(homeserver, front, directory)
        self.settings["policy_server"]["name"] = POLICY_NAME
        self.federation = FakeFederation(homeserver, POLICY_USER)
        self.pace = replace(QUICK, joins=QUICK_JOINS)
        self.other = OtherServer("spam.example", POLICY_NAME, epoch_ms=homeserver.epoch_ms)
        homeserver.key_documents["spam.example"] = self.other.key_document()
        homeserver.take_invitation = self._take_invitation

    def _take_invitation(self, room_id: str, user_id: str, sender: str) -> bool:
        invitations = self.chat.invitations
        if user_id != POLICY_USER or not invitations.wanted(room_id, sender):
            return False
        invitations.accepted(room_id)  # the inviter's server does not know it yet
        return True

    def membership(self, room_id: str) -> str:
        """The policy user's membership."""
        return self.homeserver.rooms[room_id].membership(POLICY_USER)

    async def kick(self, room_id: str, by: str, membership: str = "leave") -> None:
        """Let somebody kick or ban the policy user."""
        await self.homeserver.set_membership(room_id, POLICY_USER, membership, by)
