"""The key ring when the notary does not deliver: the servers themselves are asked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from policybot.federation import key_fetch
from policybot.federation.direct_keys import DirectKeys
from policybot.federation.dns_lookup import DnsLookup
from policybot.federation.key_ring import KeyRing
from policybot.federation.notary import Notary
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.paths import SERVER_KEYS
from policybot.protocol.signing import SigningKey

from .authority import Authority
from .dns_server import DnsServer
from .fake_notary import DAY, NOW, OWN_NAME, Clock, FakeNotary, document
from .key_server import KeyServer, asking, hang
from .rings import Table, running
from .servers import until

KEY = SigningKey.generate()
NEVER_S = 3600.0
SECOND = 1_000


@pytest.fixture
async def fake() -> FakeNotary:
    return FakeNotary(document(OWN_NAME, ("ed25519:own", KEY)))


@pytest.fixture
async def direct(authority: Authority, dns: DnsLookup) -> AsyncIterator[DirectKeys]:
    async with asking(authority, dns) as (direct, _):
        yield direct


@pytest.fixture
async def server(authority: Authority, dns_server: DnsServer) -> AsyncIterator[KeyServer]:
    """A server that publishes its keys."""
    dns_server.hosts("a.example")
    async with KeyServer().serving(authority, "a.example") as server:
        server.answers[SERVER_KEYS] = published(name_of(server))
        yield server


def name_of(server: KeyServer) -> str:
    return f"a.example:{server.port}"


def published(name: str, until: int = NOW + DAY) -> JsonObject:
    return document(name, ("ed25519:a", KEY), until=until)


@asynccontextmanager
async def running_ring(
    notary: Notary, direct: DirectKeys | None, after_s: float = NEVER_S
) -> AsyncIterator[tuple[KeyRing, Clock]]:
    clock = Clock()
    ring = KeyRing(notary, Table(), clock, direct, direct_after_s=after_s)
    async with running(ring):
        yield ring, clock


async def fetched(ring: KeyRing, clock: Clock, name: str, wait_s: float = 10) -> bool:
    await ring.fetch(name, "ed25519:a", wait_s)
    return ring.lookup(name, "ed25519:a", clock.now) is not None


async def test_a_notary_that_delivers_is_the_only_one_asked(
    notary: Notary, fake: FakeNotary, direct: DirectKeys, server: KeyServer
) -> None:
    name = name_of(server)
    fake.servers[name] = published(name)
    async with running_ring(notary, direct) as (ring, clock):
        assert await fetched(ring, clock, name)
        assert ring.status().servers == 1
    assert server.asked == []


def lies(name: str) -> list[web.Response]:
    return [
        web.Response(status=502),
        web.Response(status=404, text='{"errcode":"M_UNRECOGNIZED"}'),
        web.Response(text="no json"),
        web.Response(text='{"server_keys":5}'),
        web.json_response({"server_keys": []}),
        web.json_response({"server_keys": [published("b.example")]}),
        web.json_response({"server_keys": [published(name) | {"signatures": {}}]}),
        web.json_response({"server_keys": [published(name, until=NOW - 1)]}),
        web.json_response({"server_keys": [document(name, ("ed25519:b", KEY))]}),
    ]


@pytest.mark.parametrize("number", range(9))
async def test_a_notary_that_fails_or_lies_makes_the_server_be_asked_at_once(
    notary: Notary, fake: FakeNotary, direct: DirectKeys, server: KeyServer, number: int
) -> None:
    name = name_of(server)
    fake.lie = lies(name)[number]
    async with running_ring(notary, direct) as (ring, clock):
        assert await fetched(ring, clock, name)
        # It is there for who comes next, and nothing is remembered against the server.
        assert await fetched(ring, clock, name)
    assert [path for _, _, path in server.asked] == [SERVER_KEYS]
    assert len(fake.questions) <= 2


async def test_a_notary_that_hangs_does_not_use_up_the_time(
    notary: Notary, fake: FakeNotary, direct: DirectKeys, server: KeyServer
) -> None:
    name = name_of(server)
    fake.gates[name] = asyncio.Event()
    asking_notary = []

    async def answer(_: web.Request) -> web.StreamResponse:
        asking_notary.append(fake.asking)
        return web.json_response(published(name))

    server.answers[SERVER_KEYS] = answer
    async with running_ring(notary, direct, after_s=0.05) as (ring, clock):
        assert await fetched(ring, clock, name)
        assert asking_notary == [1]
        # The question to the notary is given up with it.
        await until(lambda: fake.asking == 0 or not ring._fetching)
        assert not ring._tasks


async def test_the_server_is_not_asked_before_the_notary_had_its_time(
    notary: Notary, fake: FakeNotary, direct: DirectKeys, server: KeyServer
) -> None:
    name = name_of(server)
    fake.servers[name] = published(name)
    gate = fake.gates[name] = asyncio.Event()
    async with running_ring(notary, direct) as (ring, clock):
        assert not await fetched(ring, clock, name, wait_s=0.05)
        gate.set()
        assert await fetched(ring, clock, name)
    assert server.asked == []


async def test_a_slow_notary_still_delivers_when_the_server_does_not(
    notary: Notary, fake: FakeNotary, direct: DirectKeys, server: KeyServer
) -> None:
    name = name_of(server)
    fake.servers[name] = published(name)
    gate = fake.gates[name] = asyncio.Event()
    server.answers[SERVER_KEYS] = hang
    async with running_ring(notary, direct, after_s=0) as (ring, clock):
        waiting = asyncio.create_task(fetched(ring, clock, name))
        await until(lambda: bool(server.asked))
        gate.set()
        assert await waiting
        assert not ring._fetching


@pytest.mark.parametrize("bad", ["expired", "another server", "no such name"])
async def test_what_neither_delivers_is_left_alone_for_a_while(
    notary: Notary, fake: FakeNotary, direct: DirectKeys, server: KeyServer, bad: str
) -> None:
    name = "nowhere.example" if bad == "no such name" else name_of(server)
    server.answers[SERVER_KEYS] = (
        published(name, until=NOW - 1) if bad == "expired" else published("b.example")
    )
    async with running_ring(notary, direct) as (ring, clock):
        for wait in (30, 60, 120):
            assert not await fetched(ring, clock, name)
            questions, asked = len(fake.questions), len(server.asked)
            clock.now += wait * SECOND - 1
            assert not await fetched(ring, clock, name)
            assert (len(fake.questions), len(server.asked)) == (questions, asked)
            clock.now += 1
        server.answers[SERVER_KEYS] = published(name_of(server), until=clock.now + DAY)
        assert await fetched(ring, clock, name_of(server))


async def test_a_refresh_is_had_directly_too(
    notary: Notary, fake: FakeNotary, direct: DirectKeys, server: KeyServer
) -> None:
    name = name_of(server)
    fake.lie = web.Response(status=502)
    async with running_ring(notary, direct) as (ring, clock):
        assert await fetched(ring, clock, name)
        clock.now += DAY // 2
        server.answers[SERVER_KEYS] = published(name, until=clock.now + DAY)
        ring.lookup(name, "ed25519:a", clock.now)
        await until(lambda: not ring._fetching)
        clock.now += DAY // 2 + 1
        assert ring.lookup(name, "ed25519:a", clock.now) == KEY.verify_key
        assert ring.status().in_grace == 0
        assert "answered 502" in ring.status().notary_fault


async def test_keys_are_had_in_advance_from_the_servers_while_the_notary_is_away(
    notary: Notary,
    fake: FakeNotary,
    direct: DirectKeys,
    server: KeyServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = name_of(server)
    fake.lie = web.Response(status=502)
    async with running_ring(notary, direct) as (ring, clock):
        assert await ring.prefetch([name, "nowhere.example"]) == ("nowhere.example",)
        assert ring.lookup(name, "ed25519:a", clock.now) == KEY.verify_key
    # One that answers, but lacks servers, could not reach them: that is no reason to try.
    fake.lie = web.json_response({"server_keys": []})
    async with running_ring(notary, direct) as (ring, clock):
        assert await ring.prefetch([name]) == (name,)
    assert len(server.asked) == 1
    # A hanging one is given up.
    monkeypatch.setattr(key_fetch, "READ_TIMEOUT_S", 0.05)
    fake.lie = None
    fake.held = asyncio.Event()
    async with running_ring(notary, direct) as (ring, clock):
        assert await ring.prefetch([name]) == ()
        fake.held.set()


async def test_the_stop_ends_what_is_under_way(
    notary: Notary, fake: FakeNotary, direct: DirectKeys, server: KeyServer
) -> None:
    name = name_of(server)
    fake.gates[name] = asyncio.Event()
    server.answers[SERVER_KEYS] = hang
    async with running_ring(notary, direct, after_s=0) as (ring, clock):
        waiting = asyncio.create_task(fetched(ring, clock, name))
        await until(lambda: bool(server.asked) and fake.asking == 1)
    assert not await waiting
    assert not ring._tasks
