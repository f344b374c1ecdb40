"""The whole of it on two real homeservers, in each of the newer room versions."""

from collections.abc import Mapping

import pytest

from policybot.demo import acts
from policybot.demo.cast import body_of
from policybot.demo.network import Network
from policybot.demo.user import MatrixRefusal, User
from policybot.protocol.policy_event import POLICY_EVENT

from .conftest import MakeBot, MakeCast
from .orders import obeyed
from .seal import seal_of

REPORTS = {"first_delay": "0s", "interval": "1s"}


async def refusal_of(user: User, room_id: str, text: str) -> str:
    """Let somebody send what must be refused, and return what his homeserver tells him."""
    with pytest.raises(MatrixRefusal) as refusal:
        await user.send_text(room_id, text)
    assert (refusal.value.status, refusal.value.errcode) == (400, "M_FORBIDDEN")
    return refusal.value.error


def reference_in(text: str) -> str:
    code = acts.REFERENCE_CODE.search(text)
    assert code is not None, text
    return code.group()


async def seen_of(watcher: User, room_id: str, sender: User, marker: str) -> list[str]:
    """What the watcher saw of the sender until the event ``marker`` came."""
    await watcher.wait_for_event_id(room_id, marker)
    events = watcher.seen.events(room_id)
    return [body_of(event) for event in events if event["sender"] == sender.user_id]


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Mapping[str, str]:
    """Where the bot's database is named; nothing is said of SQLite, which is the default."""
    if request.param == "sqlite":
        return {}
    return {"database": request.getfixturevalue("postgres_url")}


@pytest.mark.parametrize(
    ("version", "database"),
    [("10", "sqlite"), ("11", "sqlite"), ("12", "sqlite"), ("12", "postgres")],
    indirect=["database"],
)
async def test_from_enable_to_disable(
    network: Network,
    make_cast: MakeCast,
    make_bot: MakeBot,
    version: str,
    database: Mapping[str, str],
) -> None:
    cast = await make_cast(room_version=version)
    room = cast.lounge
    bot = await make_bot(cast, start=False, reports=REPORTS, standalone=database)
    await acts.start_bot(bot, cast)
    await acts.enable(cast)
    create = await cast.visitor.state_event(room, "m.room.create")
    assert create is not None and create["room_version"] == version
    seal = await seal_of(room, cast.visitor)
    assert seal.name == network.hs1.name

    # Who is not banned talks, and the signature travels with the message.
    welcome = await cast.spammer.send_text(room, "hello, I am new here")
    await cast.moderator.wait_for_event_id(room, welcome)
    assert await seal.is_on(welcome, network.hs2)
    assert await seal.is_on(welcome, network.hs1)

    # Who is banned is told so by his own homeserver, and nobody else sees it.
    await obeyed(cast, f"!policy ban {cast.spammer.user_id} advertising")
    told = await refusal_of(cast.spammer, room, "cheap watches")
    assert told.startswith("This was not accepted by the moderation of this room.")
    code = reference_in(told)
    marker = await cast.visitor.send_text(room, "what a quiet evening")
    for watcher in (cast.moderator, cast.visitor):
        assert await seen_of(watcher, room, cast.spammer, marker) == ["", "hello, I am new here"]

    # The moderators hear of it and can ask why.
    report = await cast.moderator.wait_for_event(
        cast.moderation_room,
        lambda event: event["sender"] == cast.bot.user_id and code in body_of(event),
    )
    assert cast.spammer.user_id in body_of(report)
    assert "cheap watches" not in body_of(report)
    why = await obeyed(cast, f"!policy why {code}")
    assert cast.spammer.user_id in why and "advertising" in why
    assert network.hs2.name in why

    # What is undone lets him pass again.
    await obeyed(cast, f"!policy unban {cast.spammer.user_id}")
    sorry = await cast.spammer.send_text(room, "sorry")
    await cast.moderator.wait_for_event_id(room, sorry)
    assert await seal.is_on(sorry, network.hs1)

    # Afterwards the room is as before.
    await obeyed(cast, f"!policy disable {cast.lounge_alias}")
    for user in (cast.moderator, cast.visitor):
        gone = await user.wait_for_event(
            room, lambda event: event["type"] == POLICY_EVENT and event["content"] == {}
        )
        assert gone["sender"] == cast.bot.user_id
        assert await user.state_event(room, POLICY_EVENT) == {}
    night = await cast.visitor.send_text(room, "good night")
    await cast.moderator.wait_for_event_id(room, night)
    assert not await seal.is_on(night, network.hs2)


async def test_users_of_the_shared_name_are_checked_everywhere_but_at_home(
    network: Network, make_cast: MakeCast, make_bot: MakeBot
) -> None:
    cast = await make_cast()
    room = cast.lounge
    neighbour = await network.hs1.register("neighbour")
    rogue = await network.hs1.register("rogue")
    for user in (neighbour, rogue):
        await user.join(room)
    bot = await make_bot(cast, start=False)
    await acts.start_bot(bot, cast)
    enabled = await obeyed(cast, f"!policy enable {room}")
    assert "are not checked on" in enabled
    await cast.visitor.wait_for_event(
        room, lambda event: event["type"] == POLICY_EVENT and event["content"] != {}
    )
    seal = await seal_of(room, cast.visitor)
    banned = await obeyed(cast, f"!policy ban {rogue.user_id} spam")
    assert network.hs1.name in banned

    # hs1 does not ask the policy server of its own name, hs2 asks for what comes from there.
    spam = await rogue.send_text(room, "cheap watches")
    marker = await neighbour.send_text(room, "good morning")
    assert not await seal.is_on(marker, network.hs1)
    assert await seen_of(cast.visitor, room, rogue, marker) == [""]
    assert await seal.is_on(marker, network.hs2)
    assert await seen_of(cast.moderator, room, rogue, marker) == ["", "cheap watches"]
    why = await obeyed(cast, f"!policy why {spam}")
    assert rogue.user_id in why and network.hs2.name in why
