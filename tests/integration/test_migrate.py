"""Rooms move to a name of the policy server's own, and back, while people talk in them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from policybot.demo import acts
from policybot.demo.bot_process import bot_config
from policybot.demo.network import Network
from policybot.demo.user import User
from policybot.protocol.policy_event import POLICY_EVENT

from .conftest import MakeBot, MakeCast
from .orders import obeyed
from .seal import seal_of
from .test_dedicated_name import is_joined, neighbour_of, policy_user_of
from .test_story import refusal_of


@asynccontextmanager
async def conversation(room_id: str, one: User, other: User) -> AsyncIterator[None]:
    """Two people talk: each hears what the other said before he speaks, and both are heard once
    more at the end."""
    over = asyncio.Event()

    async def talk() -> None:
        last = False
        while not last:
            last = over.is_set()
            for speaker, listener in ((one, other), (other, one)):
                event_id = await speaker.send_text(room_id, "and so on")
                await listener.wait_for_event_id(room_id, event_id)

    async with asyncio.TaskGroup() as group:
        group.create_task(talk())
        yield
        over.set()


async def test_nobody_is_locked_out_while_a_room_moves_to_another_name_and_back(
    network: Network, make_cast: MakeCast, make_bot: MakeBot
) -> None:
    cast = await make_cast()
    room = cast.lounge
    neighbour = await neighbour_of(cast, network)
    bot = await make_bot(cast, start=False)
    await acts.start_bot(bot, cast)
    await acts.enable(cast)

    for old, name in (
        (network.hs1.name, network.dedicated_name),
        (network.dedicated_name, network.hs1.name),
    ):
        await bot.stop()
        bot.configure(bot_config(network, cast.bot.account, [cast.moderation_room], name))
        await bot.start()
        async with conversation(room, neighbour, cast.visitor):
            status = await obeyed(cast, "!policy status")
            assert old in status and "!policy migrate" in status
            if name == network.dedicated_name:
                assert f"{policy_user_of(name)}, missing in no room" in status
            assert "“Lounge”" in await obeyed(cast, "!policy migrate")
            await cast.visitor.wait_for_event(
                room,
                lambda event, name=name: (  # type: ignore[misc]
                    event["type"] == POLICY_EVENT and event["content"].get("via") == name
                ),
            )
        assert "!policy migrate" not in await obeyed(cast, "!policy status")
        seal = await seal_of(room, cast.visitor)
        assert seal.name == name
        assert await seal.is_on(await cast.visitor.send_text(room, "still here"), network.hs2)

        # With a name of its own, hs1 asks too.
        greeting = await neighbour.send_text(room, "me too")
        if name == network.hs1.name:
            assert not await seal.is_on(greeting, network.hs1)
        else:
            assert await is_joined(policy_user_of(name), room, cast.visitor)
            assert await seal.is_on(greeting, network.hs1)
            await obeyed(cast, f"!policy ban {neighbour.user_id} spam")
            await refusal_of(neighbour, room, "cheap watches")
            await obeyed(cast, f"!policy unban {neighbour.user_id}")
