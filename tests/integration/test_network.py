"""The two homeservers really federate, in both directions and through the proxy."""

import pytest

from policybot.demo.network import Network
from policybot.demo.user import MatrixRefusal, NotSeen

from .conftest import MakeCast


@pytest.mark.parametrize("room_version", ["10", "11", "12"])
async def test_messages_travel_both_ways(
    network: Network, make_cast: MakeCast, room_version: str
) -> None:
    cast = await make_cast(room_version=room_version)
    create = await cast.moderator.state_event(cast.lounge, "m.room.create")
    assert create is not None and create["room_version"] == room_version

    there = await cast.visitor.send_text(cast.lounge, "from hs2")
    assert (await cast.moderator.wait_for_event_id(cast.lounge, there))["sender"] == (
        cast.visitor.user_id
    )
    back = await cast.moderator.send_text(cast.lounge, "from hs1")
    await cast.visitor.wait_for_event_id(cast.lounge, back)
    assert cast.visitor.seen.has(back)

    stored = await network.hs1.stored_event(there)
    assert set(stored["signatures"]) == {network.hs2.name}


async def test_an_unprotected_network_refuses_nothing_and_tells_what_is_missing(
    network: Network, make_cast: MakeCast
) -> None:
    cast = await make_cast()
    with pytest.raises(MatrixRefusal) as refusal:
        await cast.visitor.send_state(cast.lounge, "m.room.name", {"name": "mine"})
    assert (refusal.value.status, refusal.value.errcode) == (403, "M_FORBIDDEN")
    with pytest.raises(NotSeen, match="the latest there"):
        await cast.visitor.wait_for_event(cast.lounge, lambda event: False, deadline=0.2)


async def test_a_homeserver_that_was_away_gets_what_it_missed(
    network: Network, make_cast: MakeCast
) -> None:
    cast = await make_cast()
    await network.hs2.stop()
    assert network.hs2.process.pid is None
    event_id = await cast.moderator.send_text(cast.lounge, "while you were away")
    await network.hs2.start()
    # Hearing from hs2 makes hs1 try it again at once; by itself it may take its time.
    await cast.visitor.send_text(cast.lounge, "here I am again")
    await cast.visitor.wait_for_event_id(cast.lounge, event_id)
