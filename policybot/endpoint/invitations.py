"""Invitations of the policy user: checked, and signed if they are wanted.

What is signed here is a proper invitation of our own user and nothing else, whoever asks.

Specification: Server-Server API, "Inviting to a room".
"""

from collections.abc import Mapping
from typing import Any, Protocol

from policybot.policy.room import ProtectedRoom
from policybot.protocol.canonical_json import InvalidJson, JsonObject
from policybot.protocol.event_hash import (
    content_hash_matches,
    event_id,
    pdu_signing_bytes,
    sign_event,
)
from policybot.protocol.identifier import server_of
from policybot.protocol.pdu import InvalidPdu, Pdu, parse_pdu, room_id_of
from policybot.protocol.room_version import (
    ROOM_VERSIONS,
    RoomVersion,
    UnknownRoomVersion,
    room_version,
    room_version_of,
)
from policybot.protocol.signing import SigningKey

from .errors import (
    BadJson,
    CheckFailed,
    Forbidden,
    IncompatibleRoomVersion,
    InvalidParam,
    MissingParam,
)
from .federation_caller import Authentic
from .sender import EventKeys, SenderCheck, SenderSignature

SENDER_KEY_S = 2.0
"""How long the key of the inviting server is waited for, in seconds."""


class Invitations(Protocol):
    """Who decides about invitations, and joins."""

    def wanted(self, room_id: str, sender: str) -> bool:
        """Whether an invitation of the policy user into this room by this user is to be taken."""
        ...

    def accepted(self, room_id: str) -> None:
        """The invitation into this room is being answered; the inviting server stores it then."""
        ...


class FederationKey(Protocol):
    """The key with which we sign as a server."""

    @property
    def key_id(self) -> str: ...

    @property
    def signing_key(self) -> SigningKey: ...


class InviteUseCase:
    """Answers invitations of ``user_id``, the policy user; of nobody if it is None."""

    def __init__(
        self,
        *,
        user_id: str | None,
        own_key: FederationKey,
        keys: EventKeys,
        rooms: Mapping[str, ProtectedRoom],
        invitations: Invitations,
    ) -> None:
        self._user_id = user_id
        self._own_key = own_key
        self._rooms = rooms
        self._invitations = invitations
        self._sender = SenderCheck(frozenset(), keys, SENDER_KEY_S)

    async def answer(self, asked: Authentic, room_id: str, invite_id: str) -> JsonObject:
        """Answer a request of version 2: the event with our signature. ``room_id`` and
        ``invite_id``, the event's ID, are what the path names.

        Raises:
            MatrixError: it is no proper invitation, or not wanted.
        """
        body = asked.body.value
        name = body.get("room_version")
        if not isinstance(name, str):
            raise MissingParam("The field room_version must be a string.")
        try:
            version = room_version(name)
        except UnknownRoomVersion:
            raise IncompatibleRoomVersion(name) from None
        event = body.get("event")
        if not isinstance(event, dict):
            raise BadJson("The field event must be an object.")
        pdu = self._invitation(event, version, room_id, invite_id, asked.origin)
        if version.room_id_is_create_hash:
            _check_create_event(body.get("invite_room_state"), pdu)
        return await self._signed(pdu, asked)

    async def answer_v1(self, asked: Authentic, room_id: str, invite_id: str) -> JsonObject:
        """Answer a request of version 1, which names no room version: only for room versions 1 and
        2, whose events look alike; see `answer`."""
        version = ROOM_VERSIONS["1"]
        room = self._rooms.get(room_id)
        if room is not None and not room.version.event_id_in_event:
            raise IncompatibleRoomVersion(room.version.name)
        pdu = self._invitation(asked.body.value, version, room_id, invite_id, asked.origin)
        return await self._signed(pdu, asked)

    def _invitation(
        self, event: JsonObject, version: RoomVersion, room_id: str, invite_id: str, origin: str
    ) -> Pdu:
        """The event, if it is an invitation of our user by one of the calling server, with the IDs
        of the path."""
        try:
            pdu = parse_pdu(event, version, room_id)
        except InvalidPdu as error:
            raise BadJson(str(error)) from None
        if pdu.type != "m.room.member" or pdu.content.get("membership") != "invite":
            raise InvalidParam("The event is no invitation.")
        if self._user_id is None or pdu.state_key != self._user_id:
            raise Forbidden("The event invites no user of this server.")
        # Such an invitation need not be signed by the sender's server.
        if "third_party_invite" in pdu.content:
            raise Forbidden("Third-party invitations are not taken here.")
        if pdu.sender_server != origin:
            raise Forbidden("The sender is no user of the calling server.")
        if event_id(event, version) != invite_id:
            raise InvalidParam("The event has another ID than the path names.")
        if version.event_id_in_event and invite_id.partition(":")[2] != origin:
            raise InvalidParam("The event ID is of another server than the sender.")
        return pdu

    async def _signed(self, pdu: Pdu, asked: Authentic) -> JsonObject:
        if not content_hash_matches(pdu):
            raise CheckFailed("The event's content does not match its hash.")
        signature = await self._sender.check(pdu, pdu_signing_bytes(pdu), asked.deadline)
        if signature is not SenderSignature.VALID:
            raise CheckFailed(
                "The signature of the sender's server is wrong or cannot be checked."
            )
        room = self._rooms.get(pdu.room_id)
        if room is None or not self._invitations.wanted(pdu.room_id, pdu.sender):
            raise Forbidden("This policy server is not to join that room.")
        if not _alike(room.version, pdu.version):
            raise InvalidParam("The room is of another version than the request says.")
        name, key = server_of(pdu.state_key or ""), self._own_key
        signed = sign_event(pdu.event, pdu.version, name, key.key_id, key.signing_key)
        self._invitations.accepted(pdu.room_id)
        return signed


def _alike(known: RoomVersion, said: RoomVersion) -> bool:
    """A request of version 1 does not tell room version 1 from 2."""
    return known == said or (known.event_id_in_event and said.event_id_in_event)


def _check_create_event(state: Any, pdu: Pdu) -> None:
    """The room's ID is the hash of its create event, which comes along: so the room is of the
    version that the request says."""
    for event in state if isinstance(state, list) else ():
        if not isinstance(event, dict) or event.get("type") != "m.room.create":
            continue
        try:
            create = parse_pdu(event, pdu.version, pdu.room_id)
            good = (
                "room_id" not in event
                and room_id_of(event) == pdu.room_id
                and room_version_of(create.content) == pdu.version
            )
        except (InvalidPdu, InvalidJson, UnknownRoomVersion):
            good = False
        if good:
            return
        raise InvalidParam("The create event in invite_room_state is not that of the room.")
    raise MissingParam("The create event is missing in invite_room_state.")
