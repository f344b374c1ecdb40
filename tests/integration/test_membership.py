"""A user of a name of our own joins and leaves rooms of real homeservers by federation."""

from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest
import pytest_asyncio

from policybot.app import now_ms
from policybot.demo.network import Network
from policybot.demo.user import User
from policybot.federation.address_guard import AddressGuard
from policybot.federation.client import HttpClient
from policybot.federation.dns_lookup import DnsLookup
from policybot.federation.membership import Membership, MembershipFailed
from policybot.federation.reach import Reach
from policybot.federation.well_known import WellKnown
from policybot.protocol.canonical_json import JsonObject

from .conftest import MakeCast
from .federation_server import FederationServer

AWAY = "127.0.0.1:1"


class PolicyUser:
    """The user, and who looks for it in rooms."""

    def __init__(self, user_id: str, membership: Membership) -> None:
        self.user_id = user_id
        self.membership = membership

    async def seen(self, watcher: User, room_id: str, membership: str) -> JsonObject:
        """The member event's content, once the watcher's homeserver says so last."""
        event = await watcher.wait_for_event(
            room_id,
            lambda event: (
                event["type"] == "m.room.member"
                and event["state_key"] == self.user_id
                and event["content"]["membership"] == membership
            ),
        )
        content: JsonObject = event["content"]
        assert await watcher.state_event(room_id, "m.room.member", self.user_id) == content
        return content


@pytest_asyncio.fixture(loop_scope="session")
async def policy_user(
    network: Network, third_server: FederationServer
) -> AsyncIterator[PolicyUser]:
    """``@policy`` of a server that has keys, takes invitations and is no homeserver else."""
    identity, dns = third_server.identity, DnsLookup()
    client = HttpClient(
        ssl_context=network.certificates.client_context(),
        resolver=dns,
        guard=AddressGuard([ip_network("127.0.0.0/8")]),
    )
    async with client:
        reach = Reach(client, WellKnown(client), dns)
        user_id = f"@policy:{identity.name}"
        yield PolicyUser(user_id, Membership(user_id, identity.client(reach), now_ms))


@pytest.mark.parametrize("room_version", ["10", "11", "12"])
async def test_public_restricted_and_invite_only_rooms(
    network: Network, make_cast: MakeCast, policy_user: PolicyUser, room_version: str
) -> None:
    cast = await make_cast(room_version=room_version)
    moderator, visitor = cast.moderator, cast.visitor
    hs1, hs2 = network.hs1.name, network.hs2.name
    membership = policy_user.membership

    # A room for members of the lounge, and one for those who are invited.
    allowed = {"type": "m.room_membership", "room_id": cast.lounge}
    rule = {"join_rule": "restricted", "allow": [allowed]}
    restricted = await moderator.create_room(
        room_version=room_version,
        initial_state=[{"type": "m.room.join_rules", "state_key": "", "content": rule}],
    )
    # More state than is read of the answer to a join.
    closed = await moderator.create_room(
        room_version=room_version,
        initial_state=[
            {"type": "tests.large", "state_key": key, "content": {"text": key * 60_000}}
            for key in ("a", "b")
        ],
    )
    for room_id in (restricted, closed):
        with pytest.raises(MembershipFailed, match="not|belong") as refused:
            await membership.join(room_id, [AWAY, hs1])
        assert refused.value.final
        # hs2 is not in these rooms.
        with pytest.raises(MembershipFailed, match="does not know the room") as unknown:
            await membership.join(room_id, [hs2])
        assert not unknown.value.final

    await membership.join(cast.lounge, [AWAY, hs1])
    for watcher in (moderator, visitor):
        await policy_user.seen(watcher, cast.lounge, "join")
    await membership.join(restricted, [hs1])
    assert await policy_user.seen(moderator, restricted, "join") == {
        "membership": "join",
        "join_authorised_via_users_server": moderator.user_id,
    }
    await moderator.invite(closed, policy_user.user_id)
    await membership.join(closed, [hs2, hs1])
    assert await policy_user.seen(moderator, closed, "join") == {"membership": "join"}

    # By way of the other server too.
    await membership.leave(cast.lounge, [AWAY, hs2])
    await policy_user.seen(moderator, cast.lounge, "leave")
    await membership.leave(closed, [hs1])
    await policy_user.seen(moderator, closed, "leave")
    await moderator.invite(closed, policy_user.user_id)
    await membership.leave(closed, [hs1])  # declined
    content = await moderator.state_event(closed, "m.room.member", policy_user.user_id)
    assert content == {"membership": "leave"}


async def test_rooms_of_old_versions(
    network: Network, make_cast: MakeCast, policy_user: PolicyUser
) -> None:
    moderator, hs1 = (await make_cast()).moderator, network.hs1.name
    for room_version in ("1", "3", "5", "8"):
        room_id = await moderator.create_room(preset="public_chat", room_version=room_version)
        await policy_user.membership.join(room_id, [hs1])
        await policy_user.seen(moderator, room_id, "join")
        await policy_user.membership.leave(room_id, [hs1])
        await policy_user.seen(moderator, room_id, "leave")
