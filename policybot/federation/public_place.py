"""A place where our public name is to be asked, found as other servers find it or as given."""

from dataclasses import dataclass

from ..protocol.paths import SIGN, UNSTABLE_SIGN
from ..protocol.server_name import parse_server_name
from .client import HttpClient, RequestFailed, Response
from .dns_lookup import DnsLookup
from .resolve import Target, resolve
from .well_known import TIMEOUT_S, WellKnown

PROBE_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where to ask: a URL without path, as found by the name or (``target`` None) as given."""

    url: str
    name: str
    target: Target | None

    async def ask(
        self,
        path: str,
        client: HttpClient,
        authorization: str | None = None,
        timeout_s: float = PROBE_TIMEOUT_S,
    ) -> Response:
        """POST to a `/sign`, GET anything else. Raises RequestFailed."""
        headers = {} if self.target is None else {"Host": self.target.host_header}
        if authorization is not None:
            headers["Authorization"] = authorization
        signs = path in (SIGN, UNSTABLE_SIGN)
        return await client.request(
            "POST" if signs else "GET",
            self.url + path,
            {} if signs else None,
            headers=headers,
            timeout_s=timeout_s,
            server_hostname=None if self.target is None else self.target.server_hostname,
        )

    def web_site(self) -> "Place":
        """Where the name's own well-known documents are, which no delegation moves."""
        if self.target is None:
            return self
        host = parse_server_name(self.name).host
        return Place(f"https://{host}", self.name, Target("", host, host.strip("[]")))

    @property
    def on_web_site(self) -> bool:
        """Whether the name's own web server is asked for the endpoint too, as far as is known: its
        name says no other port, and its document no other server."""
        if self.target is None:
            return True
        return self.target.host_header == self.name and parse_server_name(self.name).port is None

    def unreachable(self, error: RequestFailed) -> str:
        """What is wrong here, in words."""
        text = f"{error}."
        if self.target is not None and self.target.guessed:
            text += (
                f" (https://{self.name}/.well-known/matrix/server names no other place, and there"
                " is no SRV record: policy_server.public_url can say where to ask.)"
            )
        return text


async def places_of(
    name: str,
    client: HttpClient,
    public_url: str | None,
    dns: DnsLookup | None,
    *,
    well_known_s: float = TIMEOUT_S,
) -> tuple[Place, ...]:
    """The places of ``name``, at least one; what was found before does not count.

    Raises:
        InvalidServerName: it is none.
    """
    if public_url is not None:
        return (Place(public_url.rstrip("/"), name, None),)
    well_known = WellKnown(client, timeout_s=well_known_s)
    targets = await resolve(name, well_known, dns or DnsLookup())
    return tuple(Place(target.url, name, target) for target in targets)
