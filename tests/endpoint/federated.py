"""A policy server with a name of its own, and homeservers that talk to it as to a server."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from urllib.parse import quote

import pytest
from yarl import URL

from policybot.endpoint.federation_routes import FederationRoutes
from policybot.endpoint.routes import PolicyRoutes
from policybot.federation.own_keys import load_own_keys
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.event_hash import event_id
from policybot.protocol.room_version import RoomVersion
from policybot.protocol.signing import SigningKey
from policybot.protocol.xmatrix import authorization_header

from ..protocol.events import NAME, bare_event
from .conftest import Serve
from .scene import (
    CALLER,
    INSTANCE,
    NOW,
    POLICY_KEY,
    ROOM,
    SERVER_KEY_ID,
    V11,
    Reply,
    Scene,
    server_key,
    sign_as,
)

USER = f"@policy:{NAME}"
INVITER = f"@inviter:{CALLER}"
SEND = "/_matrix/federation/v1/send/txn1"
DEVICES = f"/_matrix/federation/v1/user/devices/{quote(USER, safe='')}"
DEVICE_KEYS = "/_matrix/federation/v1/user/keys/query"
ONE_TIME_KEYS = "/_matrix/federation/v1/user/keys/claim"
PROFILE = f"/_matrix/federation/v1/query/profile?user_id={quote(USER, safe='')}"


@dataclass
class Invited:
    """Whose invitations are wanted, by room and sender, and which were accepted."""

    welcome: set[tuple[str, str]] = field(default_factory=lambda: {(ROOM, INVITER)})
    taken: list[str] = field(default_factory=list)

    def wanted(self, room_id: str, sender: str) -> bool:
        return (room_id, sender) in self.welcome

    def accepted(self, room_id: str) -> None:
        self.taken.append(room_id)


class Hinted(list[str]):
    """The rooms whose state is to be read again."""

    def hint(self, room_id: str) -> None:
        self.append(room_id)


class FederatedScene(Scene):
    """A scene whose policy server has server names to itself."""

    def __init__(
        self,
        *,
        names: tuple[str, ...] = (NAME,),
        user_id: str | None = USER,
        contact: str | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(contact=contact, **arguments)
        self.own_keys, _ = load_own_keys(names[0], None, SigningKey(b"f" * 32).seed, NOW)
        self.invited = Invited()
        self.hinted = Hinted()
        self.now = NOW
        self.federation = FederationRoutes(
            users={name: f"@policy:{name}" for name in names},
            user_id=user_id,
            own_keys=self.own_keys,
            keys=self.keys,
            rooms=self.rooms,
            invitations=self.invited,
            hints=self.hinted,
            clock=lambda: self.now,
            instance_id=INSTANCE,
            contact=contact,
        )
        self.routes = PolicyRoutes(
            self.use_case,
            public_key=POLICY_KEY.public_key,
            instance_id=INSTANCE,
            federation=self.federation,
        )

    async def get(self, path: str, host: str = NAME) -> Reply:
        """Ask without any signature."""
        return await self.request("GET", URL(path, encoded=True), headers={"Host": host})

    async def call(
        self,
        method: str,
        path: str,
        content: Any = None,
        *,
        signed: Callable[..., str] | None = None,
        body: Any = None,
        origin: str = CALLER,
    ) -> Reply:
        """Send a request as the server ``origin`` does. ``signed`` makes another header, ``body``
        is sent in place of the content."""
        header = (signed or signed_request)(origin, method, path, content)
        if body is None and content is not None:
            body = json.dumps(content).encode()
        if isinstance(body, bytes):
            body = BytesIO(body)  # what aiohttp wants for large ones
        headers = {"Authorization": header}
        return await self.request(method, URL(path, encoded=True), data=body, headers=headers)

    async def send(self, *pdus: Any, **fields: Any) -> Reply:
        """Send a transaction."""
        return await self.call("PUT", SEND, transaction(*pdus, **fields))

    async def invite(
        self, event: Any, version: RoomVersion = V11, *, path: str = "", **fields: Any
    ) -> Reply:
        """Invite the policy user."""
        path = path or invite_path(event, version)
        content = {"room_version": version.name, "event": event, "invite_room_state": []} | fields
        return await self.call("PUT", path, content)


def signed_request(
    origin: str,
    method: str,
    path: str,
    content: Any,
    *,
    destination: str = NAME,
    key: SigningKey | None = None,
) -> str:
    """The header of a request, as the server signs it."""
    return authorization_header(
        origin, destination, SERVER_KEY_ID, key or server_key(origin), method, path, content
    )


def transaction(*pdus: Any, **fields: Any) -> JsonObject:
    return {"origin": CALLER, "origin_server_ts": NOW, "pdus": list(pdus), **fields}


def state_event(event_type: str, state_key: str = "", **fields: Any) -> JsonObject:
    """A state event as it comes in a transaction."""
    fields = {"sender": INVITER, "room_id": ROOM, **fields}
    event = bare_event(V11, type=event_type, state_key=state_key, **fields)
    return sign_as(event, V11, CALLER)


def invitation(version: RoomVersion = V11, **fields: Any) -> JsonObject:
    """An invitation of the policy user, signed by the sender's server."""
    fields = {
        "type": "m.room.member",
        "state_key": USER,
        "sender": INVITER,
        "room_id": ROOM,
        "content": {"membership": "invite"},
        **fields,
    }
    if version.event_id_in_event:
        fields.setdefault("event_id", f"$invite:{CALLER}")
    sender_server = str(fields["sender"]).partition(":")[2]
    return sign_as(bare_event(version, **fields), version, sender_server)


def invite_path(event: JsonObject, version: RoomVersion, path_version: str = "v2") -> str:
    """The path of an invitation, with its parts encoded as servers do."""
    room_id, invite_id = (
        quote(str(part), safe="") for part in (event["room_id"], event_id(event, version))
    )
    return f"/_matrix/federation/{path_version}/invite/{room_id}/{invite_id}"


@pytest.fixture
async def scene(serve: Serve) -> FederatedScene:
    """Served until the test is over; a module imports it in place of the usual scene."""
    made = FederatedScene()
    await serve(made)
    return made
