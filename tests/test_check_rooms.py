"""What `check` says about the protected rooms, of which the bot's database knows."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from policybot.check_rooms import RoomsCheck
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.policy_event import PolicyServer

from .bot.conftest import homeserver
from .bot.dedicated import NAMED, POLICY_NAME, POLICY_USER, Dedicated
from .bot.fake_homeserver import FakeHomeserver
from .bot.moderated import ALICE, BOT, KEY
from .bot.public_front import PublicFront

__all__ = ["homeserver"]

POLICY = "m.room.policy"
OURS = PolicyServer(POLICY_NAME, KEY.public_key)


@pytest.fixture
async def bot(homeserver: FakeHomeserver, tmp_path: Path) -> AsyncIterator[Dedicated]:
    async with PublicFront() as front:
        bot = Dedicated(homeserver, front, tmp_path)
        await bot.start()
        yield bot
        await bot.stop()


async def faults(bot: Dedicated, most: int, ours: PolicyServer = OURS) -> list[str]:
    """What is found in the rooms of a bot that runs; ``most`` is how many rooms are read."""
    check = RoomsCheck(bot.app._client, bot.app._database, BOT, ours, POLICY_USER)
    found = await check.faults()
    assert check.count == most
    return found


async def test_rooms_that_are_as_they_should_be(bot: Dedicated) -> None:
    await bot.enabled("Lobby")
    away = await bot.enabled("Away")
    await bot.ask(f"!policy disable {away}")
    assert await faults(bot, 1) == []


async def test_each_room_that_is_not(bot: Dedicated) -> None:
    kicked, banned, shut, emptied, unread = [
        await bot.enabled(name) for name in ("Kicked", "Banned", "Shut", "Emptied", "Unread")
    ]
    await bot.kick(kicked, ALICE)
    await bot.kick(banned, ALICE, "ban")
    await bot.kick(shut, ALICE)
    acl: JsonObject = {"allow": ["*"], "deny": [POLICY_NAME]}
    await bot.homeserver.set_state(shut, ALICE, "m.room.server_acl", acl)
    await bot.homeserver.set_state(emptied, ALICE, POLICY, {})
    await bot.homeserver.set_membership(unread, BOT, "leave", ALICE)
    found = {line.partition(": ")[0]: line for line in await faults(bot, 5)}
    assert f"Write: !policy rejoin {kicked}" in found[kicked]
    assert "is banned in that room" in found[banned]
    assert f"shuts {POLICY_NAME} out" in found[shut]
    assert "does not name this policy server" in found[emptied]
    assert "cannot be read" in found[unread]


async def test_a_name_that_was_changed_just_now(bot: Dedicated) -> None:
    room_id = await bot.enabled()
    assert bot.homeserver.rooms[room_id].content(POLICY) == NAMED
    now = PolicyServer("new.example.org", KEY.public_key)
    assert "Write: !policy migrate" in (await faults(bot, 1, now))[0]


async def test_very_many_faults_end_it(bot: Dedicated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policybot.check_rooms.MOST_FAULTS", 2)
    for name in ("One", "Two", "Three"):
        await bot.kick(await bot.enabled(name), ALICE)
    assert len(await faults(bot, 2)) == 2
