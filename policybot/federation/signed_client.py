"""Requests to other servers in the name of a server of ours (server-server API, "Request
Authentication")."""

from typing import Any

from ..protocol.signing import SigningKey
from ..protocol.xmatrix import authorization_header
from .client import DEFAULT_LIMIT, Response
from .reach import Reach
from .resolve import Target

TIMEOUT_S = 20.0
"""For one request, with finding the server and all its places."""


class SignedClient:
    """Asks as server ``name``, whose federation key is ``key``, called ``key_id``."""

    def __init__(self, name: str, key_id: str, key: SigningKey, reach: Reach) -> None:
        self.name = name
        self.key_id = key_id
        self.key = key
        self._reach = reach

    async def get(
        self,
        server_name: str,
        path: str,
        *,
        timeout_s: float = TIMEOUT_S,
        limit: int = DEFAULT_LIMIT,
    ) -> Response:
        """GET ``path``, already encoded and with its query, from a server.

        The answer may have any status; ``limit`` is in bytes. Raises RequestFailed.
        """
        return await self._ask(server_name, "GET", path, None, timeout_s, limit)

    async def put(
        self,
        server_name: str,
        path: str,
        body: Any,
        *,
        timeout_s: float = TIMEOUT_S,
        limit: int = DEFAULT_LIMIT,
    ) -> Response:
        """PUT ``body`` as JSON; else like ``get``."""
        return await self._ask(server_name, "PUT", path, body, timeout_s, limit)

    async def _ask(
        self,
        server_name: str,
        method: str,
        path: str,
        body: Any,
        timeout_s: float,
        limit: int,
    ) -> Response:
        # Signed for the name that is asked, wherever it leads.
        authorization = authorization_header(
            self.name, server_name, self.key_id, self.key, method, path, body
        )

        async def ask_at(target: Target) -> Response:
            return await self._reach.request(
                target,
                method,
                path,
                body,
                headers={"Authorization": authorization},
                timeout_s=timeout_s,
                limit=limit,
            )

        return await self._reach.ask(server_name, ask_at, timeout_s)
