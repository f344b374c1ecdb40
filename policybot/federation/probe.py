"""Whether our endpoint answers under its public name, asked before a room is made to rely on it.

A request without a signature must get 401 and our installation's ID. Everything else is put into
words for the person who has to mend it. `policybot check` asks each path by itself.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from enum import StrEnum

from ..protocol.server_name import InvalidServerName, parse_server_name
from .answer import (
    INSTANCE_HEADER,
    KEY_SERVER_PATH,
    SIGN_PATH,
    SIGN_PREFIX,
    UNSTABLE_SIGN_PATH,
    WELL_KNOWN_PATHS,
    Fault,
    fault_in,
    said,
)
from .client import HttpClient, RequestFailed, RequestTimedOut, Response
from .dns_lookup import DnsLookup
from .notary import ANY_KEY_ID, Notary, Wanted
from .resolve import Target, resolve
from .well_known import WellKnown

PROBE_TIMEOUT_S = 10.0
KEY_TIMEOUT_S = 15.0


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
    wrong. Without ``needed`` a fault keeps nobody from talking.
    """

    address: str
    text: str
    prefix: str = ""
    needed: bool = True
    owner: str = "endpoint"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where to ask: a URL without path, as found by the name or (``target`` None) as given."""

    url: str
    name: str
    target: Target | None

    async def ask(
        self, path: str, client: HttpClient, authorization: str | None = None
    ) -> Response:
        """POST to a `/sign`, GET anything else. Raises RequestFailed."""
        headers = {} if self.target is None else {"Host": self.target.host_header}
        hostname = None if self.target is None else self.target.server_hostname
        if authorization is not None:
            headers["Authorization"] = authorization
        address = self.url + path
        if path not in (SIGN_PATH, UNSTABLE_SIGN_PATH):
            return await client.get_json(
                address, headers=headers, timeout_s=PROBE_TIMEOUT_S, server_hostname=hostname
            )
        return await client.post_json(
            address, {}, headers=headers, timeout_s=PROBE_TIMEOUT_S, server_hostname=hostname
        )

    def web_site(self) -> "_Place":
        """Where the name's own well-known documents are, which no delegation moves."""
        if self.target is None:
            return self
        host = parse_server_name(self.name).host
        return _Place(f"https://{host}", self.name, Target("", host, host.strip("[]")))

    @property
    def on_web_site(self) -> bool:
        """Whether the name's own web server is asked for the endpoint too, as far as is known: its
        name says no other port, and its document no other server."""
        if self.target is None:
            return True
        return self.target.host_header == self.name and parse_server_name(self.name).port is None


async def _find(
    name: str, client: HttpClient, public_url: str | None, dns: DnsLookup | None
) -> _Place:
    if public_url is not None:
        return _Place(public_url.rstrip("/"), name, None)
    target = (await resolve(name, WellKnown(client), dns or DnsLookup()))[0]
    return _Place(target.url, name, target)


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
        place = await _find(name, client, public_url, dns)
    except InvalidServerName:
        return ProbeResult(ProbeOutcome.UNREACHABLE, f"{name!r} is not a server name.", "")
    address = place.url + SIGN_PATH
    try:
        response = await place.ask(SIGN_PATH, client)
    except RequestFailed as error:
        return ProbeResult(ProbeOutcome.UNREACHABLE, _unreachable(place, error), address)
    fault = fault_in(response, instance_id, SIGN_PATH, SIGN_PREFIX)
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
        place = await _find(name, client, public_url, dns)
        web_site = place.web_site()
    except InvalidServerName:
        yield RouteResult("", f"{name!r} is not a server name.")
        return
    address = place.url + SIGN_PATH
    try:
        response = await place.ask(SIGN_PATH, client)
    except RequestFailed as error:
        yield RouteResult(address, _unreachable(place, error))
        return
    fault = fault_in(response, instance_id, SIGN_PATH, SIGN_PREFIX)
    if fault is None:
        try:
            fault = await _header_fault(place, client)
        except RequestFailed as error:
            fault = Fault(f"{error}.")
    yield _result(address, fault, SIGN_PREFIX)
    yield await _route(place, UNSTABLE_SIGN_PATH, SIGN_PREFIX, instance_id, client)
    yield await _key_server(place, client)
    for path in WELL_KNOWN_PATHS:
        found = await _route(web_site, path, path, instance_id, client)
        yield replace(found, needed=place.on_web_site)


async def _route(
    place: _Place, path: str, prefix: str, instance_id: str, client: HttpClient
) -> RouteResult:
    try:
        fault = fault_in(await place.ask(path, client), instance_id, path, prefix)
    except RequestFailed as error:
        fault = Fault(f"{error}.")
    return _result(place.url + path, fault, prefix)


async def _header_fault(place: _Place, client: HttpClient) -> Fault | None:
    """Whether the header Authorization is taken away on the way to us. Raises RequestFailed.

    With it, even of nobody's making, the empty event is looked at and is what is wrong.
    """
    header = f'X-Matrix origin="{place.name}",key="ed25519:probe",sig="probe"'
    if (await place.ask(SIGN_PATH, client, header)).status != 401:
        return None
    return Fault(
        "the header Authorization does not arrive: the reverse proxy must hand it on as it came."
    )


async def _key_server(place: _Place, client: HttpClient) -> RouteResult:
    """Whether it is still the homeserver that answers where its keys are asked for."""
    address = place.url + KEY_SERVER_PATH
    try:
        response = await place.ask(KEY_SERVER_PATH, client)
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


def _unreachable(place: _Place, error: RequestFailed) -> str:
    text = f"{error}."
    if place.target is not None and place.target.guessed:
        text += (
            f" (https://{place.name}/.well-known/matrix/server names no other place, and there is"
            " no SRV record: policy_server.public_url can say where to ask.)"
        )
    return text


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
