"""A former name that rooms still give, and that no longer leads to us."""

from functools import partial

import pytest

from policybot.bot.enable_checks import EndpointFault
from policybot.bot.former_names import FormerNames
from tests.store.samples import eventually

from .moderated import BOB, BOT, NAME, Moderated
from .test_migrate_command import OLD, enabled, renamed

SOMEBODY_ELSE = EndpointFault("nginx answers there.", unreachable=False)
NOBODY = EndpointFault("The name has no address.", unreachable=True)


class Place:
    """What is under the former names: ``fault`` of the one that rooms give, or us."""

    def __init__(self) -> None:
        self.fault: EndpointFault | None = None
        self.asked: list[str] = []

    async def ask(self, name: str) -> EndpointFault | None:
        self.asked.append(name)
        return self.fault


def watch(bot: Moderated, place: Place) -> FormerNames:
    chat = bot.chat
    return FormerNames(chat.protected_rooms, chat.moderation_rooms, chat.notices, place.ask)


def checked(bot: Moderated, times: int) -> bool:
    return bot.chat.care.checks == times


async def told_after(bot: Moderated, names: FormerNames) -> list[str]:
    """What has been told of a fault, once it was asked again."""
    await names.check()
    await bot.caught_up()
    return [notice for notice in bot.notices() if "nobody can talk in" in notice]


async def test_nobody_is_asked_while_no_room_gives_a_former_name(bot: Moderated) -> None:
    await enabled(bot, "One")
    await renamed(bot)
    place = Place()
    assert await told_after(bot, watch(bot, place)) == []
    assert place.asked == []


async def test_somebody_else_under_a_former_name_is_told_once(bot: Moderated) -> None:
    rooms = await enabled(bot, "One", "Two", "Three")
    await renamed(bot, *rooms[:2])
    place = Place()
    names = watch(bot, place)
    assert await told_after(bot, names) == []
    place.fault = SOMEBODY_ELSE
    (notice,) = await told_after(bot, names)
    assert notice == (
        f"⚠️ My former name {OLD} does not lead to me any more. While that is so, nobody can talk "
        f"in “One”, “Two”. nginx answers there. To move them to {NAME}: !policy migrate"
    )
    assert len(await told_after(bot, names)) == 1
    place.fault = None
    assert len(await told_after(bot, names)) == 1
    place.fault = SOMEBODY_ELSE
    assert len(await told_after(bot, names)) == 2
    await bot.ask("!policy migrate")
    asked = len(place.asked)
    await names.check()
    assert len(place.asked) == asked


async def test_what_cannot_be_reached_is_told_the_second_time(bot: Moderated) -> None:
    await renamed(bot, *await enabled(bot, "One"))
    place = Place()
    names = watch(bot, place)
    for fault, told in ((NOBODY, 0), (None, 0), (NOBODY, 0), (NOBODY, 1), (SOMEBODY_ELSE, 1)):
        place.fault = fault
        notices = await told_after(bot, names)
        assert len(notices) == told
    assert (
        f"My former name {OLD} cannot be reached from here. If other servers cannot" in notices[0]
    )


async def test_only_those_are_told_whose_rooms_they_are(moderated: Moderated) -> None:
    others = moderated.homeserver.create_room(BOB, name="Others", members=[BOT])
    moderated.settings["moderation_rooms"].append(others)
    await moderated.start()
    room_id = moderated.room("Theirs", power_levels={"users": {BOT: 100, BOB: 100}})
    await moderated.ask(f"!policy enable {room_id}", BOB, others)
    await renamed(moderated, room_id)
    place = Place()
    place.fault = SOMEBODY_ELSE
    assert await told_after(moderated, watch(moderated, place)) == []
    await moderated.notice("nobody can talk in “Theirs”", room_id=others)


async def test_the_hourly_check_asks(bot: Moderated, monkeypatch: pytest.MonkeyPatch) -> None:
    await renamed(bot, *await enabled(bot, "One"))
    place, care = Place(), bot.chat.care
    place.fault = NOBODY
    monkeypatch.setattr(care, "_former_names", watch(bot, place))
    for number in range(1, 3):
        care.soon.set()
        await eventually(partial(checked, bot, number))
    assert place.asked == [OLD] * 2
    await bot.notice("nobody can talk in “One”")
