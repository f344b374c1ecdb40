from pathlib import Path

from aiohttp import web

from policybot.federation.client import HttpClient
from policybot.federation.direct_keys import KEY_PATH
from policybot.federation.dns_lookup import DnsLookup
from policybot.federation.key_ring import KeyRing
from policybot.federation.notary import Notary
from policybot.protocol.signing import SigningKey
from policybot.room_checks import NotaryKeys

from .federation.authority import Authority
from .federation.fake_notary import NOW, OWN_NAME, Clock, FakeNotary, document
from .federation.key_server import KeyServer, asking
from .federation.rings import Table
from .federation.servers import serving

KEY = SigningKey.generate()


async def test_keys_that_the_servers_themselves_deliver_are_enough(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    fake = FakeNotary(document(OWN_NAME, ("ed25519:own", KEY)))
    server = KeyServer()
    async with (
        HttpClient() as client,
        serving(fake.application()) as port,
        server.serving(authority, "127.0.0.1"),
        asking(authority, DnsLookup()) as (direct, _),
    ):
        name = f"127.0.0.1:{server.port}"
        notary = Notary(f"http://127.0.0.1:{port}", OWN_NAME, client)
        keys = NotaryKeys(notary, KeyRing(notary, Table(), Clock(), direct), direct)
        fake.lie = web.Response(status=502)

        fault = await keys.check_delivery((OWN_NAME, name))
        assert fault is not None and "answered 502" in fault
        server.answers[KEY_PATH] = document(name, ("ed25519:a", KEY), until=NOW)
        assert await keys.check_delivery((OWN_NAME, name)) is None

        fake.lie = None
        fake.servers[name] = document(name, ("ed25519:a", KEY))
        asked = len(server.asked)
        assert await keys.check_delivery((OWN_NAME, name)) is None
        assert len(server.asked) == asked
