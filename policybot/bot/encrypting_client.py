"""The bot's view of its homeserver through a client that somebody else runs, with its encryption.

Keys, sessions and their storage are that client's. Here messages into encrypted rooms are sealed
before they are sent, and messages from there are opened.
"""

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar, cast

from mautrix.client import Client
from mautrix.errors import DecryptionError, EncryptionError, MatrixError, SessionNotFound
from mautrix.types import EncryptedEvent, EventType, RoomID, SerializerError

from policybot.protocol.canonical_json import JsonObject

from .client import SEND_TIME_LIMIT_S, MatrixClient
from .http import HomeserverAway
from .raw_event import is_event
from .send_gate import Precedence

T = TypeVar("T")

KEY_WAIT_S = 10.0
"""How long the key to a message is waited for: it may come after the message."""

log = logging.getLogger("policybot.encryption")


class EncryptingClient(MatrixClient):
    """Calls as the account of ``client``, which is neither started nor closed here."""

    def __init__(self, client: Client, *, key_wait_s: float = KEY_WAIT_S) -> None:
        super().__init__(client.api)
        self._encrypts = client.crypto_enabled
        self.decrypted = self._decrypted if self._encrypts else None
        self._client = client
        self._key_wait_s = key_wait_s
        self._tasks: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        """Wait for what is being encrypted or decrypted."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def send(
        self,
        room_id: str,
        event_type: str,
        content: Mapping[str, Any],
        *,
        transaction_id: str,
        precedence: Precedence = Precedence.ASKED,
        time_limit: float = SEND_TIME_LIMIT_S,
    ) -> str:
        """Send an event, encrypted if the room is. Clients send reactions in the clear."""
        if self._encrypts and event_type != "m.reaction":
            try:
                async with asyncio.timeout(time_limit):
                    sealed = await self._uncut(self._seal(room_id, event_type, content))
            except (MatrixError, TimeoutError, OSError) as error:
                reason = str(error) or type(error).__name__
                log.warning("A message to %s could not be encrypted: %s", room_id, reason)
                raise HomeserverAway(f"could not be encrypted ({reason})") from error
            if sealed is not None:
                event_type, content = "m.room.encrypted", sealed
        return await super().send(
            room_id,
            event_type,
            content,
            transaction_id=transaction_id,
            precedence=precedence,
            time_limit=time_limit,
        )

    async def _decrypted(self, room_id: str, event: JsonObject) -> JsonObject | None:
        """The message in an ``m.room.encrypted`` event, or None if it cannot be read."""
        try:
            sealed = EncryptedEvent.deserialize(cast(Any, {**event, "room_id": room_id}))
            opened = await self._open(sealed)
        except (DecryptionError, MatrixError, SerializerError, OSError, ValueError) as error:
            log.warning("A message in %s cannot be decrypted: %s", room_id, error)
            return None
        clear = {**event, "type": str(opened.type), "content": opened.content.serialize()}
        return clear if is_event(clear) else None

    async def _open(self, sealed: EncryptedEvent) -> Any:
        crypto = self._client.crypto
        if crypto is None:
            raise DecryptionError("the client was changed; stop and start the instance")
        try:
            return await self._uncut(crypto.decrypt_megolm_event(sealed))
        except SessionNotFound:
            session = sealed.content.session_id
            await crypto.wait_for_session(sealed.room_id, session, timeout=self._key_wait_s)
            return await self._uncut(crypto.decrypt_megolm_event(sealed))

    async def _seal(
        self, room_id: str, event_type: str, content: Mapping[str, Any]
    ) -> JsonObject | None:
        """The content in encrypted form; None if the room is not encrypted."""
        if not self._client.crypto_enabled:
            # Never in the clear instead.
            raise EncryptionError("the client was changed; stop and start the instance")
        room = RoomID(room_id)
        store = self._client.state_store
        assert store is not None  # there is one where there is encryption
        encrypted = await store.is_encrypted(room)
        if encrypted is None:
            # Through the client, which notes the algorithm.
            event = await self.state_event(room_id, "m.room.encryption")
            encrypted = event is not None
            if event is not None:
                await self._client.get_state_event(room, EventType.ROOM_ENCRYPTION)
        if not encrypted:
            return None
        sealed = await self._client.encrypt(room, EventType.find(event_type), cast(Any, content))
        return cast(JsonObject, sealed.serialize())

    async def _uncut(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work to its end even if its caller is cancelled: it writes to a database that
        does not survive a transaction which is cut."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)
