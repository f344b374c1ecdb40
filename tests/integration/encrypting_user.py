"""A person whose client encrypts: mautrix's own, with python-olm."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mautrix.client import Client
from mautrix.client.state_store import MemoryStateStore
from mautrix.crypto import OlmMachine
from mautrix.crypto import StateStore as CryptoStateStore
from mautrix.crypto.store import MemoryCryptoStore
from mautrix.types import (
    Event,
    EventType,
    MessageType,
    RoomID,
    TextMessageEventContent,
    UserID,
)

from policybot.demo.user import User

_DEADLINE = 30.0


class _StateStore(MemoryStateStore, CryptoStateStore):  # type: ignore[misc]
    """What the crypto machine asks for, in memory."""

    async def find_shared_rooms(self, user_id: UserID) -> list[RoomID]:
        """The encrypted rooms with that user."""
        return [
            room_id
            for room_id, members in self.members.items()
            if user_id in members and self.encryption.get(room_id)
        ]


class EncryptingUser:
    """Sends commands to the bot and reads what it says, in an encrypted room."""

    def __init__(self, client: Client, room_id: str) -> None:
        self._client = client
        self._room_id = RoomID(room_id)
        self._said: list[str] = []
        self._heard = asyncio.Event()
        client.add_event_handler(EventType.ROOM_MESSAGE, self._hear)

    async def _hear(self, event: Event) -> None:
        # Only what was decrypted has this mark.
        if event.sender != self._client.mxid and event.get("mautrix", {}).get("was_encrypted"):
            self._said.append(event.content.body)
            self._heard.set()

    async def send(self, text: str) -> None:
        """Send a message, encrypted."""
        content = TextMessageEventContent(msgtype=MessageType.TEXT, body=text)
        await self._client.send_message_event(self._room_id, EventType.ROOM_MESSAGE, content)

    async def heard(self, *words: str) -> str:
        """The first message with all these words; what came until then is forgotten."""
        async with asyncio.timeout(_DEADLINE):
            while True:
                while self._said:
                    text = self._said.pop(0)
                    if all(word in text for word in words):
                        return text
                self._heard.clear()
                await self._heard.wait()


@asynccontextmanager
async def encrypting(user: User, room_id: str) -> AsyncIterator[EncryptingUser]:
    """The user with a client that encrypts and follows the room."""
    account = user.account
    store = _StateStore()
    client = Client(
        mxid=UserID(account.user_id),
        device_id=account.device_id,
        base_url=user.homeserver_url,
        token=account.access_token,
        state_store=store,
    )
    machine = OlmMachine(client, MemoryCryptoStore(account.user_id, "key"), store)
    client.crypto = machine
    await machine.load()
    await machine.share_keys()
    person = EncryptingUser(client, room_id)
    syncing = client.start(None)
    try:
        yield person
    finally:
        client.stop()
        await asyncio.gather(syncing, return_exceptions=True)
        await client.api.session.close()
