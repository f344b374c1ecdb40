"""Requests to the homeserver's client-server API: paths, time limits, rate limits, errors.

The session, base URL and token are those of mautrix's `HTTPAPI`, but its ``request`` is not used:
it drops ``retry_after_ms``, writes messages into the debug log, and resolves ``..`` in paths,
where a state key may be just that.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import aiohttp
from mautrix.api import HTTPAPI
from yarl import URL

from policybot import __version__

from .send_gate import Precedence, SendGate

logger = logging.getLogger(__name__)

DEFAULT_TIME_LIMIT_S = 30.0
# A list with 100,000 rules has 50 MB, a room with 100,000 members 42 MB.
MAX_ANSWER_BYTES = 256 * 1024 * 1024
_PIECE = 16_384  # bytes; some 40 rules, which take less than a millisecond
_DEFAULT_RETRY_S = 1.0  # when a rate limit does not say how long to wait
_TOKEN_ERRORS = ("M_UNKNOWN_TOKEN", "M_MISSING_TOKEN")


class HomeserverAway(Exception):
    """No usable answer: unreachable, too slow, a fault of its own (5xx), or not a homeserver.

    What was asked for may have been done all the same. The text is a sentence without full stop.
    """

    @property
    def message(self) -> str:
        """The text, as `Refused` has the homeserver's."""
        return str(self)


class Refused(Exception):
    """The homeserver said no (4xx); what was asked for was not done."""

    def __init__(self, status: int, errcode: str, message: str) -> None:
        super().__init__(f"{status} {errcode}: {message}")
        self.status = status
        self.errcode = errcode
        self.message = message


class TokenRejected(Refused):
    """The access token is not, or no longer, valid."""


def open_api(homeserver_url: str, token: str = "") -> HTTPAPI:
    """Make an API object with a session of its own; needs a running loop, close it at the end."""
    session = aiohttp.ClientSession(
        headers={"User-Agent": f"policybot/{__version__}"},
        timeout=aiohttp.ClientTimeout(total=None),  # each request has its own limit
    )
    return HTTPAPI(homeserver_url, token, client_session=session)


def path(*parts: str) -> str:
    """A path below ``/_matrix/client/v3``, each part percent-encoded.

    Raises:
        Refused: a part holds a lone surrogate, which no URL can carry.
    """
    try:
        return "/_matrix/client/v3/" + "/".join(_encode(part) for part in parts)
    except UnicodeEncodeError:
        raise Refused(400, "M_INVALID_PARAM", "not a name that a homeserver knows") from None


def _encode(part: str) -> str:
    if part in (".", ".."):  # would be read as steps through the path
        return part.replace(".", "%2E")
    return quote(part, safe="")


async def request(
    api: HTTPAPI,
    method: str,
    path: str,
    content: Mapping[str, Any] | None = None,
    query: Sequence[tuple[str, str]] = (),
    *,
    time_limit: float = DEFAULT_TIME_LIMIT_S,
    gate: SendGate | None = None,
    precedence: Precedence = Precedence.ASKED,
    take: Callable[[bytes], None] | None = None,
) -> bytes:
    """Ask the homeserver, waiting out rate limits, for at most ``time_limit`` seconds in all.

    Requests that share a ``gate`` share a rate limit; None means one of its own.

    Returns:
        The body of the 2xx answer, which is not checked yet. With ``take`` this is given the body
        in small pieces as they come, with turns for other tasks in between, and nothing is left.

    Raises:
        Refused: 4xx with a Matrix error, or 429 whose wait would end after the time limit.
        HomeserverAway: no answer in time, or one that is not a homeserver's.
    """
    try:
        body = None if content is None else json.dumps(content, allow_nan=False).encode()
        url = URL(str(api.base_url).rstrip("/") + path, encoded=True)
        if query:
            url = url.with_query(list(query))
    except ValueError as error:
        raise Refused(400, "M_INVALID_PARAM", f"cannot be sent: {error}") from None
    gate = gate or SendGate()
    ends = time.monotonic() + time_limit
    asking = False
    try:
        async with asyncio.timeout(time_limit):
            while True:
                async with gate.turn(precedence):
                    asking = True
                    status, answer, retry_after = await _ask(api, method, url, body, take)
                    if 200 <= status < 300:
                        return answer
                    failure = _error(status, answer, api.base_url)
                    if status != 429:
                        raise failure
                    delay = _retry_delay(answer, retry_after)
                    gate.close(delay)
                if time.monotonic() + delay >= ends:
                    raise failure
                logger.info("The homeserver asks to wait %.1f s before %s", delay, path)
                asking = False
    except TimeoutError:
        if not asking:
            text = f"too much is being sent; there was no turn within {time_limit:g} s"
            raise Refused(429, "M_LIMIT_EXCEEDED", text) from None
        raise HomeserverAway(f"no answer within {time_limit:g} s") from None
    except (aiohttp.ClientError, OSError) as fault:
        raise HomeserverAway(f"cannot be reached ({fault or type(fault).__name__})") from None


async def _ask(
    api: HTTPAPI, method: str, url: URL, body: bytes | None, take: Callable[[bytes], None] | None
) -> tuple[int, bytes, str | None]:
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if api.token:
        headers["Authorization"] = f"Bearer {api.token}"
    started = time.monotonic()
    async with api.session.request(
        method, url, data=body, headers=headers, allow_redirects=False
    ) as response:
        answer = await _read(response, take if response.ok else None)
    duration = time.monotonic() - started
    logger.debug("%s %s: %d in %.0f ms", method, url.raw_path, response.status, duration * 1000)
    return response.status, answer, response.headers.get("Retry-After")


async def _read(response: aiohttp.ClientResponse, take: Callable[[bytes], None] | None) -> bytes:
    """The body, or nothing of it if it is taken piece by piece.

    Raises:
        HomeserverAway: it is larger than anything that a homeserver should say.
    """
    size, body = 0, bytearray()
    async for piece in response.content.iter_chunked(_PIECE):
        size += len(piece)
        if size > MAX_ANSWER_BYTES:
            raise HomeserverAway(f"answered with more than {MAX_ANSWER_BYTES:,} bytes")
        if take is None:
            body += piece
        else:
            take(piece)
            await asyncio.sleep(0)
    return bytes(body)


def parse(body: bytes) -> dict[str, Any]:
    """Read the JSON object that every answer is, except a room's full state.

    Raises:
        HomeserverAway: it is something else.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise HomeserverAway("answered with something that is not a JSON object")
    return value


def _error(status: int, body: bytes, base_url: URL) -> Refused | HomeserverAway:
    if not 400 <= status < 500:
        return HomeserverAway(f"answered with status {status}")
    try:
        errcode = parse(body).get("errcode")
        message = parse(body).get("error")
    except HomeserverAway:
        errcode = message = None
    if status == 429 and not isinstance(errcode, str):
        errcode = "M_LIMIT_EXCEEDED"  # a proxy in front
    if not isinstance(errcode, str):
        return HomeserverAway(
            f"answered with status {status} and no Matrix error; is a homeserver at {base_url}?"
        )
    kind = TokenRejected if errcode in _TOKEN_ERRORS else Refused
    return kind(status, errcode, message if isinstance(message, str) else "")


def _retry_delay(body: bytes, retry_after: str | None) -> float:
    """Seconds; the header counts since Matrix v1.10, the field before."""
    if retry_after is not None and retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        milliseconds = parse(body).get("retry_after_ms")
    except HomeserverAway:
        milliseconds = None
    if isinstance(milliseconds, int) and not isinstance(milliseconds, bool) and milliseconds >= 0:
        return milliseconds / 1000
    return _DEFAULT_RETRY_S
