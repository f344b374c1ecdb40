"""A user of a name of our own joins and leaves rooms of real homeservers by federation."""

from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest
import pytest_asyncio

from policybot.app import now_ms
from policybot.demo.network import Network
from policybot.demo.ports import LOOPBACK
from policybot.demo.user import MatrixRefusal, User
from policybot.endpoint.web_app import WebServer
from policybot.federation.address_guard import AddressGuard
from policybot.federation.client import HttpClient
from policybot.federation.direct_keys import DirectKeys
from policybot.federation.dns_lookup import DnsLookup
from policybot.federation.membership import Membership, MembershipFailed
from policybot.federation.reach import Reach
from policybot.federation.signed_client import SignedClient
from policybot.federation.well_known import WellKnown
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.room_version import ROOM_VERSIONS

from ..endpoint.federated import FederatedScene
from ..endpoint.scene import protected
from .conftest import MakeCast

AWAY = "127.0.0.1:1"


class PolicyUser:
    """The policy user: ``membership`` is what it does, ``scene`` what its server answers."""

    def __init__(self, user_id: str, membership: Membership, scene: FederatedScene) -> None:
        self.user_id = user_id
        self.membership = membership
        self.scene = scene

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
async def policy_user(network: Network) -> AsyncIterator[PolicyUser]:
    """The user of a name that is served by nothing but our routes."""
    name = network.dedicated_name
    user_id, dns = f"@policy:{name}", DnsLookup()
    scene = FederatedScene(names=(name,), user_id=user_id)
    scene.now = now_ms()
    client = HttpClient(
        ssl_context=network.certificates.client_context(),
        resolver=dns,
        guard=AddressGuard([ip_network("127.0.0.0/8")]),
    )
    server = WebServer(scene.routes)
    host, port = await server.start(LOOPBACK, 0)
    network.route_policy_to(f"http://{host}:{port}", name)
    async with client:
        reach = Reach(client, WellKnown(client), dns)
        hs1 = (await DirectKeys(reach).fetch(network.hs1.name)).keys
        for key_id, key in hs1.verify_keys.items():
            scene.keys.known[hs1.server_name, key_id] = key
        own = scene.own_keys
        signed = SignedClient(name, own.key_id, own.signing_key, reach)
        yield PolicyUser(user_id, Membership(user_id, signed, now_ms), scene)
    network.route_policy_to(None, name)
    await server.stop()


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
    with pytest.raises(MatrixRefusal, match="M_FORBIDDEN"):
        await moderator.invite(closed, policy_user.user_id)
    version = ROOM_VERSIONS[room_version]
    policy_user.scene.rooms[closed] = protected(closed, version)
    policy_user.scene.invited.welcome.add((closed, moderator.user_id))
    await moderator.invite(closed, policy_user.user_id)
    assert policy_user.scene.invited.taken == [closed]
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
