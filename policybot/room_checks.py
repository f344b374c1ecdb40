"""What `enable` asks before a room is made to rely on us: our public name, and keys of others."""

import asyncio
from collections.abc import Callable, Iterable

from .bot.enable_checks import EndpointFault
from .federation.address_guard import Network
from .federation.client import HttpClient
from .federation.direct_keys import DirectKeys
from .federation.key_ring import KeyRing
from .federation.notary import Notary
from .federation.own_keys import OwnKeys
from .federation.own_name_probe import UNREACHABLE, OwnName, OwnNameProbe
from .federation.probe import ProbeOutcome, RouteResult, check_key_delivery, probe_endpoint

PREFETCH_WAIT_S = 10.0
KEY_CHECK_SERVERS = 5


class EndpointProbe:
    """Asks for our endpoint as other servers find it: under ``name``, or at ``public_url``."""

    def __init__(
        self, name: str, public_url: str | None, instance_id: str, http: HttpClient
    ) -> None:
        self._name = name
        self._public_url = public_url
        self._instance_id = instance_id
        self._http = http

    async def probe(self) -> EndpointFault | None:
        """What is wrong, or None if it is our endpoint that answers."""
        result = await probe_endpoint(self._name, self._instance_id, self._http, self._public_url)
        if result.ok:
            return None
        return EndpointFault(result.text, result.outcome is ProbeOutcome.UNREACHABLE)

    async def faults(self) -> list[str]:
        """Nothing: who names a homeserver's name asks when it is needed, with `enable`."""
        return []


async def ask_former_name(instance_id: str, http: HttpClient, name: str) -> EndpointFault | None:
    """What is wrong under a name that rooms still give, or None if our endpoint answers there."""
    return await EndpointProbe(name, None, instance_id, http).probe()


class OwnNameEndpoint:
    """Asks for everything of a name of our own as other servers do, within a bounded time.
    ``allow_networks`` may be asked although they are private. ``clock`` gives milliseconds since
    1970."""

    def __init__(
        self, own: OwnName, allow_networks: Iterable[Network], clock: Callable[[], int]
    ) -> None:
        self._clock = clock
        self._own = own
        self._allow_networks = tuple(allow_networks)

    async def probe(self) -> EndpointFault | None:
        """What is wrong, or None if all of it is served by us."""
        found = await self._ask()
        if not found:
            return None
        text = " ".join(route.text for route in found)
        return EndpointFault(text, all(route.cure in UNREACHABLE for route in found))

    async def faults(self) -> list[str]:
        """What is wrong, as sentences."""
        return [route.text for route in await self._ask()]

    async def _ask(self) -> list[RouteResult]:
        probe = OwnNameProbe.guarded(self._own, self._allow_networks, self._clock)
        try:
            return await probe.faults()
        finally:
            await probe.close()


def public_endpoint(
    name: str,
    public_url: str | None,
    instance_id: str,
    own_keys: OwnKeys | None,
    http: HttpClient,
    allow_networks: Iterable[Network],
    clock: Callable[[], int],
) -> EndpointProbe | OwnNameEndpoint:
    """Who asks for our endpoint under ``name``. ``own_keys`` are those of a name of our own, None
    where the name is the homeserver's."""
    if own_keys is None:
        return EndpointProbe(name, public_url, instance_id, http)
    own = OwnName(name, instance_id, own_keys.signing_key.verify_key, public_url)
    return OwnNameEndpoint(own, allow_networks, clock)


class NotaryKeys:
    """The keys of the servers in a room."""

    def __init__(self, notary: Notary, keys: KeyRing, direct: DirectKeys) -> None:
        self._notary = notary
        self._keys = keys
        self._direct = direct

    async def check_delivery(self, servers: tuple[str, ...]) -> str | None:
        """What keeps keys from coming, or None: neither the homeserver delivers them nor the
        servers themselves. ``servers``: those with most members first."""
        asked = servers[:KEY_CHECK_SERVERS]
        fault = await check_key_delivery(self._notary, *asked)
        if fault is None:
            return None
        # The homeserver too: its client API may be elsewhere than where servers find it.
        return None if await self._direct.delivers_any(asked) else fault

    async def prefetch(self, servers: tuple[str, ...]) -> None:
        """Fetch the servers' keys in advance; it goes on behind a bounded wait."""
        task = asyncio.ensure_future(self._keys.prefetch(servers))
        try:
            await asyncio.wait({task}, timeout=PREFETCH_WAIT_S)
        finally:
            task.cancel()
