"""Where a server says that it is to be asked: its well-known document, and for how long it counts.

Server-server API, "Resolving server names", step 3. An answer that is not good counts as none.
"""

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from ..protocol.server_name import InvalidServerName, parse_server_name
from .client import HttpClient, RequestFailed, Response
from .failure_memory import FailureMemory

MAX_REDIRECTS = 3
MAX_BYTES = 16 * 1024
TIMEOUT_S = 10.0

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DEFAULT_LIFETIME_MS = 24 * HOUR_MS
SHORTEST_LIFETIME_MS = 5 * MINUTE_MS
LONGEST_LIFETIME_MS = 48 * HOUR_MS
MAX_KEPT = 5_000

_MAX_AGE = re.compile(r"(?:^|[\s,])max-age\s*=\s*\"?(\d{1,12})", re.IGNORECASE)
_NOT_KEPT = re.compile(r"(?:^|[\s,])no-(?:store|cache)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Kept:
    server_name: str
    from_ts: int
    lifetime_ms: int

    def holds(self, now_ms: int) -> bool:
        return 0 <= now_ms - self.from_ts < self.lifetime_ms


class WellKnown:
    """Asks for well-known documents by ``client``, each for at most ``timeout_s`` seconds with
    all redirects, and keeps what was found; ``clock`` gives milliseconds since 1970.

    A server without a good document is not asked again for a minute, doubling to an hour.
    """

    def __init__(
        self,
        client: HttpClient,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        *,
        timeout_s: float = TIMEOUT_S,
        size: int = MAX_KEPT,
    ) -> None:
        self._client = client
        self._clock = clock
        self._timeout_s = timeout_s
        self._size = size
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._failures = FailureMemory(MINUTE_MS, HOUR_MS, size)

    async def delegated(self, server_name: str) -> str | None:
        """The server name that stands in the document, or None."""
        now = self._clock()
        kept = self._kept.get(server_name)
        if kept is not None and kept.holds(now):
            self._kept.move_to_end(server_name)
            return kept.server_name
        if self._failures.holds(server_name, now):
            return None
        response = await self._document(server_name)
        found = None if response is None else _name_in(response.json)
        if response is None or found is None:
            self._kept.pop(server_name, None)
            self._failures.record(server_name, now)
            return None
        self._failures.clear(server_name)
        self._kept[server_name] = _Kept(found, now, _lifetime_ms(response.headers, now))
        self._kept.move_to_end(server_name)
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return found

    async def _document(self, server_name: str) -> Response | None:
        url = f"https://{server_name}/.well-known/matrix/server"
        end = time.monotonic() + self._timeout_s
        for _ in range(MAX_REDIRECTS + 1):
            left = end - time.monotonic()
            if left <= 0:
                return None
            try:
                response = await self._client.get_json(url, timeout_s=left, limit=MAX_BYTES)
            except RequestFailed:
                return None
            location = response.headers.get("Location")
            if response.status in (301, 302, 303, 307, 308) and location:
                following = _https(url, location)
                if following is None:
                    return None
                url = following
                continue
            return response if response.status == 200 else None
        return None


def _https(url: str, location: str) -> str | None:
    try:
        following = urljoin(url, location)
        return following if urlsplit(following).scheme == "https" else None
    except ValueError:
        return None


def _name_in(document: Any) -> str | None:
    text = document.get("m.server") if isinstance(document, dict) else None
    if not isinstance(text, str):
        return None
    try:
        parse_server_name(text)
    except InvalidServerName:
        return None
    return text


def _lifetime_ms(headers: Mapping[str, str], now_ms: int) -> int:
    """How long a document may be kept by its headers, within our bounds."""
    wished = DEFAULT_LIFETIME_MS
    control = headers.get("Cache-Control", "")
    if _NOT_KEPT.search(control):
        wished = 0
    elif age := _MAX_AGE.search(control):
        wished = int(age.group(1)) * 1000
    elif "Expires" in headers:
        try:
            wished = int(parsedate_to_datetime(headers["Expires"]).timestamp() * 1000) - now_ms
        except (ValueError, OverflowError):
            wished = 0
    return min(max(wished, SHORTEST_LIFETIME_MS), LONGEST_LIFETIME_MS)
