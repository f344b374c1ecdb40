"""The homeserver answers with nonsense: the process goes on, and recovers by itself."""

import pytest

from tests.bot.fault import Fault
from tests.bot.moderated import SPAMMER

from .live import Live

HUGE = '{"rooms": {"join": ' + '{"!a:b": {"timeline": {"events": [' * 3_000

NONSENSE = {
    "502-html": Fault.bad_gateway(),
    "deep-json": Fault(200, body=HUGE),
    "odd-types": Fault(
        200, body='{"next_batch": 5, "event_id": [], "rooms": {"join": 7}, "joined": []}'
    ),
    "odd-rooms": Fault(
        200,
        body='{"next_batch": "s1", "rooms": {"join": '
        '{"!x": null, "!y": {"timeline": {"events": [null, 1, {}]}}},'
        ' "invite": [], "leave": {"!z": {"timeline": []}}}}',
    ),
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
async def test_nonsense_instead_of_sync_and_of_a_reply(live: Live, nonsense: Fault) -> None:
    room_id = live.room()
    await live.start()
    assert (await live.ask(f"!policy enable {room_id}")).startswith("✅")
    live.homeserver.fault("GET", "/sync", nonsense)
    live.homeserver.fault("PUT", "/send/m.room.message/", nonsense)
    first = await live.say("!policy help")
    await live.homeserver.wait_for(lambda: live.homeserver.faults_left() == 0)
    assert (await live.sign(room_id)).status == 200
    second = await live.ask("!policy status")
    assert "“Lobby”: protected" in second
    assert len(live.replies(first)) == 1
    assert "Traceback" not in live.log()


async def test_an_answer_without_end(live: Live) -> None:
    """It is given up, and its memory with it."""
    room_id = live.room()
    await live.start()
    assert (await live.ask(f"!policy enable {room_id}")).startswith("✅")
    live.homeserver.fault("GET", "/sync", Fault(200, endless=True))
    await live.say("!policy help")
    await live.homeserver.wait_for(lambda: live.homeserver.faults_left() == 0)
    assert "“Lobby”: protected" in await live.ask("!policy status")
    assert "answered with more than 268,435,456 bytes" in live.log()


async def test_nonsense_for_a_while(live: Live) -> None:
    """Every request fails; what was asked for is done when that is over."""
    room_id = live.room()
    await live.start()
    assert (await live.ask(f"!policy enable {room_id}")).startswith("✅")
    assert (await live.ask(f"!policy ban {SPAMMER} spam")).startswith("✅")
    live.homeserver.fault("", "/client/v3/", Fault.bad_gateway(times=1_000))
    asked = len(live.homeserver.requests)
    refused = await live.sign(room_id)
    assert (refused.status, refused.kept) == (400, "stored")
    command = await live.say(f"!policy unban {SPAMMER}")
    await live.homeserver.wait_for(lambda: len(live.homeserver.requests) > asked + 1)
    live.homeserver.mend()
    assert "Removed from" in str((await live.reply_to(command))["body"])
    assert (await live.sign(room_id)).status == 200
