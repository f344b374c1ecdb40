"""The bot's homeserver as the notary: the one place where other servers' keys are asked for.

Server-server API, "Querying keys through another server". What Synapse really does, measured: an
empty inner object is answered from what it has, expired keys too, and fetches nothing; a named
key ID with a minimum makes it fetch; a named key ID that the server does not have gives nothing,
though what was fetched is there for the next empty question. Of itself it answers nothing here.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..protocol.canonical_json import InvalidJson, JsonObject, canonical_json
from ..protocol.server_keys import InvalidServerKeys, ServerKeys, parse_server_keys
from .client import HttpClient, RequestFailed, Response
from .complaints import Complaints

logger = logging.getLogger(__name__)

MAX_RESPONSE_BYTES = 1024 * 1024
MAX_DOCUMENT_BYTES = 32 * 1024
# A key ID that no server has: asking for it makes the notary fetch, whatever it has already.
ANY_KEY_ID = "ed25519:policybot_asks"

# A server may have one document for every key ID that it ever had; more than these are not read.
MAX_DOCUMENTS_PER_SERVER = 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """A key ID that makes the notary fetch, if what it has of this key ends before
    ``minimum_valid_until_ts`` (milliseconds)."""

    key_id: str
    minimum_valid_until_ts: int


@dataclass(frozen=True, slots=True)
class FetchedKeys:
    """A document that was checked (its own signature, name and size) and the same as values."""

    keys: ServerKeys
    document: JsonObject


def checked_keys(document: Any, server_name: str) -> FetchedKeys:
    """Check what is said to be the keys of a server. Raises InvalidServerKeys."""
    keys = parse_server_keys(document, server_name)
    try:
        size = len(canonical_json(document))
    except InvalidJson as error:
        raise InvalidServerKeys(str(error)) from None
    if size > MAX_DOCUMENT_BYTES:
        raise InvalidServerKeys(f"The server keys have more than {MAX_DOCUMENT_BYTES:,} bytes.")
    return FetchedKeys(keys, document)


class Notary:
    """Asks the homeserver at ``homeserver_url``, whose own server name is ``own_name``."""

    def __init__(self, homeserver_url: str, own_name: str, client: HttpClient) -> None:
        self.homeserver_url = homeserver_url.rstrip("/")
        self.own_name = own_name
        self._client = client
        self._complaints = Complaints(logger)

    async def fetch(
        self, wanted: Mapping[str, Wanted | None], timeout_s: float
    ) -> dict[str, tuple[FetchedKeys, ...]]:
        """Ask for the keys of the named servers; None asks for what the notary has already.

        The answer holds only servers that were asked for and documents that are good, those that
        end latest first; a server without any is left out. Documents may be older than asked for.
        Raises RequestFailed if the notary gave no proper answer.
        """
        found: dict[str, tuple[FetchedKeys, ...]] = {}
        others = {server: want for server, want in wanted.items() if server != self.own_name}
        if others:
            url = f"{self.homeserver_url}/_matrix/key/v2/query"
            response = await self._client.post_json(
                url, _question(others), timeout_s=timeout_s, limit=MAX_RESPONSE_BYTES
            )
            documents = _object(response, url).get("server_keys")
            if not isinstance(documents, list):
                raise RequestFailed(f"{url} answered without a list of keys")
            found = self._good(documents, others)
        if self.own_name in wanted:
            url = f"{self.homeserver_url}/_matrix/key/v2/server"
            response = await self._client.get_json(
                url, timeout_s=timeout_s, limit=MAX_RESPONSE_BYTES
            )
            found |= self._good([_object(response, url)], {self.own_name: None})
        return found

    def _good(
        self, documents: list[Any], asked: Mapping[str, Wanted | None]
    ) -> dict[str, tuple[FetchedKeys, ...]]:
        by_server: dict[str, list[JsonObject]] = {}
        for document in documents:
            server = document.get("server_name") if isinstance(document, dict) else None
            if not isinstance(server, str) or server not in asked:
                self._complain("stray", "keys of a server that was not asked for", server)
                continue
            by_server.setdefault(server, []).append(document)
        good = {}
        for server, candidates in by_server.items():
            candidates.sort(key=_end, reverse=True)
            fetched = [self._checked(c, server) for c in candidates[:MAX_DOCUMENTS_PER_SERVER]]
            if kept := tuple(keys for keys in fetched if keys is not None):
                good[server] = kept
        return good

    def _checked(self, document: JsonObject, server: str) -> FetchedKeys | None:
        try:
            return checked_keys(document, server)
        except InvalidServerKeys as error:
            self._complain("bad", f"keys that are not good: {str(error)[:200]}", server)
            return None

    def _complain(self, kind: str, what: str, server: object) -> None:
        self._complaints.say(
            kind, f"ignored from the homeserver, for {str(server)[:255]!r}: {what}"
        )


def _question(wanted: Mapping[str, Wanted | None]) -> JsonObject:
    question = {
        server: {}
        if want is None
        else {want.key_id: {"minimum_valid_until_ts": want.minimum_valid_until_ts}}
        for server, want in wanted.items()
    }
    return {"server_keys": question}


def _object(response: Response, url: str) -> JsonObject:
    if response.status != 200:
        raise RequestFailed(f"{url} answered {response.status}")
    if not isinstance(response.json, dict):
        raise RequestFailed(f"{url} answered with something that is not a JSON object")
    return response.json


def _end(document: JsonObject) -> int:
    end = document.get("valid_until_ts")
    return end if isinstance(end, int) else -1
