"""Messages into encrypted rooms are sealed, or not sent at all; a stand-in seals for mautrix's
client, which needs olm."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from mautrix.client import Client
from mautrix.errors import EncryptionError, SessionNotFound
from mautrix.types import EncryptedMegolmEventContent, Event, IdentityKey, SessionID

from policybot.bot.client import HomeserverAway, open_api
from policybot.bot.encrypting_client import EncryptingClient
from policybot.protocol.canonical_json import JsonObject

from .conftest import ALICE, BOT
from .fake_homeserver import FakeHomeserver

SEALED: JsonObject = {
    "type": "m.room.encrypted",
    "event_id": "$sealed",
    "sender": ALICE,
    "origin_server_ts": 1,
    "content": {
        "algorithm": "m.megolm.v1.aes-sha2",
        "ciphertext": "?",
        "session_id": "session",
        "sender_key": "key",
        "device_id": "DEVICE",
    },
}
ENCRYPTION = {"algorithm": "m.megolm.v1.aes-sha2"}


class Crypto:
    """Opens messages once it has the key, which comes when it is waited for."""

    def __init__(self) -> None:
        self.has_key = True
        self.comes = True
        self.opened: JsonObject = {"msgtype": "m.text", "body": "!policy status"}

    async def decrypt_megolm_event(self, sealed: Any) -> Any:
        if not self.has_key:
            raise SessionNotFound(SessionID("session"), IdentityKey("key"))
        event = {**SEALED, "room_id": "!r", "type": "m.room.message", "content": self.opened}
        return Event.deserialize(cast(Any, event))

    async def wait_for_session(self, room_id: str, session_id: str, **_: float) -> bool:
        self.has_key = self.comes
        return self.comes


class StandIn:
    """mautrix's client, as far as it is used."""

    def __init__(self, homeserver: FakeHomeserver) -> None:
        self.api = open_api(homeserver.url, homeserver.token(BOT))
        self.crypto_enabled = True
        self.crypto = Crypto()
        self.known: dict[str, bool] = {}
        self.fault: Exception | None = None
        self.go = asyncio.Event()
        self.go.set()
        self.sealed = 0

    @property
    def state_store(self) -> "StandIn":
        return self

    async def is_encrypted(self, room_id: str) -> bool | None:
        return self.known.get(room_id)

    async def get_state_event(self, room_id: str, event_type: Any) -> None:
        self.known[room_id] = True

    async def encrypt(self, room_id: str, event_type: Any, content: Any) -> Any:
        await self.go.wait()
        if self.fault is not None:
            raise self.fault
        self.sealed += 1
        return EncryptedMegolmEventContent(ciphertext="?", session_id=SessionID("session"))


@pytest.fixture
async def stand_in(homeserver: FakeHomeserver) -> AsyncIterator[StandIn]:
    stand_in = StandIn(homeserver)
    yield stand_in
    await stand_in.api.session.close()


@pytest.fixture
async def client(stand_in: StandIn) -> AsyncIterator[EncryptingClient]:
    client = EncryptingClient(cast(Client, stand_in), key_wait_s=0.0)
    yield client
    await client.close()


async def send(client: EncryptingClient, room_id: str, time_limit: float = 60.0) -> None:
    await client.send_notice(room_id, "hush", "hush", transaction_id="1", time_limit=time_limit)


async def test_only_encrypted_rooms_get_sealed_messages(
    homeserver: FakeHomeserver, stand_in: StandIn, client: EncryptingClient
) -> None:
    plain, secret = homeserver.create_room(BOT), homeserver.create_room(BOT)
    await homeserver.set_state(secret, BOT, "m.room.encryption", ENCRYPTION)
    for room_id in (plain, secret):
        await send(client, room_id)
        await client.react(room_id, "$event", "👀", transaction_id="2")
    types = {
        room_id: [request.path.split("/")[-2] for request in homeserver.calls("PUT", room_id)]
        for room_id in (plain, secret)
    }
    assert types == {
        plain: ["m.room.message", "m.reaction"],
        secret: ["m.room.encrypted", "m.reaction"],
    }
    # From now on the client that seals knows it.
    assert stand_in.known == {secret: True}


async def test_what_cannot_be_sealed_is_not_sent(
    homeserver: FakeHomeserver, stand_in: StandIn, client: EncryptingClient
) -> None:
    room_id = homeserver.create_room(BOT)
    stand_in.known[room_id] = True
    stand_in.fault = EncryptionError("no session")
    with pytest.raises(HomeserverAway, match=r"could not be encrypted \(no session\)"):
        await send(client, room_id)
    assert not homeserver.calls("PUT", room_id)


async def test_sealing_is_never_cut(
    homeserver: FakeHomeserver, stand_in: StandIn, client: EncryptingClient
) -> None:
    room_id = homeserver.create_room(BOT)
    stand_in.known[room_id] = True
    stand_in.go.clear()
    with pytest.raises(HomeserverAway, match="could not be encrypted"):
        await send(client, room_id, time_limit=0.0)
    closing = asyncio.create_task(client.close())
    await asyncio.sleep(0)
    assert not closing.done()
    stand_in.go.set()
    await closing
    assert stand_in.sealed == 1


async def test_a_message_is_read_also_if_its_key_comes_after_it(
    stand_in: StandIn, client: EncryptingClient
) -> None:
    assert client.decrypted is not None
    expected = {**SEALED, "type": "m.room.message", "content": stand_in.crypto.opened}
    assert await client.decrypted("!room:example.org", SEALED) == expected
    stand_in.crypto.has_key = False
    assert await client.decrypted("!room:example.org", SEALED) == expected


async def test_a_message_without_a_key_is_left_out(
    stand_in: StandIn, client: EncryptingClient, caplog: pytest.LogCaptureFixture
) -> None:
    assert client.decrypted is not None
    stand_in.crypto.has_key = stand_in.crypto.comes = False
    assert await client.decrypted("!room:example.org", SEALED) is None
    assert "cannot be decrypted" in caplog.text
    assert await client.decrypted("!room:example.org", {**SEALED, "content": {}}) is None


async def test_a_client_that_was_changed_sends_nothing_in_the_clear(
    homeserver: FakeHomeserver, stand_in: StandIn, client: EncryptingClient
) -> None:
    room_id = homeserver.create_room(BOT)
    stand_in.crypto_enabled = False
    with pytest.raises(HomeserverAway, match="the client was changed"):
        await send(client, room_id)
    assert not homeserver.calls("PUT", room_id)


async def test_without_encryption_nothing_is_promised(stand_in: StandIn) -> None:
    stand_in.crypto_enabled = False
    assert EncryptingClient(cast(Client, stand_in)).decrypted is None
