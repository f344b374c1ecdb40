"""Whether our endpoint answers under its public name, asked before a room is made to rely on it.

A request without a signature must get 401 and our installation's ID. Everything else is put into
words for the person who has to mend it. `policybot check` asks each path by itself.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from enum import StrEnum

from ..protocol.paths import (
    INSTANCE_HEADER,
    POLICY,
    POLICY_WELL_KNOWNS,
    SERVER_KEYS,
    SIGN,
    UNSTABLE_SIGN,
)
from ..protocol.server_name import InvalidServerName
from .answer import Fault, fault_in, said
from .client import HttpClient, RequestFailed, RequestTimedOut, Response
from .dns_lookup import DnsLookup
from .notary import ANY_KEY_ID, Notary, Wanted
from .public_place import PROBE_TIMEOUT_S, Place, places_of

KEY_TIMEOUT_S = 15.0


class Cure(StrEnum):
    """What is to be set right where a name of our own is not served by us."""

    DNS = "DNS"
    FIREWALL = "firewall"
    CERTIFICATE = "certificate"
    PROXY = "proxy"


class ProbeOutcome(StrEnum):
    """What was found under the public name."""

    OK = "ok"
    NOT_OURS = "not ours"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """``text`` is empty when all is well, else sentences for the operator.

    ``address`` is the URL that was asked, or empty if none could be found.
    """

    outcome: ProbeOutcome
    text: str
    address: str

    @property
    def ok(self) -> bool:
        """Whether our endpoint answers there."""
        return self.outcome is ProbeOutcome.OK


@dataclass(frozen=True, slots=True)
class RouteResult:
    """What answers under one public path. ``text`` is empty when it is who should.

    ``owner`` is who should. ``prefix`` is set where the reverse proxy's line for it is missing or
    wrong; ``cure`` says where else to look. Without ``needed`` a fault keeps nobody from talking.
    """

    address: str
    text: str
    prefix: str = ""
    needed: bool = True
    owner: str = "endpoint"
    cure: Cure | None = None


async def probe_endpoint(
    name: str,
    instance_id: str,
    client: HttpClient,
    public_url: str | None = None,
    dns: DnsLookup | None = None,
) -> ProbeResult:
    """Ask the server ``name`` as another server would, or ``public_url`` if that is given.

    What was found before does not count: who asks has often just changed it. ``dns`` is asked for
    SRV records (None: as the system asks).
    """
    try:
        place = (await places_of(name, client, public_url, dns))[0]
    except InvalidServerName:
        return ProbeResult(ProbeOutcome.UNREACHABLE, f"{name!r} is not a server name.", "")
    address = place.url + SIGN
    try:
        response = await place.ask(SIGN, client)
    except RequestFailed as error:
        return ProbeResult(ProbeOutcome.UNREACHABLE, place.unreachable(error), address)
    fault = fault_in(response, instance_id, SIGN, POLICY, 401)
    if fault is None:
        return ProbeResult(ProbeOutcome.OK, "", address)
    return ProbeResult(ProbeOutcome.NOT_OURS, f"{address}: {fault.text}", address)


async def probe_routes(
    name: str,
    instance_id: str,
    client: HttpClient,
    public_url: str | None = None,
    dns: DnsLookup | None = None,
) -> AsyncIterator[RouteResult]:
    """Ask each public path by itself; only the first if nothing answers at all."""
    try:
        place = (await places_of(name, client, public_url, dns))[0]
        web_site = place.web_site()
    except InvalidServerName:
        yield RouteResult("", f"{name!r} is not a server name.")
        return
    address = place.url + SIGN
    try:
        response = await place.ask(SIGN, client)
    except RequestFailed as error:
        yield RouteResult(address, place.unreachable(error))
        return
    fault = fault_in(response, instance_id, SIGN, POLICY, 401)
    if fault is None:
        try:
            fault = await header_fault(place, client)
        except RequestFailed as error:
            fault = Fault(f"{error}.")
    yield _result(address, fault, POLICY)
    yield await _route(place, UNSTABLE_SIGN, POLICY, instance_id, client)
    yield await _key_server(place, client)
    for path in POLICY_WELL_KNOWNS:
        found = await _route(web_site, path, path, instance_id, client)
        yield replace(found, needed=place.on_web_site)


async def _route(
    place: Place, path: str, prefix: str, instance_id: str, client: HttpClient
) -> RouteResult:
    expected = 200 if path in POLICY_WELL_KNOWNS else 401
    try:
        fault = fault_in(await place.ask(path, client), instance_id, path, prefix, expected)
    except RequestFailed as error:
        fault = Fault(f"{error}.")
    return _result(place.url + path, fault, prefix)


async def header_fault(
    place: Place, client: HttpClient, timeout_s: float = PROBE_TIMEOUT_S
) -> Fault | None:
    """Whether the header Authorization is taken away on the way to us. Raises RequestFailed.

    With it, even of nobody's making, the empty event is looked at and is what is wrong.
    """
    header = f'X-Matrix origin="{place.name}",key="ed25519:probe",sig="probe"'
    if (await place.ask(SIGN, client, header, timeout_s)).status != 401:
        return None
    return Fault(
        "the header Authorization does not arrive: the reverse proxy must hand it on as it came."
    )


async def _key_server(place: Place, client: HttpClient) -> RouteResult:
    """Whether it is still the homeserver that answers where its keys are asked for."""
    address = place.url + SERVER_KEYS
    try:
        response = await place.ask(SERVER_KEYS, client)
    except RequestFailed as error:
        text = f"{error}."
    else:
        text = _key_fault(response, place.name)
    return RouteResult(address, f"{address}: {text}" if text else "", owner="homeserver")


def _key_fault(response: Response, name: str) -> str:
    if INSTANCE_HEADER in response.headers:
        return (
            "policybot answers in place of the homeserver. The reverse proxy must send only the"
            " policy server's paths to policybot."
        )
    document = response.json if isinstance(response.json, dict) else {}
    if response.status == 200 and document.get("server_name") == name:
        return ""
    return (
        f"the homeserver's keys for {name} are not found ({said(response)}). The reverse proxy"
        " must send /_matrix/key/ to the homeserver."
    )


def _result(address: str, fault: Fault | None, prefix: str) -> RouteResult:
    if fault is None:
        return RouteResult(address, "")
    return RouteResult(address, f"{address}: {fault.text}", prefix if fault.line else "")


async def check_key_delivery(notary: Notary, *other_servers: str) -> str | None:
    """Whether the homeserver delivers keys: its own, and those of at least one other server.

    None if it does, else sentences that name the fault. Without ``other_servers`` only its own
    keys are asked for. One server that is away is no fault as long as another's keys come.
    """
    others = [server for server in other_servers if server != notary.own_name]
    try:
        if not await notary.fetch({notary.own_name: None}, KEY_TIMEOUT_S):
            return (
                f"The homeserver at {notary.homeserver_url} does not deliver good keys for"
                f" {notary.own_name} at /_matrix/key/v2/server. Is that its server name?"
            )
        if not others or await _delivers_any(notary, others):
            return None
    except RequestTimedOut as error:
        return f"The homeserver was asked for keys, but {error}."
    except RequestFailed as error:
        return (
            f"The homeserver does not deliver keys: {error}. Its listener needs the resource"
            " `keys` (or `federation`), and a reverse proxy in between must send /_matrix/key/"
            " to it."
        )
    return (
        f"The homeserver answers questions for keys, but has none of {', '.join(others)}. Either"
        " it cannot reach other servers, or these are away."
    )


async def _delivers_any(notary: Notary, servers: list[str]) -> bool:
    for want in (None, Wanted(ANY_KEY_ID, 0), None):
        try:
            if await notary.fetch(dict.fromkeys(servers, want), KEY_TIMEOUT_S):
                return True
        except RequestTimedOut:
            if want is None:
                raise
            # One of the servers is away; the others' keys are there to be read.
    return False
