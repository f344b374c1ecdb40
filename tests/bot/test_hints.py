"""Hints of other servers let a protected room be read, a bounded number of times."""

import asyncio
from functools import partial

from policybot.bot.hints import Hints

from .dedicated import POLICY_USER, Dedicated
from .fake_homeserver import Fault
from .moderated import NAME, Moderated


class Readings:
    """The rooms that were read; a waiting test learns of each."""

    def __init__(self) -> None:
        self.rooms: list[str] = []
        self.came = asyncio.Event()

    def __call__(self, room_id: str) -> None:
        self.rooms.append(room_id)
        self.came.set()


async def test_many_hints_are_one_reading_and_one_at_the_end(bot: Moderated) -> None:
    room_id = await bot.enabled()
    readings = Readings()
    hints = Hints(bot.chat.protected_rooms, readings, 0.05)
    for _ in range(1000):
        hints.hint(room_id)
    assert readings.rooms == [room_id]
    readings.came.clear()
    async with asyncio.timeout(10):
        await readings.came.wait()
    assert readings.rooms == [room_id, room_id]
    hints.stop()


async def test_only_rooms_that_are_ours_are_read(bot: Moderated) -> None:
    readings = Readings()
    hints = Hints(bot.chat.protected_rooms, readings, 60.0)
    for number in range(1000):
        hints.hint(f"!room{number}:spam.example")
    assert readings.rooms == [] and not hints._timers


async def test_after_stop_none_is_followed(bot: Moderated) -> None:
    room_id = await bot.enabled()
    readings = Readings()
    hints = Hints(bot.chat.protected_rooms, readings, 0.01)
    hints.hint(room_id)
    hints.hint(room_id)
    timer = hints._timers[room_id]
    hints.stop()
    assert timer.cancelled() and readings.rooms == [room_id]


async def test_a_hint_brings_what_sync_did_not(dedicated: Dedicated) -> None:
    room_id = await dedicated.enabled("One")
    room = dedicated.homeserver.rooms[room_id]
    # changed without that the homeserver tells anybody
    by = f"@carol:{NAME}"
    event = {**room.state["m.room.member", POLICY_USER], "sender": by}
    room.state["m.room.member", POLICY_USER] = {**event, "content": {"membership": "leave"}}
    dedicated.chat.hints.hint(room_id)
    await dedicated.notice(f"⚠️ My user {POLICY_USER} was removed from “One” by {by}")


async def test_hints_do_not_pile_up_while_the_homeserver_is_away(dedicated: Dedicated) -> None:
    room_id = await dedicated.enabled()
    path = f"{room_id}/state/"
    dedicated.homeserver.fault("GET", path, Fault.bad_gateway(times=10_000))
    for _ in range(3):
        asked = len(dedicated.homeserver.calls("GET", path))
        dedicated.chat._updates.read_room(room_id)
        await dedicated.homeserver.wait_for(
            partial(lambda before: len(dedicated.homeserver.calls("GET", path)) > before, asked)
        )
        tasks = dedicated.chat._updates._tasks
        assert len([task for task in tasks if room_id in task.get_name()]) == 1
    dedicated.homeserver.mend()
