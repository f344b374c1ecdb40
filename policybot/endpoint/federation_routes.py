"""What a server with a name of its own answers besides its policy server: as much of the
federation as it takes to be asked by others, and to have one user in the protected rooms.

Specification: Server-Server API.
"""

from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Protocol
from urllib.parse import parse_qsl, unquote

from policybot.policy.room import ProtectedRoom
from policybot.protocol.canonical_json import canonical_json
from policybot.protocol.paths import INSTANCE_HEADER

from .caller import RequestKeys
from .document import JSON, Methods
from .errors import InvalidParam, MissingParam, NoResident, UserUnknown
from .exchange import MAX_BODY_BYTES, Headers, Request, Response
from .federation_caller import FederationCaller
from .invitations import FederationKey, Invitations, InviteUseCase
from .sender import EventKeys
from .server_documents import KeyDocuments, ServerDocuments
from .transactions import MAX_PDUS, Hints, Transactions

MAX_TRANSACTION_BYTES = MAX_PDUS * MAX_BODY_BYTES
MAX_INVITE_BYTES = 1024 * 1024
"""An invitation carries some of the room's state, one whole event each."""

_LIMITS = (
    ("/_matrix/federation/v1/send/", MAX_TRANSACTION_BYTES),
    ("/_matrix/federation/v2/invite/", MAX_INVITE_BYTES),
    ("/_matrix/federation/v1/invite/", MAX_INVITE_BYTES),
)

DISPLAY_NAME = "Policy server"
"""How the policy user is called."""

_MAX_QUERY_FIELDS = 20
_BY_WAY_OF_OTHERS = frozenset({"make_join", "make_leave", "make_knock"})


class OwnServerKeys(FederationKey, KeyDocuments, Protocol):
    """Our federation key, and what publishes it."""


class ServerKeys(RequestKeys, EventKeys, Protocol):
    """What is needed of the keys of other servers."""


class FederationRoutes:
    """The answers of a server with names of its own.

    ``users`` is the policy user by each of these names, of which at least one is there: first the
    present one, then those it had before. ``user_id`` is who may be invited: the present policy
    user, None if the present name is the homeserver's. ``rooms`` are the protected rooms, read
    only. ``clock`` gives milliseconds since 1970. ``contact`` is whom to ask, ``instance_id`` the
    random ID of this installation.
    """

    def __init__(
        self,
        *,
        users: Mapping[str, str],
        user_id: str | None,
        own_keys: OwnServerKeys,
        keys: ServerKeys,
        rooms: Mapping[str, ProtectedRoom],
        invitations: Invitations,
        hints: Hints,
        clock: Callable[[], int],
        contact: str | None,
        instance_id: str,
    ) -> None:
        self._users = frozenset(users.values())
        self._headers = Headers((JSON, (INSTANCE_HEADER, instance_id)))
        self._documents = ServerDocuments(tuple(users), own_keys, clock, contact, instance_id)
        self._caller = FederationCaller(frozenset(users), keys, clock)
        self._transactions = Transactions(self._users, rooms.keys(), hints)
        self._invite = InviteUseCase(
            user_id=user_id, own_key=own_keys, keys=keys, rooms=rooms, invitations=invitations
        )

    def methods(self, path: str) -> Methods | None:
        """The handlers of a path (as sent, without the query) by method, or None."""
        parts = [unquote(part) for part in path.split("/")]
        match parts[1:]:
            case ["_matrix", "federation", "v1", "send", transaction_id] if transaction_id:
                return {"PUT": self._send}
            case ["_matrix", "federation", "v2", "invite", room_id, event_id]:
                return {"PUT": partial(self._invite_v2, room_id, event_id)}
            case ["_matrix", "federation", "v1", "invite", room_id, event_id]:
                return {"PUT": partial(self._invite_v1, room_id, event_id)}
            case ["_matrix", "federation", "v1", "user", "devices", user_id]:
                return {"GET": partial(self._devices, user_id)}
            case ["_matrix", "federation", "v1", "user", "keys", "query"]:
                return {"POST": self._device_keys}
            case ["_matrix", "federation", "v1", "user", "keys", "claim"]:
                return {"POST": self._one_time_keys}
            case ["_matrix", "federation", "v1", "query", "profile"]:
                return {"GET": self._profile}
            case ["_matrix", "federation", "v1", what, _, _] if what in _BY_WAY_OF_OTHERS:
                return {"GET": _elsewhere}
        return self._documents.methods("/".join(parts))

    def body_limit(self, target: str) -> int:
        """The most bytes that the body of a request to this target may have."""
        for start, limit in _LIMITS:
            if target.startswith(start):
                return limit
        return MAX_BODY_BYTES

    async def _send(self, request: Request) -> Response:
        asked = await self._caller.read(request)
        self._transactions.take(asked.body.value)
        # An event that is not named counts as taken.
        return self._json({"pdus": {}})

    async def _invite_v2(self, room_id: str, event_id: str, request: Request) -> Response:
        asked = await self._caller.read(request)
        return self._json({"event": await self._invite.answer(asked, room_id, event_id)})

    async def _invite_v1(self, room_id: str, event_id: str, request: Request) -> Response:
        asked = await self._caller.read(request)
        event = await self._invite.answer_v1(asked, room_id, event_id)
        return self._json([200, {"event": event}])

    async def _devices(self, user_id: str, request: Request) -> Response:
        await self._caller.read(request)
        self._check_user(user_id)
        return self._json({"user_id": user_id, "stream_id": 1, "devices": []})

    async def _device_keys(self, request: Request) -> Response:
        # In encrypted rooms clients want to know of everybody; an error would have them ask again
        # and again.
        asked = await self._caller.read(request)
        users = asked.body.value.get("device_keys")
        ours = self._users.intersection(users if isinstance(users, dict) else ())
        return self._json({"device_keys": {user_id: {} for user_id in ours}})

    async def _one_time_keys(self, request: Request) -> Response:
        await self._caller.read(request)
        return self._json({"one_time_keys": {}})

    async def _profile(self, request: Request) -> Response:
        await self._caller.read(request)
        try:
            query = dict(
                parse_qsl(request.target.partition("?")[2], max_num_fields=_MAX_QUERY_FIELDS)
            )
        except ValueError:
            raise InvalidParam("The query has too many fields.") from None
        if "user_id" not in query:
            raise MissingParam("The query must have a user_id.")
        self._check_user(query["user_id"])
        named = query.get("field", "displayname") == "displayname"
        return self._json({"displayname": DISPLAY_NAME} if named else {})

    def _check_user(self, user_id: str) -> None:
        if user_id not in self._users:
            raise UserUnknown("There is no such user on this server.")

    def _json(self, content: object) -> Response:
        return Response(HTTPStatus.OK, self._headers, canonical_json(content))


async def _elsewhere(request: Request) -> Response:
    raise NoResident("This server hosts no room. Ask another one that is in it.")
