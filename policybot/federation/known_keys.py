"""What is known of other servers' keys, and until when it is good. No waiting, no network.

A document is good until its ``valid_until_ts``, at most 7 days after it was fetched. All times are
milliseconds since 1970.
"""

from collections import OrderedDict
from dataclasses import dataclass

from ..protocol.server_keys import ServerKeys
from ..protocol.signing import VerifyKey

DAY_MS = 24 * 60 * 60 * 1000
LONGEST_VALIDITY_MS = 7 * DAY_MS
GRACE_MS = 7 * DAY_MS

# A document may hold almost 300 keys, and whoever likes has many servers.
AVERAGE_KEYS = 10

# Beside the newest document: older ones that have a key which the newest one has not.
MAX_OLDER_DOCUMENTS = 3


@dataclass(frozen=True, slots=True)
class KnownDocument:
    """A checked document, when it was fetched, and the time after which it is not valid."""

    keys: ServerKeys
    fetched_ts: int
    end_ts: int

    @classmethod
    def fetched(cls, keys: ServerKeys, fetched_ts: int) -> "KnownDocument":
        """A document that was fetched at that time (milliseconds since 1970)."""
        return cls(keys, fetched_ts, min(keys.valid_until_ts, fetched_ts + LONGEST_VALIDITY_MS))

    @property
    def key_count(self) -> int:
        """How many keys it holds, in use or retired."""
        return len(self.keys.verify_keys) + len(self.keys.old_verify_keys)

    def has(self, key_id: str) -> bool:
        """Whether the key is here, in use or retired."""
        return key_id in self.keys.verify_keys or key_id in self.keys.old_verify_keys

    def event_key(self, key_id: str, origin_server_ts: int, strict: bool) -> VerifyKey | None:
        """The key for an event of that time; see ``KnownServer.event_key``."""
        key = self.keys.verify_keys.get(key_id)
        if key is not None and (not strict or self.end_ts >= origin_server_ts):
            return key
        retired = self.keys.old_verify_keys.get(key_id)
        if retired is not None and origin_server_ts <= retired[1]:
            return retired[0]
        return None


class KnownServer:
    """The documents of one server: the newest, and a few older ones for keys that it lacks.

    An older document never replaces a newer one: whoever holds a retired key could otherwise bring
    it back by having the notary dig out what it once said. Newer means: good for longer.
    """

    __slots__ = ("newest", "older", "refresh_failed")

    def __init__(self, document: KnownDocument) -> None:
        self.newest = document
        self.older: tuple[KnownDocument, ...] = ()
        self.refresh_failed = False

    @property
    def key_count(self) -> int:
        """How many keys its documents hold."""
        return self.newest.key_count + sum(old.key_count for old in self.older)

    def take(self, document: KnownDocument) -> bool:
        """Take in a document that was fetched; True if it is the newest now."""
        if document.end_ts >= self.newest.end_ts:
            if document.end_ts > self.newest.end_ts:
                self.refresh_failed = False
            self.newest = document
            self.older = tuple(old for old in self.older if self._adds_to_newest(old))
            return True
        if self._adds_to_newest(document):
            others = (old for old in self.older if old.keys != document.keys)
            by_end = sorted((document, *others), key=lambda old: old.end_ts, reverse=True)
            self.older = tuple(by_end[:MAX_OLDER_DOCUMENTS])
        return False

    def request_key(self, key_id: str, now_ms: int) -> VerifyKey | None:
        """The key for a request that came now.

        If the newest document is past its end and a refresh has failed, it is good for 7 days
        more: the caller gains nothing by an old key, and a notary that is away closes no room.
        """
        newest = self.newest
        key = newest.keys.verify_keys.get(key_id)
        if key is not None:
            if now_ms <= newest.end_ts:
                return key
            return key if self.in_grace(now_ms) else None
        for old in self.older:
            if now_ms <= old.end_ts and key_id in old.keys.verify_keys:
                return old.keys.verify_keys[key_id]
        return None

    def event_key(self, key_id: str, origin_server_ts: int, strict: bool) -> VerifyKey | None:
        """The key for an event of that time. ``strict`` (room version 5 and later): the document
        must be valid at that time. A retired key is good up to its ``expired_ts``."""
        key = self.newest.event_key(key_id, origin_server_ts, strict)
        if key is None:
            for old in self.older:
                key = old.event_key(key_id, origin_server_ts, strict)
                if key is not None:
                    break
        return key

    def valid(self, now_ms: int) -> bool:
        """Whether the newest document is not past its end."""
        return now_ms <= self.newest.end_ts

    def in_grace(self, now_ms: int) -> bool:
        """Whether the newest document is past its end but used on, since a refresh failed."""
        return self.refresh_failed and 0 < now_ms - self.newest.end_ts <= GRACE_MS

    def refresh_due(self, now_ms: int) -> bool:
        """Whether half of the validity is over (or the clock was set back behind the start)."""
        fetched_ts = self.newest.fetched_ts
        return not fetched_ts <= now_ms < fetched_ts + (self.newest.end_ts - fetched_ts) // 2

    def _adds_to_newest(self, document: KnownDocument) -> bool:
        return any(not self.newest.has(key_id) for key_id in document.keys.verify_keys)


class KnownKeys:
    """The servers that are known, at most ``size``, with ten times as many keys.

    The one not looked up for longest goes first.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._key_count = 0
        self._servers: OrderedDict[str, KnownServer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._servers)

    def get(self, server_name: str) -> KnownServer | None:
        """What is known of a server, which counts as looking it up."""
        server = self._servers.get(server_name)
        if server is not None:
            self._servers.move_to_end(server_name)
        return server

    def take(self, server_name: str, document: KnownDocument) -> bool:
        """Take in a document that was fetched; True if it is the newest of its server now."""
        server = self.get(server_name)
        if server is None:
            server, newest = KnownServer(document), True
            self._servers[server_name] = server
        else:
            self._key_count -= server.key_count
            newest = server.take(document)
        self._key_count += server.key_count
        while len(self._servers) > self._size or (
            self._key_count > AVERAGE_KEYS * self._size and len(self._servers) > 1
        ):
            _, gone = self._servers.popitem(last=False)
            self._key_count -= gone.key_count
        return newest

    def in_grace(self, now_ms: int) -> int:
        """How many servers live on a document that is past its end."""
        return sum(server.in_grace(now_ms) for server in self._servers.values())
