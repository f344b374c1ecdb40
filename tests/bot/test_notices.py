"""Notices are kept in order until the homeserver takes them."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from policybot.bot.client import MatrixClient
from policybot.bot.notices import Notices
from policybot.bot.reply import Reply

from .conftest import ALICE, BOT
from .fake_homeserver import FakeHomeserver, Fault


@pytest.fixture
def rooms(homeserver: FakeHomeserver) -> list[str]:
    return [homeserver.create_room(ALICE, members=[BOT]) for _ in range(2)]


@pytest.fixture
async def notices(
    client: MatrixClient, rooms: list[str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Notices]:
    monkeypatch.setattr("policybot.bot.notices.RETRY_FIRST_S", 0.01)
    notices = Notices(client, lambda: tuple(rooms), "!guard")
    running = asyncio.create_task(notices.run())
    yield notices
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def said(homeserver: FakeHomeserver, room_id: str) -> list[str]:
    return [content["body"] for content in homeserver.messages(room_id, BOT)]


async def test_in_order_and_once_whatever_fails(
    homeserver: FakeHomeserver, notices: Notices, rooms: list[str]
) -> None:
    homeserver.fault(
        "PUT",
        "/send/",
        Fault(502, body="x", after_the_deed=True),
        Fault.bad_gateway(),
        Fault.rate_limit(5),
        Fault(502, body="x", after_the_deed=True),
    )
    for number in range(4):
        notices.tell(rooms[0], Reply(str(number)))
    await homeserver.wait_for(lambda: len(said(homeserver, rooms[0])) == 4)
    assert said(homeserver, rooms[0]) == ["0 ", "1 ", "2 ", "3 "]


async def test_to_one_room_or_all(
    homeserver: FakeHomeserver, notices: Notices, rooms: list[str]
) -> None:
    notices.tell(rooms[0], Reply("one"))
    notices.tell("", Reply("all").command("status"))
    await homeserver.wait_for(lambda: len(said(homeserver, rooms[1])) == 1)
    assert said(homeserver, rooms[0]) == ["one ", "all !guard status"]
    assert said(homeserver, rooms[1]) == ["all !guard status"]


async def test_a_room_that_takes_none_does_not_hold_up_the_others(
    homeserver: FakeHomeserver, notices: Notices, rooms: list[str]
) -> None:
    notices.tell("!gone:example.org", Reply("lost"))
    notices.tell(rooms[1], Reply("told"))
    await homeserver.wait_for(lambda: said(homeserver, rooms[1]) == ["told "])


async def test_the_oldest_go_when_too_many_wait(
    homeserver: FakeHomeserver, notices: Notices, rooms: list[str]
) -> None:
    for number in range(510):
        notices.tell(rooms[0], Reply(str(number)))
    await homeserver.wait_for(lambda: "509 " in said(homeserver, rooms[0])[-1:])
    assert said(homeserver, rooms[0])[0] == "10 "
