"""A policy server with a name of its own ends in the middle of its work, and goes on with it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from policybot.app import now_ms
from policybot.demo.cast import ACCEPTED, Cast, body_of
from policybot.demo.network import Network
from policybot.demo.user import MatrixRefusal, User
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.policy_event import POLICY_EVENT

from .caller import Caller, SignAnswer
from .conftest import MakeBot, MakeCast
from .federation_server import FederationServer
from .seal import seal_of
from .test_dedicated_name import is_joined, neighbour_of, policy_user_of, seen_join
from .test_restart import begin_quarrel, changed

TRANSACTIONS = 5
_PATIENCE_S = 60.0


async def insist(user: User, room_id: str, text: str) -> str:
    """Send a message, again as long as the policy server is down, and return its event ID."""
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            try:
                return await user.send_text(room_id, text)
            except MatrixRefusal as refusal:
                if refusal.status < 500:
                    raise
                await asyncio.sleep(0.05)


@asynccontextmanager
async def storm(
    caller: Caller, pdus: Sequence[JsonObject], room_id: str, *people: User
) -> AsyncIterator[list[tuple[User, str]]]:
    """Each of the people sends messages without a pause, and each message brings transactions of
    these events. Whatever is not taken is sent again.

    The list grows by who said what; it is whole when the context is left.
    """
    over = asyncio.Event()
    said: list[tuple[User, str]] = []
    numbers = itertools.count()

    async def rage(user: User) -> None:
        while not over.is_set():
            event_id = await insist(user, room_id, f"message {len(said)}")
            said.append((user, event_id))
            for _ in range(TRANSACTIONS):
                transaction = {"origin_server_ts": now_ms(), "pdus": list(pdus)}
                answer = await caller.deliver(transaction, next(numbers))
                assert not any("error" in result for result in answer["pdus"].values())

    async with asyncio.TaskGroup() as group:
        for user in people:
            group.create_task(rage(user))
        yield said
        over.set()


async def new_room(cast: Cast, name: str) -> str:
    """A room of the moderator that nobody can enter but by invitation, as the bot may."""
    room = await cast.moderator.create_room(name=name, invite=[cast.bot.user_id])
    await cast.moderator.set_power_level(room, cast.bot.user_id, 100)
    return room


async def test_ended_in_a_storm_it_loses_no_verdict_and_no_join(
    network: Network, make_cast: MakeCast, make_bot: MakeBot, third_server: FederationServer
) -> None:
    cast = await make_cast(room_version="11")
    name = network.dedicated_name
    policy_user = policy_user_of(name)
    bot, caller, quarrel = await begin_quarrel(cast, make_bot, third_server.identity, name)
    neighbour = await neighbour_of(cast, network)
    stored: list[tuple[JsonObject, SignAnswer]] = []

    async def ask() -> None:
        async for event, answer in caller.answers(quarrel.messages(200, "asked about")):
            if answer.stored:
                stored.append((event, answer))

    # Also lies about the room, of which only the homeserver is believed.
    pdus = [
        *quarrel.messages(10, "in a transaction"),
        quarrel.state_event(quarrel.free, "m.room.member", policy_user, {"membership": "ban"}),
        quarrel.state_event(quarrel.free, POLICY_EVENT, "", {}),
    ]
    async with storm(caller, pdus, cast.lounge, cast.visitor, neighbour) as said:
        for end, newcomer in ((bot.kill, cast.bot.user_id), (bot.stop, policy_user)):
            room = await new_room(cast, f"Before {newcomer}")
            enabling = asyncio.create_task(
                cast.command(f"!policy enable {room}", deadline=_PATIENCE_S)
            )
            asking = asyncio.create_task(ask())
            await seen_join(newcomer, room, cast.moderator)
            await end()
            await bot.start()
            assert (await enabling).startswith(ACCEPTED)
            assert await is_joined(policy_user, room, cast.moderator)
            hello = await insist(cast.moderator, room, "hello")
            assert await (await seal_of(room, cast.moderator)).is_on(hello, network.hs1)
            await asking

    seal = await seal_of(cast.lounge, cast.visitor)
    for user, event_id in said:
        witness, homeserver = (
            (neighbour, network.hs2) if user is cast.visitor else (cast.visitor, network.hs1)
        )
        await witness.wait_for_event_id(cast.lounge, event_id)
        if (user, event_id) in said[-4:]:
            assert await seal.is_on(event_id, homeserver)
    talk = " ".join(map(body_of, cast.moderator.seen.events(cast.moderation_room)))
    assert "rejoin" not in talk and "no longer" not in talk
    assert stored
    await quarrel.turn()
    again = await caller.standing([event for event, _ in stored])
    assert changed([answer for _, answer in stored], again) == []
