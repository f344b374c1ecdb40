from collections.abc import AsyncIterator

import pytest

from policybot.federation.client import HttpClient
from policybot.federation.dns_lookup import DnsLookup
from policybot.federation.notary import Notary

from .authority import Authority
from .dns_server import DnsServer, lookup_at, serving_dns
from .fake_notary import OWN_NAME, FakeNotary
from .servers import Addresses, serving


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def addresses() -> Addresses:
    return Addresses()


@pytest.fixture
async def client(authority: Authority, addresses: Addresses) -> AsyncIterator[HttpClient]:
    async with HttpClient(ssl_context=authority.client_context(), resolver=addresses) as client:
        yield client


@pytest.fixture
async def dns_and_lookup() -> AsyncIterator[tuple[DnsServer, DnsLookup]]:
    async with serving_dns() as (server, port):
        yield server, lookup_at(port)


@pytest.fixture
def dns_server(dns_and_lookup: tuple[DnsServer, DnsLookup]) -> DnsServer:
    return dns_and_lookup[0]


@pytest.fixture
def dns(dns_and_lookup: tuple[DnsServer, DnsLookup]) -> DnsLookup:
    """Asks ``dns_server``."""
    return dns_and_lookup[1]


@pytest.fixture
async def notary(fake: FakeNotary, client: HttpClient) -> AsyncIterator[Notary]:
    """The homeserver as notary, which answers what the test's ``fake`` does."""
    async with serving(fake.application()) as port:
        yield Notary(f"http://127.0.0.1:{port}", OWN_NAME, client)
        for gate in fake.gates.values():
            gate.set()
