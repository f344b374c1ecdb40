"""Joins and leaves by way of real servers over TLS: good ones, faulty ones and lying ones."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web

from policybot.federation.address_guard import AddressGuard
from policybot.federation.dns_lookup import DnsLookup
from policybot.federation.membership import (
    MAX_RESIDENTS,
    Membership,
    MembershipFailed,
    MembershipTimes,
)
from policybot.federation.reach import Reach
from policybot.federation.signed_client import SignedClient
from policybot.protocol.room_version import ROOM_VERSIONS

from .authority import Authority
from .fake_notary import NOW, Clock
from .key_server import hang, reaching
from .resident import (
    KEY,
    KEY_ID,
    NAME,
    ROOM,
    USER,
    Answer,
    Resident,
    always,
    endless,
    error,
    says,
)

AWAY = "127.0.0.1:1"


def membership(reach: Reach, times: MembershipTimes | None = None) -> Membership:
    return Membership(USER, SignedClient(NAME, KEY_ID, KEY, reach), Clock(), times)


@pytest.fixture
async def reach(authority: Authority, dns: DnsLookup) -> AsyncIterator[Reach]:
    async with reaching(authority, dns) as (reach, _):
        yield reach


@pytest.fixture
def member(reach: Reach) -> Membership:
    return membership(reach)


@pytest.fixture
async def residents(authority: Authority) -> AsyncIterator[list[Resident]]:
    """Three servers in the room."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Resident().serving(authority)) for _ in range(3)]


@pytest.fixture
def resident(residents: list[Resident]) -> Resident:
    return residents[0]


async def refused(member: Membership, *servers: str) -> MembershipFailed:
    """What comes of a join that must not succeed."""
    with pytest.raises(MembershipFailed) as caught:
        await member.join(ROOM, servers)
    return caught.value


@pytest.mark.parametrize("version", ROOM_VERSIONS)
async def test_join_and_leave(member: Membership, resident: Resident, version: str) -> None:
    resident.version = version
    await member.join(ROOM, [resident.name])
    await member.leave(ROOM, [resident.name])
    assert resident.asked == ["make_join", "send_join", "make_leave", "send_leave"]
    assert resident.queries == [
        "&".join(f"ver={known}" for known in ROOM_VERSIONS),
        "omit_members=true",
        "",
        "",
    ]
    joined, left = resident.taken
    for event, membership in ((joined, "join"), (left, "leave")):
        assert event["content"] == {"membership": membership}
        assert (event["sender"], event["state_key"]) == (USER, USER)
        assert event["origin_server_ts"] == NOW


async def test_servers_are_tried_in_their_order_until_one_takes_it(
    member: Membership, residents: list[Resident]
) -> None:
    first, second, third = residents
    first.answers["make_join"] = always(403, "M_FORBIDDEN", "No")
    second.answers["send_join"] = always(500, "M_UNKNOWN", "Oh")
    await member.join(
        ROOM, [NAME, AWAY, first.name, first.name, "no name", second.name, third.name]
    )
    assert first.asked == ["make_join"]
    assert second.asked == third.asked == ["make_join", "send_join"]
    assert (first.taken, second.taken, len(third.taken)) == ([], [], 1)


async def test_only_so_many_servers_are_asked(member: Membership, resident: Resident) -> None:
    away = [f"127.0.0.1:{port}" for port in range(1, MAX_RESIDENTS + 1)]
    failure = await refused(member, *away, resident.name)
    assert not failure.final
    assert failure.text.count("was asked, but") == 3
    assert resident.asked == []


async def test_who_refuses_is_told_first(member: Membership, residents: list[Resident]) -> None:
    first, second, _ = residents
    first.answers["make_join"] = always(404, "M_NOT_FOUND", "What room?")
    second.answers["make_join"] = always(403, "M_FORBIDDEN", "You are not invited.")
    failure = await refused(member, AWAY, first.name, second.name)
    assert failure.final
    assert failure.text.startswith(f"{second.name} refuses: You are not invited. {AWAY} was")


async def test_nobody_to_ask(member: Membership) -> None:
    failure = await refused(member, NAME)
    assert (failure.text, failure.final) == ("No other server is known to be in the room.", False)


REFUSALS: dict[str, tuple[Answer, bool, str]] = {
    "forbidden": (always(403, "M_FORBIDDEN", "You are banned"), True, "refuses: You are banned."),
    "version": (
        always(400, "M_INCOMPATIBLE_ROOM_VERSION", "No", room_version="99"),
        True,
        "version of the room is none that I know",
    ),
    "cannot authorise": (
        always(400, "M_UNABLE_TO_AUTHORISE_JOIN", "Not in any"),
        False,
        "With an invitation it can join",
    ),
    "cannot grant": (
        always(400, "M_UNABLE_TO_GRANT_JOIN", "No power"),
        False,
        "With an invitation it can join",
    ),
    "signature": (always(401, "M_UNAUTHORIZED", "No key"), False, "fetch the keys of policy.ex"),
    "not in the room": (always(404, "M_NOT_FOUND", "No room"), False, "does not know the room"),
    "too often": (always(429, "M_LIMIT_EXCEEDED", "Wait"), False, "just now: Wait."),
    "fault": (always(500, "M_UNKNOWN", "Oh"), False, "just now: Oh."),
    "gateway": (always(502, "", ""), False, "just now: 502"),
    "other": (always(418, "M_TEAPOT", "Tea"), False, "answered something else: 418 M_TEAPOT"),
    # Of a proxy in front of the server, which knows nothing of rooms.
    "forbidden by another": (always(403, "", "No"), False, "answered something else: 403"),
}


@pytest.mark.parametrize("request_name", ["make_join", "send_join"])
@pytest.mark.parametrize(("answer", "final", "text"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_refusals(
    member: Membership,
    resident: Resident,
    request_name: str,
    answer: Answer,
    final: bool,
    text: str,
) -> None:
    resident.answers[request_name] = answer
    failure = await refused(member, resident.name)
    assert failure.final is final
    assert text in failure.text


async def test_what_may_work_later_keeps_a_refusal_from_being_final(
    member: Membership, residents: list[Resident]
) -> None:
    first, second, _ = residents
    first.answers["make_join"] = always(403, "M_FORBIDDEN", "No")
    second.answers["make_join"] = always(500, "M_UNKNOWN", "Oh")
    assert not (await refused(member, first.name, second.name)).final
    second.answers["make_join"] = says({"lies": True})
    assert (await refused(member, first.name, second.name)).final


async def test_words_of_others_are_one_short_line(member: Membership, resident: Resident) -> None:
    resident.answers["make_join"] = always(403, "M_FORBIDDEN", "a\n\x1b[2J\u202e" + "b" * 5_000)
    text = (await refused(member, resident.name)).text
    assert text.isprintable() and len(text) < 300
    for words in (None, 7, {"a": 1}, ""):
        resident.answers["make_join"] = always(403, "M_FORBIDDEN", words)  # type: ignore[arg-type]
        assert "refuses: 403 M_FORBIDDEN" in (await refused(member, resident.name)).text


LIES: dict[str, Any] = {
    "another room": {"room_id": "!other:a.example"},
    "another user": {"sender": "@admin:policy.example", "state_key": "@admin:policy.example"},
    "another state key": {"state_key": "@admin:policy.example"},
    "another type": {"type": "m.room.power_levels", "content": {"users": {}}},
    "another membership": {"content": {"membership": "leave"}},
    "a float": {"depth": 7.5},
    "too many references": {"prev_events": ["$" + "a" * 43] * 21},
    "a long reference": {"prev_events": ["$" + "a" * 300]},
    "an odd authoriser": {
        "content": {"membership": "join", "join_authorised_via_users_server": "admin"}
    },
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_nothing_else_than_the_own_join_is_signed(
    member: Membership, residents: list[Resident], lie: dict[str, Any]
) -> None:
    lying, honest, _ = residents
    lying.answers["make_join"] = says(lying.proposal("make_join", **lie))
    failure = await refused(member, lying.name)
    assert not failure.final and "cannot be used" in failure.text
    assert (lying.asked, lying.taken) == (["make_join"], [])
    await member.join(ROOM, [lying.name, honest.name])
    assert len(honest.taken) == 1


@pytest.mark.parametrize("answer", [None, [], "yes", {}, {"event": {}}, {"room_version": 11}])
async def test_no_proposal_at_all(member: Membership, resident: Resident, answer: Any) -> None:
    resident.answers["make_join"] = says(answer)
    assert "cannot be used" in (await refused(member, resident.name)).text


async def test_a_version_that_was_not_offered(member: Membership, resident: Resident) -> None:
    proposal = resident.proposal("make_join")
    resident.answers["make_join"] = says({**proposal, "room_version": "99"})
    failure = await refused(member, resident.name)
    assert failure.final and "'99' is not known" in failure.text
    assert resident.asked == ["make_join"]


async def test_extra_content_is_left_out(member: Membership, resident: Resident) -> None:
    content = {"membership": "join", "displayname": "x" * 20_000, "reason": 1.5}
    proposal = resident.proposal("make_join", content=content, origin="evil.example", more=1.5)
    resident.answers["make_join"] = says(proposal)
    await member.join(ROOM, [resident.name])
    (event,) = resident.taken
    assert event["content"] == {"membership": "join"}
    assert event["origin"] == NAME and "more" not in event


async def test_a_huge_proposal_is_not_read(member: Membership, resident: Resident) -> None:
    resident.answers["make_join"] = endless
    failure = await refused(member, resident.name)
    assert not failure.final and "more than 65,536 bytes" in failure.text
    assert resident.asked == ["make_join"]


async def test_the_state_of_a_large_room_is_left_unread(
    member: Membership, resident: Resident
) -> None:
    resident.answers["send_join"] = endless
    await member.join(ROOM, [resident.name])


async def test_a_huge_refusal_is_none_of_success(member: Membership, resident: Resident) -> None:
    resident.answers["send_join"] = always(403, "M_FORBIDDEN", "x" * 100_000)
    failure = await refused(member, resident.name)
    assert "more than 65,536 bytes" in failure.text


async def test_each_step_and_all_together_have_a_time(
    reach: Reach, residents: list[Resident]
) -> None:
    slow, second, third = residents
    slow.answers["make_join"] = hang
    second.answers["send_join"] = hang
    hurried = membership(reach, MembershipTimes(propose=0.1, take=0.1))
    await hurried.join(ROOM, [slow.name, second.name, third.name])
    assert len(third.taken) == 1
    failure = await refused(hurried, slow.name, second.name)
    assert not failure.final and failure.text.count("did not answer within 0.1 s") == 2

    patient = membership(reach, MembershipTimes(all=0.2))
    failure = await refused(patient, slow.name, third.name)
    assert (failure.text, failure.final) == ("The other servers took longer than 0.2 s.", False)


@pytest.mark.parametrize("request_name", ["make_join", "send_join"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(
    member: Membership, residents: list[Resident], request_name: str, status: int
) -> None:
    resident, inside, _ = residents

    async def redirect(request: web.Request) -> web.StreamResponse:
        where = f"https://{inside.name}{request.raw_path}"
        return web.Response(status=status, headers={"Location": where})

    resident.answers[request_name] = redirect
    failure = await refused(member, resident.name)
    assert not failure.final and f"something else: {status}" in failure.text
    assert inside.asked == []


async def test_a_server_with_a_certificate_for_another_name(
    member: Membership, authority: Authority
) -> None:
    async with Resident().serving(authority, "127.0.0.2") as other:
        failure = await refused(member, other.name)
    assert not failure.final and "TLS certificate" in failure.text
    assert other.asked == []


async def test_no_server_in_our_own_network_is_asked(
    authority: Authority, dns: DnsLookup, resident: Resident
) -> None:
    async with reaching(authority, dns, AddressGuard()) as (guarded, _):
        failure = await refused(membership(guarded), resident.name)
    assert not failure.final and "federation.allow_networks" in failure.text
    assert resident.asked == []


async def test_who_ends_a_join_ends_it_at_once(member: Membership, resident: Resident) -> None:
    asked = asyncio.Event()

    async def wait(request: web.Request) -> web.StreamResponse:
        asked.set()
        return await hang(request)

    resident.answers["make_join"] = wait
    joining = asyncio.create_task(member.join(ROOM, [resident.name]))
    await asked.wait()
    joining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await joining


async def test_a_declined_leave_is_told(member: Membership, resident: Resident) -> None:
    async def banned(_: web.Request) -> web.StreamResponse:
        return error(403, "M_FORBIDDEN", "You are banned")

    resident.answers["make_leave"] = banned
    with pytest.raises(MembershipFailed, match="You are banned") as caught:
        await member.leave(ROOM, [resident.name])
    assert caught.value.final and resident.taken == []
