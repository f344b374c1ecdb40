"""HTTP for questions to other servers: bounded in time and size, and errors that people can read.

Connections are not kept: the questions are rare, and a kept connection that the other side has
closed meanwhile would fail a question for nothing.
"""

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from ..protocol.canonical_json import InvalidJson, parse_json
from .address_guard import AddressGuard, AddressRefused, GuardedResolver

DEFAULT_TIMEOUT_S = 10.0
DEFAULT_CONNECT_S = 5.0
DEFAULT_LIMIT = 64 * 1024


class RequestFailed(Exception):
    """There was no answer. The text is a sentence without a full stop, fit to be shown."""


class RequestTimedOut(RequestFailed):
    """There was no complete answer in time."""


class ResponseTooLarge(RequestFailed):
    """The answer, whose ``status`` is known, is larger than the question allowed."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Response:
    """An answer of any status. ``json`` is None where the body is no JSON (or the JSON null)."""

    status: int
    headers: Mapping[str, str]  # names are compared without regard to case
    json: Any


class HttpClient:
    """Asks servers over HTTP; redirects are handed back and not followed.

    ``ssl_context`` is what certificates are checked with (None: Python's default, which honours
    ``SSL_CERT_FILE``); ``resolver`` finds addresses (None: the system does). With a ``guard``
    only addresses that it allows are connected to, for URLs that strangers choose. ``connect_s``
    bounds connecting in seconds, so that time is left for another place.
    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        resolver: AbstractResolver | None = None,
        guard: AddressGuard | None = None,
        connections: int = 100,
        connect_s: float = DEFAULT_CONNECT_S,
    ) -> None:
        self._ssl_context = ssl_context
        self._resolver = resolver
        self._guard = guard
        self._connections = connections
        self._connect_s = connect_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "HttpClient":
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Drop all connections. The client can be used again afterwards."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def get_json(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        limit: int = DEFAULT_LIMIT,
        server_hostname: str | None = None,
    ) -> Response:
        """GET ``url``; else like ``request``."""
        return await self.request(
            "GET",
            url,
            headers=headers,
            timeout_s=timeout_s,
            limit=limit,
            server_hostname=server_hostname,
        )

    async def post_json(
        self,
        url: str,
        body: Any,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        limit: int = DEFAULT_LIMIT,
        server_hostname: str | None = None,
    ) -> Response:
        """POST ``body`` as JSON; else like ``request``."""
        return await self.request(
            "POST",
            url,
            body,
            headers=headers,
            timeout_s=timeout_s,
            limit=limit,
            server_hostname=server_hostname,
        )

    async def request(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        limit: int = DEFAULT_LIMIT,
        server_hostname: str | None = None,
    ) -> Response:
        """Ask ``url`` (used as it is, already encoded), with ``body`` as JSON unless it is None.

        ``limit`` is in bytes of the answer. ``server_hostname`` is the name that the certificate
        must be for, if not the URL's. Raises RequestFailed.
        """
        place = _place(url)
        try:
            parsed = URL(url, encoded=True)
            if self._guard is not None:
                # No resolver is asked about an address.
                self._guard.check_literal(parsed.host or "")
            async with self._opened().request(
                method,
                parsed,
                json=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=self._connect_s),
                server_hostname=server_hostname,
            ) as answer:
                data = await _read(answer, limit, place)
                return Response(answer.status, answer.headers, _json(data))
        except aiohttp.ConnectionTimeoutError:
            raise RequestTimedOut(
                f"{place} took no connection within {self._connect_s:g} s"
            ) from None
        except TimeoutError:
            raise RequestTimedOut(f"{place} did not answer within {timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise RequestFailed(_sentence(place, error)) from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            resolver = self._resolver or aiohttp.ThreadedResolver()
            if self._guard is not None:
                resolver = GuardedResolver(resolver, self._guard)
            connector = aiohttp.TCPConnector(
                ssl=self._ssl_context or ssl.create_default_context(),
                resolver=resolver,
                limit=self._connections,
                force_close=True,
                use_dns_cache=False,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "policybot", "Accept-Encoding": "identity"},
                # Whoever compresses nevertheless may mean a thousand times as much.
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


async def _read(answer: aiohttp.ClientResponse, limit: int, place: str) -> bytes:
    data = bytearray()
    async for chunk in answer.content.iter_any():
        data += chunk
        if len(data) > limit:
            raise ResponseTooLarge(
                f"{place} answered with more than {limit:,} bytes", answer.status
            )
    return bytes(data)


def _json(data: bytes) -> Any:
    try:
        return parse_json(data)
    except InvalidJson:
        return None


def _place(url: str) -> str:
    """``host:port`` of a URL for people, or the start of what is no URL."""
    try:
        parsed = URL(url, encoded=True)
        host, port = parsed.host, parsed.port
    except ValueError:
        host = port = None
    if not host:
        return repr(url[:100])
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _sentence(place: str, error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            inner = error.certificate_error
            why = inner.verify_message if isinstance(inner, ssl.SSLCertVerificationError) else ""
            return f"the TLS certificate of {place} is not good: {why or inner}"
        case aiohttp.ClientSSLError():
            return f"{place} could not agree on TLS with us: {_short(error.os_error)}"
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, socket.gaierror):
            if error.os_error.errno == socket.EAI_AGAIN:
                return f"{place}: DNS does not answer for this name just now"
            return f"{place}: this name has no address in DNS"
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionRefusedError):
            return f"{place} refuses the connection: nothing listens there, or a firewall says no"
        case AddressRefused():
            return f"{place} is not asked: {error}"
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, AddressRefused):
            return f"{place} is not asked: {error.os_error}"
        case aiohttp.ClientConnectorError():
            return f"{place} cannot be reached: {_short(error.os_error)}"
        case aiohttp.InvalidURL() | ValueError():
            return f"{place} is not an address that can be asked"
        case aiohttp.ServerDisconnectedError() | ConnectionResetError():
            return f"{place} closed the connection without an answer"
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return f"{place} gave an answer that is not good HTTP"
    return f"{place} gave no answer: {_short(error)}"


def _short(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)[:200]
