"""The last words before the bot is switched off for good."""

import pytest

from .fake_homeserver import Fault
from .moderated import Moderated


async def test_the_rooms_that_are_closed_from_now_on_are_named(bot: Moderated) -> None:
    await bot.enabled("Lobby")
    gone = await bot.enabled("Attic")
    await bot.ask(f"!policy disable {gone}")
    await bot.app.farewell()
    farewell = await bot.notice("I am being switched off")
    assert "“Lobby”" in farewell and "Attic" not in farewell
    assert "!policy disable all" in farewell


async def test_nothing_is_said_where_nothing_is_protected(bot: Moderated) -> None:
    before = bot.notices()
    await bot.app.farewell()
    assert bot.notices() == before


async def test_what_cannot_be_said_is_in_the_log(
    bot: Moderated, caplog: pytest.LogCaptureFixture
) -> None:
    room_id = await bot.enabled("Lobby")
    bot.homeserver.fault("PUT", "/send/", Fault(status=502))
    await bot.app.farewell()
    assert f"where nobody can talk: {room_id}" in caplog.text
