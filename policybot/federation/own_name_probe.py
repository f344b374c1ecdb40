"""Whether a name of our own is served by us, asked by the full resolution as other servers ask.

Everything that is sent to such a name must arrive at policybot. Unlike with a homeserver's name,
the key server is ours, and must publish the federation key that we sign with.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp

from ..protocol.paths import (
    FEDERATION_VERSION,
    INSTANCE_HEADER,
    POLICY_WELL_KNOWNS,
    SERVER_KEYS,
    SERVER_WELL_KNOWN,
    SIGN,
    UNSTABLE_SIGN,
)
from ..protocol.server_keys import InvalidServerKeys, parse_server_keys
from ..protocol.server_name import InvalidServerName, parse_server_name
from ..protocol.signing import VerifyKey
from .address_guard import AddressGuard, AddressRefused, Network
from .answer import Fault, fault_in
from .client import HttpClient, RequestFailed, Response
from .dns_lookup import DnsLookup
from .probe import Cure, RouteResult, header_fault
from .public_place import Place, places_of

LIMIT_S = 10.0
WELL_KNOWN_S, DNS_S, ANSWER_S = 3.0, 2.0, 5.0
"""One after the other: so a name that does not answer is told of within the limit."""

UNREACHABLE = frozenset((Cure.DNS, Cure.FIREWALL, Cure.CERTIFICATE))
"""What is wrong where nobody could be asked."""

ENCODED_PATH = "/_matrix/federation/v1/user/devices/%40policy%2F%3A"
"""Event IDs of room version 3 hold a slash. Decoded on the way, this is a path that is not there,
and signatures, which are made over the path as it was sent, fail."""


@dataclass(frozen=True, slots=True)
class OwnName:
    """A server name of our own. ``public_url`` is where to ask instead of where it leads;
    ``federation_key`` is None where it is not known."""

    name: str
    instance_id: str
    federation_key: VerifyKey | None
    public_url: str | None = None

    @property
    def everything(self) -> str:
        """What the reverse proxy must send to us, in words."""
        return f"everything of {self.name}"


class OwnNameProbe:
    """Asks for ``own`` by ``client`` and ``dns``; ``answer_s`` is for each answer, in seconds.
    ``clock`` gives milliseconds since 1970."""

    def __init__(
        self,
        own: OwnName,
        client: HttpClient,
        dns: DnsLookup,
        clock: Callable[[], int],
        *,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._clock = clock
        self._own = own
        self._client = client
        self._dns = dns
        self._answer_s = answer_s

    @classmethod
    def guarded(
        cls, own: OwnName, allow_networks: Iterable[Network], clock: Callable[[], int]
    ) -> "OwnNameProbe":
        """One with all it needs: neither what the machine itself says about the name counts, nor
        an address that others cannot reach, except in ``allow_networks``."""
        dns = DnsLookup(timeout_s=DNS_S)
        if own.public_url is not None:
            return cls(own, HttpClient(), dns, clock)
        client = HttpClient(resolver=dns, guard=AddressGuard(allow_networks))
        return cls(own, client, dns, clock)

    async def close(self) -> None:
        """Drop all connections."""
        await self._client.close()

    async def faults(self, limit_s: float = LIMIT_S) -> list[RouteResult]:
        """What keeps other servers from asking us, found within ``limit_s`` seconds; what is the
        same for several paths only once."""
        try:
            async with asyncio.timeout(limit_s):
                found = [route for route in await self.routes() if route.text and route.needed]
        except TimeoutError:
            text = f"{self._own.name} did not answer within {limit_s:g} s."
            return [RouteResult("", text, cure=Cure.FIREWALL)]
        first = {route.text.removeprefix(route.address): route for route in reversed(found)}
        return [route for route in found if route in first.values()]

    async def routes(self) -> list[RouteResult]:
        """What answers under each public path; all are asked at once."""
        own = self._own
        try:
            parsed = parse_server_name(own.name)
        except InvalidServerName:
            return [RouteResult("", f"{own.name!r} is not a server name.")]
        places = await places_of(
            own.name, self._client, own.public_url, self._dns, well_known_s=WELL_KNOWN_S
        )
        place, web_site = places[0], places[0].web_site()
        (
            *signs,
            unstable,
            keys,
            version,
            encoded,
            document,
            stable_key,
            unstable_key,
        ) = await asyncio.gather(
            *(self._sign(each) for each in places),
            self._route(place, UNSTABLE_SIGN, 401),
            self._keys(place),
            self._route(place, FEDERATION_VERSION, 200),
            self._route(place, ENCODED_PATH + quote(own.name, safe=""), 401),
            self._route(web_site, SERVER_WELL_KNOWN, 200),
            *(self._route(web_site, path, 200) for path in POLICY_WELL_KNOWNS),
        )
        found = list(signs)
        if place.target is not None and not (parsed.port or parsed.is_ip_literal):
            # It may stand elsewhere, or port 8448 or DNS leads here: so only where nothing does.
            if document.cure is Cure.DNS:
                return [document]
            if signs[0].text or not document.text:
                found.insert(0, document)
        if signs[0].cure in UNREACHABLE:
            return found  # all the others would say the same
        found += (unstable, keys, version, encoded)
        if web_site.url == place.url.removesuffix(":443") or not document.text:
            found += (stable_key, unstable_key)
        return found

    async def _sign(self, place: Place) -> RouteResult:
        found = await self._route(place, SIGN, 401)
        if found.text:
            return found
        try:
            fault = await header_fault(place, self._client, self._answer_s)
        except RequestFailed as error:
            fault = Fault(f"{error}.")
        return self._result(found.address, fault)

    async def _route(self, place: Place, path: str, expected: int) -> RouteResult:
        address = place.url + path
        try:
            response = await place.ask(path, self._client, timeout_s=self._answer_s)
        except RequestFailed as error:
            return RouteResult(address, place.unreachable(error), cure=_cure_for(error))
        own = self._own
        fault = fault_in(response, own.instance_id, path, own.everything, expected)
        return self._result(address, fault)

    async def _keys(self, place: Place) -> RouteResult:
        address = place.url + SERVER_KEYS
        try:
            response = await place.ask(SERVER_KEYS, self._client, timeout_s=self._answer_s)
        except RequestFailed as error:
            return RouteResult(address, place.unreachable(error), cure=_cure_for(error))
        return self._result(address, self._key_fault(response))

    def _key_fault(self, response: Response) -> Fault | None:
        own = self._own
        if response.status == 200 and INSTANCE_HEADER not in response.headers:
            return Fault(
                "another server answers where the federation key is asked for: the reverse proxy"
                f" does not send {own.everything} to policybot.",
                line=True,
            )
        fault = fault_in(response, own.instance_id, SERVER_KEYS, own.everything, 200)
        if fault is not None:
            return fault
        try:
            keys = parse_server_keys(response.json, own.name)
        except InvalidServerKeys as error:
            return Fault(f"the keys of {own.name} are not good: {error}")
        if own.federation_key not in (None, *keys.verify_keys.values()):
            return Fault(
                "another federation key is published than the one that is used: was it changed"
                " in the configuration without starting policybot again?"
            )
        if keys.valid_until_ts <= self._clock():
            return Fault("the federation key is past its time: is a clock wrong?")
        return None

    def _result(self, address: str, fault: Fault | None) -> RouteResult:
        if fault is None:
            return RouteResult(address, "")
        return RouteResult(
            address, f"{address}: {fault.text}", cure=Cure.PROXY if fault.line else None
        )


def _cure_for(error: RequestFailed) -> Cure:
    """What is wrong on the way, told from what went wrong."""
    cause = error.__cause__
    reason = getattr(cause, "os_error", cause)
    if isinstance(cause, aiohttp.ClientSSLError):
        return Cure.CERTIFICATE
    if isinstance(reason, (socket.gaierror, AddressRefused)):
        return Cure.DNS
    return Cure.FIREWALL
