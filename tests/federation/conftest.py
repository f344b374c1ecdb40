from collections.abc import AsyncIterator

import pytest

from policybot.federation.client import HttpClient

from .authority import Authority
from .servers import Addresses


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
