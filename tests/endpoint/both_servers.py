"""Each test once on the fast server and once on aiohttp's: a module imports the fixture, which
takes the place of the one that everybody has."""

from collections.abc import Callable

import pytest

from policybot.endpoint.http_server import HttpServer
from policybot.endpoint.listener import Server
from policybot.endpoint.web_app import WebServer


@pytest.fixture(params=[HttpServer, WebServer], ids=["httptools", "aiohttp"])
def make_server(request: pytest.FixtureRequest) -> Callable[..., Server]:
    make: Callable[..., Server] = request.param
    return make
