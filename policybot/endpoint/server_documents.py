"""What a server with a name of its own tells anybody: its keys, its version, where it is found and
whom to ask.

It may have had other names, whose documents are asked for as long as rooms carry them. The header
``Host`` tells which is meant.

Specification: Server-Server API, "Publishing Keys", "Resolving server names", "GET
/_matrix/federation/v1/version".
"""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Protocol

from policybot import __version__
from policybot.protocol.canonical_json import JsonObject, canonical_json
from policybot.protocol.paths import (
    FEDERATION_VERSION,
    INSTANCE_HEADER,
    SERVER_KEYS,
    SERVER_WELL_KNOWN,
    SUPPORT_WELL_KNOWN,
)
from policybot.protocol.server_name import parse_server_name, without_port

from .document import JSON, Methods, document
from .errors import UnrecognizedPath
from .exchange import Headers, Request, Response
from .support import support_document


class KeyDocuments(Protocol):
    """What publishes our federation key."""

    def document(self, now_ms: int, name: str | None = None) -> JsonObject:
        """The document for those who ask now (ms since 1970), under one of our names."""
        ...


class ServerDocuments:
    """The documents of the server ``names``, of which the first is meant if none is named.

    ``clock`` gives milliseconds since 1970, ``contact`` is whom to ask, ``instance_id`` the random
    ID of this installation.
    """

    def __init__(
        self,
        names: Sequence[str],
        own_keys: KeyDocuments,
        clock: Callable[[], int],
        contact: str | None,
        instance_id: str,
    ) -> None:
        self._name = names[0]
        self._names = {host: name for name in reversed(names) for host in _hosts(name)}
        self._own_keys = own_keys
        self._clock = clock
        self._headers = Headers((JSON, (INSTANCE_HEADER, instance_id)))
        version = {"server": {"name": "policybot", "version": __version__}}
        self._methods: dict[str, Methods] = {
            SERVER_KEYS: {"GET": self._keys, "HEAD": self._keys},
            SERVER_WELL_KNOWN: {"GET": self._place, "HEAD": self._place},
            FEDERATION_VERSION: document(version, instance_id),
        }
        support = support_document(contact)
        if support is not None:
            self._methods[SUPPORT_WELL_KNOWN] = document(support, instance_id)

    def methods(self, path: str) -> Methods | None:
        """The handlers of a path by method, or None."""
        # Once a key ID could stand behind this one, and Synapse may ask so.
        start, _, key_id = path.rpartition("/")
        return self._methods.get(SERVER_KEYS if start == SERVER_KEYS and key_id else path)

    async def _keys(self, request: Request) -> Response:
        return self._json(self._own_keys.document(self._clock(), self._asked(request.host)))

    async def _place(self, request: Request) -> Response:
        name = self._asked(request.host)
        parsed = parse_server_name(name)
        # Nobody asks for such names; if somebody does, there is nothing to tell.
        if parsed.port is not None or parsed.is_ip_literal:
            raise UnrecognizedPath("Unrecognized request")
        return self._json({"m.server": f"{name}:443"})

    def _asked(self, host: str) -> str:
        host = host.lower()
        return self._names.get(host) or self._names.get(without_port(host)) or self._name

    def _json(self, content: JsonObject) -> Response:
        return Response(HTTPStatus.OK, self._headers, canonical_json(content))


def _hosts(name: str) -> tuple[str, str]:
    """What stands in ``Host`` when the name is meant."""
    return without_port(name.lower()), name.lower()
