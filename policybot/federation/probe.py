"""Whether our endpoint answers under its public name, asked before a room is made to rely on it.

A request without a signature must get 401 and our installation's ID. Everything else is put into
words for the person who has to mend it.
"""

from dataclasses import dataclass
from enum import StrEnum

from ..protocol.server_name import InvalidServerName
from .client import HttpClient, RequestFailed, RequestTimedOut, Response
from .dns_lookup import DnsLookup
from .notary import ANY_KEY_ID, Notary, Wanted
from .resolve import Target, resolve
from .well_known import WellKnown

INSTANCE_HEADER = "Policybot-Instance"
SIGN_PATH = "/_matrix/policy/v1/sign"
PROBE_TIMEOUT_S = 10.0
KEY_TIMEOUT_S = 15.0

# 520 to 526 are what Cloudflare answers in place of a server that it cannot reach.
_GATEWAY_FAULTS = frozenset({502, 503, 504, *range(520, 527)})


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
    if public_url is None:
        try:
            target = (await resolve(name, WellKnown(client), dns or DnsLookup()))[0]
        except InvalidServerName:
            return ProbeResult(ProbeOutcome.UNREACHABLE, f"{name!r} is not a server name.", "")
        headers, hostname = {"Host": target.host_header}, target.server_hostname
        base = target.url
    else:
        target, headers, hostname = None, {}, None
        base = public_url.rstrip("/")
    address = base + SIGN_PATH
    try:
        response = await client.post_json(
            address, {}, headers=headers, timeout_s=PROBE_TIMEOUT_S, server_hostname=hostname
        )
    except RequestFailed as error:
        return ProbeResult(ProbeOutcome.UNREACHABLE, _unreachable(name, target, error), address)
    fault = _fault(response, instance_id)
    if fault is None:
        return ProbeResult(ProbeOutcome.OK, "", address)
    return ProbeResult(ProbeOutcome.NOT_OURS, f"{address}: {fault}", address)


def _unreachable(name: str, target: Target | None, error: RequestFailed) -> str:
    text = f"{error}."
    if target is not None and target.guessed:
        text += (
            f" (https://{name}/.well-known/matrix/server names no other place, and there is no SRV"
            " record: policy_server.public_url can say where to ask.)"
        )
    return text


def _fault(response: Response, instance_id: str) -> str | None:
    """What is wrong with the answer, or None if it is ours."""
    status = response.status
    instance = response.headers.get(INSTANCE_HEADER)
    if instance == instance_id:
        if status == 401:
            return None
        return (
            f"policybot was reached, but the path was not: it answered {status}. The reverse"
            f" proxy must hand over {SIGN_PATH} unchanged."
        )
    if instance is not None:
        return f"another installation of policybot answers here (status {status})."
    if status == 401:
        return (
            "another policy server answers here (401 without the header"
            f" {INSTANCE_HEADER}), or the reverse proxy takes that header away."
        )
    if status in _GATEWAY_FAULTS:
        return (
            f"the reverse proxy answers {status}: it cannot reach policybot. Compare the address"
            " in the proxy's line for /_matrix/policy/ with `listen` in the configuration."
        )
    if 300 <= status < 400:
        return f"the reverse proxy redirects ({status}), which servers do not follow here."
    errcode = response.json.get("errcode") if isinstance(response.json, dict) else None
    if status in (404, 405) and errcode == "M_UNRECOGNIZED":
        return (
            f"the homeserver itself answers ({status} M_UNRECOGNIZED): the reverse proxy does not"
            " send /_matrix/policy/ to policybot."
        )
    said = f"{status} {errcode[:50]}" if isinstance(errcode, str) else str(status)
    return (
        f"something other than policybot answers ({said}): the reverse proxy does not send"
        " /_matrix/policy/ to policybot."
    )


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
