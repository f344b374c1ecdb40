"""The client against a homeserver that speaks HTTP, with everything that can go wrong."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from policybot.bot.client import (
    HomeserverAway,
    MatrixClient,
    Precedence,
    Refused,
    TokenRejected,
    open_api,
)
from tests.store.samples import eventually

from .conftest import ALICE, BOT
from .fake_homeserver import FakeHomeserver, Fault
from .send_limit import SendLimit

JsonObject = dict[str, Any]

HOSTILE = ("a/b", "a?b=c", "a#b", "a%2Fb", "..", ".", "a b", "ü😀", "a;b", "a+b", "a\\b", "\n")


def ignore(_event: JsonObject) -> None:
    """For a room's state that nobody looks at."""


async def full_state(client: MatrixClient, room_id: str) -> list[JsonObject]:
    state: list[JsonObject] = []
    await client.read_state(room_id, state.append)
    return state


async def test_login_and_whoami(homeserver: FakeHomeserver) -> None:
    homeserver.passwords[BOT] = "sesame"
    client = MatrixClient(open_api(homeserver.url + "/"))
    try:
        with pytest.raises(Refused) as caught:
            await client.login(BOT, "wrong")
        assert (caught.value.status, caught.value.errcode) == (403, "M_FORBIDDEN")
        login = await client.login(BOT, "sesame", "DEVICE")
        assert (login.user_id, login.device_id) == (BOT, "DEVICE")
        with pytest.raises(TokenRejected):
            await client.whoami()
        client.use_token(login.access_token)
        whoami = await client.whoami()
        assert (whoami.user_id, whoami.device_id) == (BOT, "DEVICE")
    finally:
        await client.close()


async def test_secrets_and_messages_are_not_logged(
    homeserver: FakeHomeserver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    homeserver.passwords[BOT] = "sesame"
    client = MatrixClient(open_api(homeserver.url))
    login = await client.login(BOT, "sesame")
    client.use_token(login.access_token)
    room_id = homeserver.create_room(BOT)
    await client.send_notice(room_id, "hush", "hush", transaction_id="1")
    await client.close()
    assert "/login: 200" in caplog.text
    for secret in ("sesame", login.access_token, "hush"):
        assert secret not in caplog.text
        assert secret not in repr(login)


async def test_rooms(homeserver: FakeHomeserver, client: MatrixClient) -> None:
    room_id = homeserver.create_room(ALICE, alias="#a/b?c:example.org", join_rule="public")
    assert await client.resolve_alias("#a/b?c:example.org") == (room_id, ("example.org",))
    assert await client.joined_rooms() == ()
    assert await client.join("#a/b?c:example.org", ["a.org", "b.org"]) == room_id
    assert homeserver.calls("POST", "/join/")[0].query["via"] == ("a.org", "b.org")
    assert await client.joined_rooms() == (room_id,)
    assert set(await client.joined_members(room_id)) == {ALICE, BOT}
    await client.invite(room_id, "@new:example.org")
    assert homeserver.rooms[room_id].membership("@new:example.org") == "invite"
    await client.leave(room_id)
    assert await client.joined_rooms() == ()


async def test_create_room(homeserver: FakeHomeserver, client: MatrixClient) -> None:
    room_id = await client.create_room(
        name="List",
        invite=[ALICE],
        creation_content={"type": "m.policy"},
        initial_state=[{"type": "a.b", "state_key": "c", "content": {"d": 1}}],
        power_level_content_override={"events_default": 100},
    )
    room = homeserver.rooms[room_id]
    assert room.content("m.room.create")["type"] == "m.policy"
    assert room.content("a.b", "c") == {"d": 1}
    assert room.content("m.room.power_levels")["events_default"] == 100
    assert room.membership(ALICE) == "invite"
    assert set(homeserver.calls("POST", "createRoom")[0].json) == {
        "name",
        "preset",
        "invite",
        "creation_content",
        "initial_state",
        "power_level_content_override",
    }


async def test_state(homeserver: FakeHomeserver, client: MatrixClient) -> None:
    room_id = homeserver.create_room(BOT)
    event_id = await client.put_state(room_id, "m.room.policy", "", {"via": "example.org"})
    event = await client.state_event(room_id, "m.room.policy")
    assert event is not None
    assert (event["event_id"], event["sender"]) == (event_id, BOT)
    assert event["content"] == {"via": "example.org"}
    assert homeserver.calls("GET", "m.room.policy")[0].query["format"] == ("event",)
    assert await client.state_event(room_id, "m.room.policy", "other") is None
    assert (await client.event(room_id, event_id))["content"] == {"via": "example.org"}
    state = await full_state(client, room_id)
    assert [event["type"] for event in state] == [
        key[0] for key in homeserver.rooms[room_id].state
    ]


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_path_parts_arrive_as_they_are(
    homeserver: FakeHomeserver, client: MatrixClient, text: str
) -> None:
    room_id = homeserver.create_room(BOT, room_id=f"!{text}")
    await client.put_state(room_id, f"t.{text}", text, {"a": 1})
    event = await client.state_event(room_id, f"t.{text}", text)
    assert event is not None
    assert event["state_key"] == text
    path = homeserver.calls("GET", "/state/")[0].raw_path
    assert path.count("/") == 8
    assert not set(path) & set("?#\\ ;+")
    assert not set(path.split("/")) & {".", ".."}


@pytest.mark.parametrize("text", [".", ".."])
async def test_a_room_id_cannot_climb_out_of_the_path(
    homeserver: FakeHomeserver, client: MatrixClient, text: str
) -> None:
    with pytest.raises(Refused, match="M_FORBIDDEN"):
        await client.state_event(text, "m.room.create")
    assert homeserver.requests[0].path == f"/_matrix/client/v3/rooms/{text}/state/m.room.create"


async def test_what_no_url_and_no_json_can_hold(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    with pytest.raises(Refused, match="M_INVALID_PARAM"):
        await client.state_event("!\ud800", "m.room.create")
    with pytest.raises(Refused, match="M_INVALID_PARAM"):
        await client.put_state("!a", "b", "", {"c": float("nan")})
    assert homeserver.requests == []


async def test_a_base_url_with_a_path(homeserver: FakeHomeserver) -> None:
    client = MatrixClient(open_api(homeserver.url + "/proxy/", "token"))
    with pytest.raises(Refused, match="M_UNRECOGNIZED"):
        await client.whoami()
    await client.close()
    assert homeserver.requests[0].path == "/proxy/_matrix/client/v3/account/whoami"


async def test_notices_ping_nobody(homeserver: FakeHomeserver, client: MatrixClient) -> None:
    room_id = homeserver.create_room(BOT)
    asked = await homeserver.say(room_id, ALICE, "!policy help")
    event_id = await client.send_notice(
        room_id, "a\nb", "a<br>b", transaction_id="1", reply_to=asked
    )
    await client.send_notice(room_id, "c", "<b>c</b>", transaction_id="2", replaces=event_id)
    notice, edit = homeserver.messages(room_id, BOT)
    assert notice == {
        "msgtype": "m.notice",
        "body": "a\nb",
        "format": "org.matrix.custom.html",
        "formatted_body": "a<br>b",
        "m.mentions": {},
        "m.relates_to": {"m.in_reply_to": {"event_id": asked}},
    }
    assert edit["m.relates_to"] == {"rel_type": "m.replace", "event_id": event_id}
    assert edit["m.new_content"]["formatted_body"] == "<b>c</b>"
    assert edit["m.mentions"] == edit["m.new_content"]["m.mentions"] == {}


async def test_reactions(homeserver: FakeHomeserver, client: MatrixClient) -> None:
    room_id = homeserver.create_room(BOT)
    event_id = await client.react(room_id, "$abc", "👀", transaction_id="1")
    event = await client.event(room_id, event_id)
    assert event["content"]["m.relates_to"] == {
        "rel_type": "m.annotation",
        "event_id": "$abc",
        "key": "👀",
    }


async def test_sent_but_the_answer_was_lost(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    room_id = homeserver.create_room(BOT)
    homeserver.fault("PUT", "/send/", Fault.hang(after_the_deed=True))
    with pytest.raises(HomeserverAway, match=r"no answer within 0\.2 s"):
        await client.send_notice(room_id, "a", "a", transaction_id="x", time_limit=0.2)
    await client.send_notice(room_id, "a", "a", transaction_id="x")
    assert len(homeserver.messages(room_id, BOT)) == 1


Call = Callable[[MatrixClient], Awaitable[Any]]
CALLS: list[Call] = [
    lambda client: client.login(BOT, "x", time_limit=0.3),
    lambda client: client.whoami(time_limit=0.3),
    lambda client: client.resolve_alias("#a:b", time_limit=0.3),
    lambda client: client.join("!a", ["b"], time_limit=0.3),
    lambda client: client.leave("!a", time_limit=0.3),
    lambda client: client.invite("!a", ALICE, time_limit=0.3),
    lambda client: client.joined_rooms(time_limit=0.3),
    lambda client: client.joined_members("!a", time_limit=0.3),
    lambda client: client.create_room(name="a", time_limit=0.3),
    lambda client: client.state_event("!a", "b", time_limit=0.3),
    lambda client: client.read_state("!a", ignore, time_limit=0.3),
    lambda client: client.event("!a", "$b", time_limit=0.3),
    lambda client: client.put_state("!a", "b", "", {}, time_limit=0.3),
    lambda client: client.send_notice("!a", "b", "b", transaction_id="c", time_limit=0.3),
    lambda client: client.send_notice(
        "!a", "b", "b", transaction_id="c", replaces="$a", time_limit=0.3
    ),
    lambda client: client.react("!a", "$b", "c", transaction_id="d", time_limit=0.3),
    lambda client: client.upload_filter(BOT, {}, time_limit=0.3),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.hang(), HomeserverAway),
        (Fault.bad_gateway(), HomeserverAway),
        (Fault(500, "M_UNKNOWN"), HomeserverAway),
        (Fault(503, "M_UNKNOWN"), HomeserverAway),
        (Fault(301, headers={"Location": "/elsewhere"}, body=""), HomeserverAway),
        (Fault(404, body="<html>nothing here</html>"), HomeserverAway),
        (Fault(403, body="[]"), HomeserverAway),
        (Fault(400, body='{"errcode": 5}'), HomeserverAway),
        (Fault(200, body="<html>"), HomeserverAway),
        (Fault(200, body="5"), HomeserverAway),
        (Fault(200, body="[" * 100_000), HomeserverAway),
        (Fault.forbidden(), Refused),
        (Fault(400, "M_UNKNOWN"), Refused),
        (Fault(404, "M_UNRECOGNIZED"), Refused),
        (Fault(429, body="slow down", headers={"Retry-After": "60"}), Refused),
        (Fault(401, "M_UNKNOWN_TOKEN"), TokenRejected),
        (Fault(401, "M_MISSING_TOKEN"), TokenRejected),
    ],
    ids=repr,
)
async def test_every_call_fails_in_few_ways(
    homeserver: FakeHomeserver,
    client: MatrixClient,
    call: Call,
    fault: Fault,
    error: type[Exception],
) -> None:
    homeserver.fault("GET", "", fault)
    homeserver.fault("PUT", "", fault)
    homeserver.fault("POST", "", fault)
    with pytest.raises(error) as caught:
        await call(client)
    assert type(caught.value) is error
    assert len(homeserver.requests) == 1


async def test_answers_without_their_fields(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    homeserver.fault("GET", "", Fault(200, body="{}", times=99))
    homeserver.fault("PUT", "", Fault(200, body="{}", times=99))
    homeserver.fault("POST", "", Fault(200, body='{"event_id": 5}', times=99))
    for call in CALLS:
        try:
            answer = await call(client)
        except HomeserverAway:
            continue
        assert answer in ((), {}, None)


async def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    client = MatrixClient(open_api(f"http://127.0.0.1:{port}"))
    with pytest.raises(HomeserverAway, match="cannot be reached"):
        await client.whoami()
    await client.close()


async def test_an_unknown_host() -> None:
    client = MatrixClient(open_api("http://host.invalid"))
    with pytest.raises(HomeserverAway, match="cannot be reached"):
        await client.whoami()
    await client.close()


async def test_a_proxys_404_is_not_an_absent_event(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    room_id = homeserver.create_room(BOT)
    homeserver.fault("GET", "/state/", Fault(404, body="not found"))
    with pytest.raises(HomeserverAway, match="no Matrix error"):
        await client.state_event(room_id, "m.room.policy")


@pytest.mark.parametrize(
    "fault",
    [
        Fault.rate_limit(50, times=2),
        Fault(429, "M_LIMIT_EXCEEDED", headers={"Retry-After": "0"}, times=2),
        Fault(429, "M_LIMIT_EXCEEDED", extra={"retry_after_ms": 0}, times=2),
        Fault(429, body="slow down", headers={"Retry-After": "0"}, times=2),
    ],
    ids=repr,
)
async def test_rate_limits_are_waited_out(
    homeserver: FakeHomeserver, client: MatrixClient, fault: Fault
) -> None:
    room_id = homeserver.create_room(BOT)
    homeserver.fault("PUT", "/send/", fault)
    await client.send_notice(room_id, "a", "a", transaction_id="1")
    assert len(homeserver.calls("PUT", "/send/")) == 3
    assert len(homeserver.messages(room_id, BOT)) == 1


@pytest.mark.parametrize("wait", [60_000, -5, "x", True, None])
async def test_a_wait_beyond_the_time_limit_is_a_refusal(
    homeserver: FakeHomeserver, client: MatrixClient, wait: Any
) -> None:
    homeserver.fault("GET", "", Fault(429, "M_LIMIT_EXCEEDED", {"retry_after_ms": wait}))
    with pytest.raises(Refused) as caught:
        await client.whoami(time_limit=0.5)
    assert caught.value.status == 429


async def test_cancelling_a_call_cancels_it(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    homeserver.fault("GET", "", Fault.hang())
    task = asyncio.create_task(client.whoami())
    await homeserver.wait_for(lambda: homeserver.requests)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_odd_events_do_not_hide_the_state(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    room_id = homeserver.create_room(BOT)
    await homeserver.set_state(room_id, BOT, "m.room.pinned_events", {"pinned": 5})
    await homeserver.set_state(room_id, BOT, "m.policy.rule.user", {"entity": ["x"]}, "\ud800")
    assert len(await full_state(client, room_id)) == len(homeserver.rooms[room_id].state)


async def test_events_share_a_rate_limit_and_replies_go_first(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    room_id = homeserver.create_room(BOT)
    limit = homeserver.send_limit = SendLimit(burst=1)

    def send(text: str, precedence: Precedence) -> asyncio.Task[str]:
        return asyncio.create_task(
            client.send_notice(room_id, text, text, transaction_id=text, precedence=precedence)
        )

    await send("first", Precedence.UNASKED)
    tasks = [send("report", Precedence.UNASKED)]
    await homeserver.wait_for(lambda: limit.refused)
    tasks += [send("reply", Precedence.ASKED)]
    gate = client._gate
    await eventually(
        lambda: Precedence.ASKED in [ticket[0] for ticket in gate._waiting] and not gate._under_way
    )
    limit.pass_time(5.0)
    await homeserver.wait_for(lambda: len(homeserver.messages(room_id, BOT)) == 2)
    limit.pass_time(5.0)
    await asyncio.gather(*tasks)
    said = [content["body"] for content in homeserver.messages(room_id, BOT)]
    assert said == ["first", "reply", "report"]


async def test_no_turn_within_the_time_limit(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    """Then nothing was sent, which a caller may rely on."""
    room_id = homeserver.create_room(BOT)
    client._gate.close(60.0)
    with pytest.raises(Refused, match="no turn within 0.05 s") as caught:
        await client.send_notice(room_id, "a", "a", transaction_id="1", time_limit=0.05)
    assert caught.value.status == 429
    await client.whoami()  # reading goes on
    assert homeserver.messages(room_id, BOT) == []


async def test_others_get_their_turn_while_a_long_state_comes(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    room_id = homeserver.create_room(BOT)
    room = homeserver.rooms[room_id]
    for number in range(2_000):
        room.append(BOT, "m.policy.rule.user", {"entity": f"@spammer{number}:x"}, str(number))
    state: list[JsonObject] = []
    most = taken = 0

    async def other() -> None:
        nonlocal most, taken
        while True:
            most, taken = max(most, len(state) - taken), len(state)
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await client.read_state(room_id, state.append)
    task.cancel()
    assert len(state) == len(room.state)
    # A piece of 16 kB, and each event has more than 200 bytes.
    assert 0 < most < 16_384 / 200


async def test_a_state_that_breaks_off(homeserver: FakeHomeserver, client: MatrixClient) -> None:
    room_id = homeserver.create_room(BOT)
    homeserver.fault("GET", "/state", Fault(200, body='[{"type": "m.room.create"'))
    with pytest.raises(HomeserverAway, match="not a list"):
        await client.read_state(room_id, ignore)
