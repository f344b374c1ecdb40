"""A server name of its own: the homeservers of all members ask, that of the bot too."""

import asyncio

import pytest

from policybot.account import POLICY_USER
from policybot.demo import acts
from policybot.demo.cast import Cast
from policybot.demo.network import Network
from policybot.demo.ports import free_ports
from policybot.demo.user import MatrixRefusal, User
from policybot.protocol.policy_event import POLICY_EVENT

from .conftest import MakeBot, MakeCast
from .orders import obeyed, told
from .seal import seal_of
from .test_story import reference_in, refusal_of, seen_of

JOIN_RULES = "m.room.join_rules"


def policy_user_of(name: str) -> str:
    """The user that joins the rooms for the policy server of this name."""
    return f"@{POLICY_USER}:{name}"


async def is_joined(user_id: str, room_id: str, witness: User) -> bool:
    """Whether the user is in the room, as the homeserver of the witness knows it."""
    member = await witness.state_event(room_id, "m.room.member", user_id)
    return member is not None and member["membership"] == "join"


async def seen_join(user_id: str, room_id: str, witness: User, after: str | None = None) -> None:
    """Return once the witness saw the user come into the room, ``after`` an event."""
    await witness.wait_for_event(
        room_id,
        lambda event: (
            event["type"] == "m.room.member"
            and event["state_key"] == user_id
            and event["content"]["membership"] == "join"
        ),
        after=after,
    )


async def neighbour_of(cast: Cast, network: Network, called: str = "neighbour") -> User:
    """Somebody of hs1 who has no power in the lounge."""
    user = await network.hs1.register(f"{called}-{cast.moderator.localpart}")
    await user.join(cast.lounge)
    return user


async def seen_policy(cast: Cast) -> None:
    """Return once hs2 knows that the lounge is protected."""
    await cast.visitor.wait_for_event(
        cast.lounge, lambda event: event["type"] == POLICY_EVENT and event["content"] != {}
    )


@pytest.mark.parametrize("version", ["10", "11", "12"])
async def test_users_of_both_servers_are_checked_before_they_are_heard(
    network: Network, make_cast: MakeCast, make_bot: MakeBot, version: str
) -> None:
    cast = await make_cast(room_version=version)
    room = cast.lounge
    neighbour = await neighbour_of(cast, network)
    rogue = await neighbour_of(cast, network, "rogue")
    bot = await make_bot(cast, name=network.dedicated_name, start=False)
    await acts.start_bot(bot, cast)
    assert "are not checked on" not in await obeyed(cast, f"!policy enable {cast.lounge_alias}")
    await seen_policy(cast)
    seal = await seal_of(room, cast.visitor)
    assert seal.name == network.dedicated_name
    for witness in (cast.moderator, cast.visitor):
        assert await is_joined(policy_user_of(seal.name), room, witness)

    for user, homeserver in ((cast.visitor, network.hs2), (neighbour, network.hs1)):
        evening = await user.send_text(room, "good evening")
        assert await seal.is_on(evening, homeserver)
    for user in (cast.spammer, rogue):
        await obeyed(cast, f"!policy ban {user.user_id} advertising")
        reference = reference_in(await refusal_of(user, room, "cheap watches"))
        assert user.user_id in await obeyed(cast, f"!policy why {reference}")
    marker = await cast.visitor.send_text(room, "what a quiet evening")
    for watcher in (cast.moderator, cast.visitor):
        for user in (cast.spammer, rogue):
            assert await seen_of(watcher, room, user, marker) == [""]

    await obeyed(cast, f"!policy disable {cast.lounge_alias}")
    await cast.visitor.wait_for_event(
        room, lambda event: event["type"] == POLICY_EVENT and event["content"] == {}
    )
    for user, homeserver in ((cast.visitor, network.hs2), (rogue, network.hs1)):
        night = await user.send_text(room, "good night")
        assert not await seal.is_on(night, homeserver)


async def test_the_policy_user_gets_into_rooms_that_not_everybody_can_enter(
    network: Network, make_cast: MakeCast, make_bot: MakeBot
) -> None:
    cast = await make_cast()
    moderator, name = cast.moderator, network.dedicated_name
    club = await moderator.create_room(name="Club")
    allow = [{"type": "m.room_membership", "room_id": club}]

    async def make_room(version: str, join_rule: str) -> str:
        content = {"join_rule": join_rule} | ({} if join_rule == "invite" else {"allow": allow})
        room = await moderator.create_room(
            name=f"{join_rule} {version}",
            room_version=version,
            invite=[cast.bot.user_id],
            initial_state=[{"type": JOIN_RULES, "state_key": "", "content": content}],
        )
        await moderator.set_power_level(room, cast.bot.user_id, 100)
        return room

    restricted = {"10": "restricted", "11": "knock_restricted", "12": "restricted"}
    kinds = [(version, rule) for version in restricted for rule in ("invite", restricted[version])]
    rooms = await asyncio.gather(*(make_room(*kind) for kind in kinds))
    bot = await make_bot(cast, name=name, start=False)
    await acts.start_bot(bot, cast)
    for room, kind in zip(rooms, kinds, strict=True):
        await obeyed(cast, f"!policy enable {room}")
        assert await is_joined(policy_user_of(name), room, moderator), kind
        event_id = await moderator.send_text(room, "hello")
        assert await (await seal_of(room, moderator)).is_on(event_id, network.hs1), kind


async def test_a_policy_user_that_was_kicked_comes_back_by_command_and_by_invitation(
    network: Network, make_cast: MakeCast, make_bot: MakeBot
) -> None:
    cast = await make_cast()
    room, policy_user = cast.lounge, policy_user_of(network.dedicated_name)
    bot = await make_bot(cast, name=network.dedicated_name, start=False)
    await acts.start_bot(bot, cast)
    await acts.enable(cast)
    await cast.moderator.send_state(room, JOIN_RULES, {"join_rule": "invite"})
    seal = await seal_of(room, cast.moderator)

    async def kick() -> str:
        """Kick the policy user, and return what the moderators are told."""
        before = await cast.moderator.send_text(cast.moderation_room, "Who is that?")
        await cast.moderator.request("POST", "rooms", room, "kick", body={"user_id": policy_user})
        return await told(cast, policy_user, "!policy rejoin", after=before)

    async def is_signed() -> bool:
        return await seal.is_on(await cast.moderator.send_text(room, "hello"), network.hs1)

    assert "“Lounge”" in await kick()
    assert not await is_signed()
    await obeyed(cast, f"!policy rejoin {cast.lounge_alias}")
    assert await is_joined(policy_user, room, cast.moderator)
    assert await is_signed()

    await kick()
    marker = await cast.moderator.send_text(room, "One moment, please.")
    await cast.moderator.invite(room, policy_user)
    await seen_join(policy_user, room, cast.moderator, after=marker)
    await told(cast, f"My user {policy_user} is in “Lounge” again")
    assert await is_signed()


async def test_what_is_signed_passes_while_policybot_is_down(
    network: Network, make_cast: MakeCast, make_bot: MakeBot
) -> None:
    cast = await make_cast()
    room = cast.lounge
    bot = await make_bot(cast, name=network.dedicated_name, start=False)
    await acts.start_bot(bot, cast)
    await acts.enable(cast)
    seal = await seal_of(room, cast.visitor)

    # hs1 cannot be reached while the visitor talks, and hears of it when policybot is gone.
    network.proxy.routes = ()
    event_id = await cast.visitor.send_text(room, "said before")
    await bot.stop()
    network.route_policy_to(None)
    with pytest.raises(MatrixRefusal) as refusal:
        await cast.visitor.send_text(room, "said now")
    assert refusal.value.status >= 500
    # Hearing from hs1 makes hs2 try it again at once; by itself it may take its time.
    await cast.moderator.create_room(invite=[cast.visitor.user_id])
    await cast.moderator.wait_for_event_id(room, event_id)
    assert await seal.is_on(event_id, network.hs1)

    await bot.start()
    again = await cast.visitor.send_text(room, "said now")
    await cast.moderator.wait_for_event_id(room, again)


async def test_with_its_own_certificate_it_needs_no_reverse_proxy(
    network: Network, make_cast: MakeCast, make_bot: MakeBot
) -> None:
    cast = await make_cast()
    (port,) = free_ports(1)
    files = network.certificates
    tls = {"certificate": str(files.certificate), "key": str(files.key)}
    name = f"localhost:{port}"
    bot = await make_bot(cast, name=name, start=False, listen={"port": port, "tls": tls})
    await acts.start_bot(bot, cast)
    assert await acts.enable(cast) == name
    await acts.visitor_talks(network, cast)
    neighbour = await neighbour_of(cast, network)
    seal = await seal_of(cast.lounge, neighbour)
    assert await seal.is_on(await neighbour.send_text(cast.lounge, "hello"), network.hs1)
