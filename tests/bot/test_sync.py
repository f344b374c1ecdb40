"""Following a homeserver: positions, gaps, outages and odd answers."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policybot.bot.client import HomeserverAway, MatrixClient, TokenRejected, open_api
from policybot.bot.sync import (
    SYNC_FILTER,
    TIMELINE_LIMIT,
    Membership,
    RoomUpdate,
    SyncBatch,
    SyncLoop,
    parse_sync,
)
from policybot.policy.rule import RULE_EVENT_TYPES

from .conftest import ALICE, BOT
from .fake_homeserver import FakeHomeserver, Fault

LIST_RULE = {"entity": "@spam:example.org", "recommendation": "m.ban"}


class Follower:
    """A sync loop whose position and batches a test can look at."""

    def __init__(self, client: MatrixClient, position: str | None = None) -> None:
        self.position = position
        self.batches: list[SyncBatch] = []
        self.log: list[str] = []
        self.changed = asyncio.Condition()
        self.before_batch: Callable[[SyncBatch], Awaitable[None]] | None = None
        self.save_error: Exception | None = None
        self.loop = SyncLoop(
            client,
            BOT,
            load=self.load,
            save=self.save,
            on_batch=self.on_batch,
            poll_ms=20_000,
            first_retry_s=0.01,
            longest_retry_s=0.05,
        )

    async def load(self) -> str | None:
        return self.position

    async def save(self, position: str) -> None:
        if self.save_error is not None:
            raise self.save_error
        self.position = position
        self.log.append(f"saved {position}")

    async def on_batch(self, batch: SyncBatch) -> None:
        self.log.append(f"handled {batch.next_batch}")
        self.batches.append(batch)
        async with self.changed:
            self.changed.notify_all()
        if self.before_batch is not None:
            await self.before_batch(batch)

    async def wait_for(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(condition)

    def updates(self, room_id: str) -> list[RoomUpdate]:
        return [u for batch in self.batches for u in batch.rooms if u.room_id == room_id]

    def bodies(self, room_id: str) -> list[str]:
        return [
            event["content"]["body"]
            for update in self.updates(room_id)
            for event in update.timeline
            if event["type"] == "m.room.message"
        ]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.loop.run())
        try:
            yield
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_the_first_sync_and_what_follows(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    room_id = homeserver.create_room(ALICE, members=[BOT], name="Mods")
    await homeserver.say(room_id, ALICE, "old")
    follower = Follower(client)
    async with follower.running():
        await follower.wait_for(lambda: follower.batches)
        assert follower.batches[0].since is None
        await homeserver.say(room_id, ALICE, "new")
        await follower.wait_for(lambda: "new" in follower.bodies(room_id))
    assert follower.bodies(room_id) == ["old", "new"]
    assert follower.batches[1].since == follower.batches[0].next_batch
    update = follower.updates(room_id)[1]
    assert (update.kind, update.limited, update.state) == (Membership.JOINED, False, ())
    sync = homeserver.calls("GET", "/sync")
    assert "since" not in sync[0].query
    assert sync[1].query["since"] == (follower.batches[0].next_batch,)


async def test_a_position_is_taken_up_again(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    room_id = homeserver.create_room(ALICE, members=[BOT])
    first = Follower(client)
    async with first.running():
        await first.wait_for(lambda: first.batches)
    await homeserver.say(room_id, ALICE, "meanwhile")
    second = Follower(client, first.position)
    async with second.running():
        await second.wait_for(lambda: second.batches)
    assert second.batches[0].since == first.position
    assert second.bodies(room_id) == ["meanwhile"]


async def test_the_position_is_saved_before_the_batch_is_handled(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    room_id = homeserver.create_room(ALICE, members=[BOT])
    follower = Follower(client)
    async with follower.running():
        await follower.wait_for(lambda: follower.batches)
        await homeserver.say(room_id, ALICE, "x")
        await follower.wait_for(lambda: len(follower.batches) == 2)
    pairs = list(zip(follower.log[::2], follower.log[1::2], strict=True))
    assert len(pairs) == 2
    for saved, handled in pairs:
        assert saved.startswith("saved")
        assert handled == saved.replace("saved", "handled")


async def test_a_batch_that_fails_does_not_end_the_loop(
    homeserver: FakeHomeserver, client: MatrixClient, caplog: pytest.LogCaptureFixture
) -> None:
    room_id = homeserver.create_room(ALICE, members=[BOT])

    async def fail(_batch: SyncBatch) -> None:
        raise RuntimeError("broken handler")

    follower = Follower(client)
    follower.before_batch = fail
    async with follower.running():
        await follower.wait_for(lambda: follower.batches)
        await homeserver.say(room_id, ALICE, "x")
        await follower.wait_for(lambda: follower.bodies(room_id) == ["x"])
    assert "broken handler" in caplog.text


async def test_a_position_that_cannot_be_saved_is_no_reason_to_be_deaf(
    homeserver: FakeHomeserver, client: MatrixClient, caplog: pytest.LogCaptureFixture
) -> None:
    room_id = homeserver.create_room(ALICE, members=[BOT])
    follower = Follower(client)
    follower.save_error = OSError("disk full")
    async with follower.running():
        await follower.wait_for(lambda: follower.batches)
        await homeserver.say(room_id, ALICE, "x")
        await follower.wait_for(lambda: follower.bodies(room_id) == ["x"])
    assert follower.batches[1].since == follower.batches[0].next_batch
    assert "disk full" in caplog.text


async def test_invited_kicked_and_joined_again(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    room_id = homeserver.create_room(ALICE, name="Mods")
    follower = Follower(client)
    async with follower.running():
        await follower.wait_for(lambda: follower.batches)
        await homeserver.set_membership(room_id, BOT, "invite", ALICE)
        await follower.wait_for(lambda: len(follower.updates(room_id)) == 1)
        await client.join(room_id)
        await follower.wait_for(lambda: len(follower.updates(room_id)) == 2)
        await homeserver.set_membership(room_id, BOT, "leave", ALICE)
        await follower.wait_for(lambda: len(follower.updates(room_id)) == 3)
    invited, joined, left = follower.updates(room_id)
    assert invited.kind is Membership.INVITED
    member = [e for e in invited.state if e.get("state_key") == BOT]
    assert member[0]["sender"] == ALICE
    assert joined.kind is Membership.JOINED
    assert left.kind is Membership.LEFT
    assert left.timeline[-1]["content"]["membership"] == "leave"
    assert left.timeline[-1]["sender"] == ALICE


async def test_a_gap_is_marked(homeserver: FakeHomeserver, client: MatrixClient) -> None:
    room_id = homeserver.create_room(ALICE, members=[BOT])
    follower = Follower(client)
    async with follower.running():
        await follower.wait_for(lambda: follower.batches)
    for number in range(TIMELINE_LIMIT + 5):
        await homeserver.say(room_id, ALICE, str(number))
    async with follower.running():
        await follower.wait_for(lambda: len(follower.batches) == 2)
    update = follower.updates(room_id)[1]
    assert update.limited
    assert len(update.timeline) == TIMELINE_LIMIT


async def test_what_is_asked_for(homeserver: FakeHomeserver, client: MatrixClient) -> None:
    room_id = homeserver.create_room(ALICE, members=[BOT])
    await homeserver.set_state(room_id, ALICE, "m.policy.rule.user", LIST_RULE, "old")
    await homeserver.set_state(room_id, ALICE, "m.room.topic", {"topic": "x"})
    follower = Follower(client)
    async with follower.running():
        await follower.wait_for(lambda: follower.batches)
        await homeserver.set_state(room_id, ALICE, "m.policy.rule.user", LIST_RULE, "new")
        await homeserver.react(room_id, ALICE, "$x", "✅")
        await follower.wait_for(
            lambda: follower.updates(room_id)[-1].timeline[-1]["type"] == "m.reaction"
        )
    seen = {event["type"] for u in follower.updates(room_id) for event in u.timeline}
    assert "m.room.topic" not in seen
    assert {"m.policy.rule.user", "m.room.power_levels", "m.room.create"} <= seen


def test_the_filter_names_all_rule_types_in_timelines_only() -> None:
    timeline = SYNC_FILTER["room"]["timeline"]["types"]
    assert set(RULE_EVENT_TYPES) <= set(timeline)
    assert not set(RULE_EVENT_TYPES) & set(SYNC_FILTER["room"]["state"]["types"])
    assert len(timeline) == len(set(timeline))


@pytest.mark.parametrize(
    "fault",
    [
        Fault.bad_gateway(times=3),
        Fault(500, times=3),
        Fault(403, "M_USER_LOCKED", times=3),
        Fault(200, body="{}", times=3),
        Fault(200, body='{"next_batch": 5}', times=3),
        Fault(200, body="oops", times=3),
    ],
    ids=repr,
)
async def test_an_outage_is_told_once_and_ends(
    homeserver: FakeHomeserver,
    client: MatrixClient,
    caplog: pytest.LogCaptureFixture,
    fault: Fault,
) -> None:
    caplog.set_level(logging.INFO, "policybot.bot.sync")
    room_id = homeserver.create_room(ALICE, members=[BOT])
    follower = Follower(client)
    async with follower.running():
        await follower.wait_for(lambda: follower.batches)
        homeserver.fault("GET", "/sync", fault)
        await homeserver.say(room_id, ALICE, "during the poll")
        await follower.wait_for(lambda: follower.bodies(room_id))
        await homeserver.wait_for(lambda: not homeserver.faults_left())
        await homeserver.say(room_id, ALICE, "after")
        await follower.wait_for(lambda: "after" in follower.bodies(room_id))
        assert follower.loop.outage is None
    assert follower.bodies(room_id) == ["during the poll", "after"]
    messages = [record.getMessage() for record in caplog.records]
    assert len([m for m in messages if "does not answer" in m]) == 1
    assert len([m for m in messages if "answers again" in m]) == 1


async def test_an_outage_at_the_start(homeserver: FakeHomeserver, client: MatrixClient) -> None:
    homeserver.fault("POST", "/filter", Fault.bad_gateway(times=2))
    follower = Follower(client)
    async with follower.running():
        await homeserver.wait_for(lambda: homeserver.calls("POST", "/filter"))
        await follower.wait_for(lambda: follower.batches)
    assert len(homeserver.calls("POST", "/filter")) == 3


async def test_the_outage_can_be_read_while_it_lasts(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    homeserver.fault("GET", "/sync", Fault.bad_gateway(times=1_000))
    follower = Follower(client)
    async with follower.running():
        await homeserver.wait_for(lambda: len(homeserver.calls("GET", "/sync")) > 3)
        assert follower.loop.outage == "answered with status 502"
        homeserver.mend()
        await follower.wait_for(lambda: follower.batches)


@pytest.mark.parametrize("errcode", ["M_UNKNOWN_POS", "M_UNKNOWN", "M_INVALID_PARAM"])
async def test_a_refused_position_starts_anew(
    homeserver: FakeHomeserver, client: MatrixClient, errcode: str
) -> None:
    room_id = homeserver.create_room(ALICE, members=[BOT])
    await homeserver.say(room_id, ALICE, "old")
    homeserver.fault("GET", "/sync", Fault(400, errcode, times=2))
    follower = Follower(client, "s1")
    async with follower.running():
        await follower.wait_for(lambda: follower.batches)
    assert follower.batches[0].since is None
    assert follower.position == follower.batches[0].next_batch
    assert follower.bodies(room_id) == ["old"]


async def test_a_lost_filter_is_uploaded_again_and_the_position_kept(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    room_id = homeserver.create_room(ALICE, members=[BOT])
    follower = Follower(client)
    async with follower.running():
        await follower.wait_for(lambda: follower.batches)
        await homeserver.wait_for(lambda: len(homeserver.calls("GET", "/sync")) == 2)
        homeserver.forget_filters()
        await homeserver.say(room_id, ALICE, "one")
        await follower.wait_for(lambda: follower.bodies(room_id) == ["one"])
        await homeserver.say(room_id, ALICE, "two")
        await follower.wait_for(lambda: follower.bodies(room_id) == ["one", "two"])
    assert [batch.since for batch in follower.batches].count(None) == 1
    assert len(homeserver.calls("POST", "/filter")) == 2


async def test_a_rejected_token_ends_the_loop(homeserver: FakeHomeserver) -> None:
    token = homeserver.token(BOT)
    client = MatrixClient(open_api(homeserver.url, token))
    follower = Follower(client)
    task = asyncio.create_task(follower.loop.run())
    await follower.wait_for(lambda: follower.batches)
    homeserver.revoke(token)
    room_id = homeserver.create_room(ALICE, members=[BOT])
    await homeserver.say(room_id, ALICE, "x")
    with pytest.raises(TokenRejected):
        await asyncio.wait_for(task, 10)
    await client.close()


# --- answers that do not fit ---

GOOD = {"type": "m.room.message", "sender": ALICE, "content": {}, "event_id": "$a"}


def test_odd_events_are_left_out() -> None:
    events = [GOOD, 5, None, {}, GOOD | {"content": 5}, GOOD | {"type": []}]
    room = {"timeline": {"events": events, "limited": "yes"}, "state": {"events": 5}}
    batch = parse_sync(None, {"next_batch": "a", "rooms": {"join": {"!r": room, "!s": None}}})
    assert batch.rooms == (
        RoomUpdate("!r", Membership.JOINED, (), (GOOD,), False),
        RoomUpdate("!s", Membership.JOINED, (), (), False),
    )


def test_answers_without_a_position() -> None:
    for answer in ({}, {"next_batch": None}, {"next_batch": 5, "rooms": {}}):
        with pytest.raises(HomeserverAway):
            parse_sync("a", answer)


json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(
            st.sampled_from(["join", "invite", "timeline", "state", "events", "limited", "!r"]),
            below,
            max_size=3,
        )
    ),
    max_leaves=20,
)


@given(json_values)
def test_no_answer_breaks_the_parser(rooms: Any) -> None:
    batch = parse_sync("a", {"next_batch": "b", "rooms": rooms})
    assert (batch.since, batch.next_batch) == ("a", "b")
