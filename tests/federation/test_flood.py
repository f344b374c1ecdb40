"""Requests in the name of made-up servers, at the real endpoint with the real key ring."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, TCPConnector

from policybot.endpoint.listener import Listener
from policybot.federation.client import HttpClient
from policybot.federation.dns_lookup import DnsLookup
from policybot.federation.key_ring import KeyRing
from policybot.federation.key_saver import StoredServerKeys
from policybot.federation.lookup_allowance import LookupAllowance, LookupLimits
from policybot.federation.notary import Notary

from ..endpoint.scene import ALICE, CALLER, NOW, SERVER_KEY_ID, Reply, Scene, event_of, server_key
from .authority import Authority
from .dns_server import DnsServer
from .fake_notary import DAY, OWN_NAME, Clock, FakeNotary, document
from .key_server import asking
from .rings import Table, running
from .servers import serving, until

PER_ADDRESS = LookupLimits(at_a_time=5, at_once=20, per_second=0)
IN_ALL = LookupLimits(at_a_time=25, at_once=1_000, per_second=0)
EVENT = event_of(ALICE)


def stored(name: str) -> StoredServerKeys:
    keys = document(name, (SERVER_KEY_ID, server_key(name)), until=NOW + DAY)
    return StoredServerKeys(name, keys, NOW, NOW + DAY)


@pytest.fixture
async def fake() -> FakeNotary:
    return FakeNotary(document(OWN_NAME, (SERVER_KEY_ID, server_key(OWN_NAME))))


@asynccontextmanager
async def endpoint(
    fake: FakeNotary, client: HttpClient, authority: Authority, dns: DnsLookup
) -> AsyncIterator[tuple[Scene, KeyRing]]:
    """An endpoint that knows the keys of ``CALLER`` and of the sender's server, and asks servers
    themselves as soon as it asks the notary."""
    table = Table()
    table.rows = {name: stored(name) for name in (CALLER, "good.example")}
    async with serving(fake.application()) as port, asking(authority, dns) as (direct, _):
        ring = KeyRing(
            Notary(f"http://127.0.0.1:{port}", OWN_NAME, client),
            table,
            Clock(NOW),
            direct,
            direct_after_s=0,
            allowance=LookupAllowance(PER_ADDRESS, IN_ALL),
        )
        await ring.load()
        scene = Scene(keys=ring)
        listener = Listener(scene.routes, "127.0.0.1", 0)
        async with running(ring):
            await listener.start()
            try:
                async with ClientSession(
                    listener.url, connector=TCPConnector(limit=0)
                ) as scene.session:
                    yield scene, ring
            finally:
                await listener.stop()
            for gate in fake.gates.values():
                gate.set()


def flood(
    scene: Scene, fake: FakeNotary, names: Iterable[str], address: str
) -> list["asyncio.Task[Reply]"]:
    """Ask from ``address`` in these names; the notary hangs about each of them."""
    tasks = []
    for name in names:
        fake.gates.setdefault(name, asyncio.Event())
        tasks.append(asyncio.create_task(ask(scene, name, address)))
    return tasks


async def ask(scene: Scene, origin: str, address: str) -> Reply:
    headers = [("X-Forwarded-For", address)] if address else []
    return await scene.ask(EVENT, origin=origin, headers=headers)


def done(tasks: Iterable["asyncio.Task[Reply]"]) -> Counter[int]:
    return Counter(task.result().status for task in tasks if task.done())


async def test_a_flood_hinders_neither_known_servers_nor_new_ones_from_elsewhere(
    fake: FakeNotary,
    client: HttpClient,
    authority: Authority,
    dns: DnsLookup,
    dns_server: DnsServer,
) -> None:
    async with endpoint(fake, client, authority, dns) as (scene, ring):
        tasks = []
        for number in range(4):
            names = [f"bogus-{number}-{n}.example" for n in range(50)]
            tasks += flood(scene, fake, names, f"9.9.9.{number}")
        # What is beyond the bounds is refused while what is within them still waits.
        await until(lambda: done(tasks) == {401: 200 - 4 * 5} and fake.asking == 20)
        assert len(ring._fetching) == len(ring._tasks) == 20
        assert len(fake.questions) == 20

        assert (await ask(scene, CALLER, "9.9.9.0")).status == 200
        new = "new.example"
        fake.servers[new] = stored(new).document
        assert (await ask(scene, new, "8.8.8.8")).status == 200
        assert done(tasks) == {401: 180}

        for gate in fake.gates.values():
            gate.set()
        replies = await asyncio.gather(*tasks)
        assert {reply.status for reply in replies} == {401}
        assert "could not be fetched" in replies[0].json["error"]
        await until(lambda: not ring._fetching)
        # Each of those that were looked up was asked for at the notary twice, and in DNS for its
        # service records, for its own address and for that of its well-known document.
        assert len(fake.questions) == 20 * 2 + 1
        assert len(dns_server.questions) <= (20 + 1) * 6

        # They are remembered: nothing is asked again.
        questions = len(fake.questions)
        for name in [name for name in fake.gates if name in ring._fetcher._failures._failures]:
            assert (await ask(scene, name, "7.7.7.7")).status == 401
        assert len(fake.questions) == questions
        assert len(ring._fetcher._failures) == 20


async def test_all_addresses_together_are_bounded(
    fake: FakeNotary, client: HttpClient, authority: Authority, dns: DnsLookup
) -> None:
    async with endpoint(fake, client, authority, dns) as (scene, ring):
        tasks = []
        for number in range(100):
            names = [f"bogus-{number}-{n}.example" for n in range(2)]
            tasks += flood(scene, fake, names, f"9.9.{number}.1")
        await until(lambda: done(tasks) == {401: 175})
        assert len(ring._fetching) == 25
        # No proxy says where these come from.
        beyond = flood(scene, fake, [f"unknown-{n}.example" for n in range(10)], "")
        await until(lambda: done(beyond) == {401: 10})
        assert (await ask(scene, CALLER, "9.9.9.9")).status == 200
        for gate in fake.gates.values():
            gate.set()
        await asyncio.gather(*tasks)


async def test_names_that_fail_fast_are_bounded_by_number(
    fake: FakeNotary, client: HttpClient, authority: Authority, dns: DnsLookup
) -> None:
    async with endpoint(fake, client, authority, dns) as (scene, ring):
        for number in range(40):
            assert (await ask(scene, f"bogus-{number}.example", "9.9.9.9")).status == 401
        assert len(fake.questions) == 20 * 2
        assert (await ask(scene, CALLER, "9.9.9.9")).status == 200


async def test_senders_are_charged_to_the_one_who_asks(
    fake: FakeNotary, client: HttpClient, authority: Authority, dns: DnsLookup
) -> None:
    """A known server that sends events of made-up servers gets its answers, unverified."""
    async with endpoint(fake, client, authority, dns) as (scene, ring):
        for number in range(40):
            event = event_of(f"@x:bogus-{number}.example")
            headers = [("X-Forwarded-For", "9.9.9.9")]
            assert (await scene.ask(event, headers=headers)).status == 200
        assert len(fake.questions) == 20 * 2
        assert scene.use_case.counts["sender's signature not checked"] == 40
