"""The bot's view of its homeserver: raw JSON in and out.

Events are given as they came: one event with odd content must not hide a whole room, as it does
with typed parsers. Every call has a time limit in seconds and raises only `Refused` (4xx),
`TokenRejected` or `HomeserverAway` (no answer: it may have been done all the same).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from mautrix.api import HTTPAPI

from policybot.protocol.canonical_json import JsonObject

from .http import (
    DEFAULT_TIME_LIMIT_S,
    HomeserverAway,
    Refused,
    TokenRejected,
    open_api,
    parse,
    path,
    request,
)
from .raw_event import Decrypt, EventReader, is_event
from .send_gate import Precedence, SendGate

__all__ = [
    "HomeserverAway",
    "Login",
    "MatrixClient",
    "Precedence",
    "Refused",
    "TokenRejected",
    "WhoAmI",
    "open_api",
]

JOIN_TIME_LIMIT_S = 120.0  # a large room over federation
SEND_TIME_LIMIT_S = 60.0  # an ordinary account may send one event in five seconds
READ_TIME_LIMIT_S = 120.0  # whole rooms
SYNC_EXTRA_S = 30.0
FIRST_SYNC_TIME_LIMIT_S = 300.0


@dataclass(frozen=True, slots=True)
class WhoAmI:
    """Whom the access token belongs to."""

    user_id: str
    device_id: str | None


@dataclass(frozen=True, slots=True)
class Login:
    """What a login gives."""

    user_id: str
    device_id: str
    access_token: str = field(repr=False)


class MatrixClient:
    """Calls of the client-server API as one account; ``decrypted`` reads encrypted messages.

    Events wait for their turn together, since homeservers limit them together; what has no
    ``precedence`` of its own counts as asked for.
    """

    def __init__(self, api: HTTPAPI) -> None:
        self._api = api
        self.decrypted: Decrypt | None = None
        self._gate = SendGate()

    async def close(self) -> None:
        """Close the connections."""
        await self._api.session.close()

    def use_token(self, access_token: str) -> None:
        """Send this access token from now on."""
        self._api.token = access_token

    # --- account ---

    async def login(
        self,
        user_id: str,
        password: str,
        device_id: str | None = None,
        *,
        time_limit: float = DEFAULT_TIME_LIMIT_S,
    ) -> Login:
        """Log in with a password; ``device_id`` None makes a new device. The token is not used
        until `use_token` is called."""
        content: JsonObject = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user_id},
            "password": password,
            "initial_device_display_name": "policybot",
        }
        if device_id is not None:
            content["device_id"] = device_id
        answer = await self._json("POST", path("login"), content, time_limit=time_limit)
        return Login(
            _text(answer, "user_id"), _text(answer, "device_id"), _text(answer, "access_token")
        )

    async def whoami(self, *, time_limit: float = DEFAULT_TIME_LIMIT_S) -> WhoAmI:
        """Ask whose token this is."""
        answer = await self._json("GET", path("account", "whoami"), time_limit=time_limit)
        device_id = answer.get("device_id")
        return WhoAmI(_text(answer, "user_id"), device_id if isinstance(device_id, str) else None)

    # --- rooms ---

    async def resolve_alias(
        self, alias: str, *, time_limit: float = DEFAULT_TIME_LIMIT_S
    ) -> tuple[str, tuple[str, ...]]:
        """The room ID behind an alias, and servers that know the room."""
        answer = await self._json("GET", path("directory", "room", alias), time_limit=time_limit)
        return _text(answer, "room_id"), _texts(answer.get("servers"))

    async def join(
        self,
        room_id_or_alias: str,
        via: Sequence[str] = (),
        *,
        time_limit: float = JOIN_TIME_LIMIT_S,
    ) -> str:
        """Join a room through one of the servers ``via``; returns the room ID."""
        url = path("join", room_id_or_alias)
        # server_name is the name of the parameter before Matrix v1.12
        query = [(name, server) for name in ("via", "server_name") for server in via]
        answer = await self._json("POST", url, {}, query=query, time_limit=time_limit)
        return _text(answer, "room_id")

    async def leave(self, room_id: str, *, time_limit: float = DEFAULT_TIME_LIMIT_S) -> None:
        """Leave a room or decline its invitation."""
        await self._json("POST", path("rooms", room_id, "leave"), {}, time_limit=time_limit)

    async def invite(
        self, room_id: str, user_id: str, *, time_limit: float = DEFAULT_TIME_LIMIT_S
    ) -> None:
        """Invite somebody."""
        content = {"user_id": user_id}
        await self._json("POST", path("rooms", room_id, "invite"), content, time_limit=time_limit)

    async def joined_rooms(self, *, time_limit: float = DEFAULT_TIME_LIMIT_S) -> tuple[str, ...]:
        """The IDs of all rooms that the bot is in."""
        answer = await self._json("GET", path("joined_rooms"), time_limit=time_limit)
        return _texts(answer.get("joined_rooms"))

    async def joined_members(
        self, room_id: str, *, time_limit: float = READ_TIME_LIMIT_S
    ) -> dict[str, JsonObject]:
        """The joined members: user ID to profile (``display_name``, ``avatar_url``; unchecked)."""
        url = path("rooms", room_id, "joined_members")
        joined = (await self._json("GET", url, time_limit=time_limit)).get("joined")
        if not isinstance(joined, dict):
            raise HomeserverAway("answered without the field joined")
        return {
            user_id: profile if isinstance(profile, dict) else {}
            for user_id, profile in joined.items()
        }

    async def create_room(
        self,
        *,
        name: str,
        topic: str = "",
        invite: Sequence[str] = (),
        preset: str = "private_chat",
        room_alias_name: str | None = None,
        room_version: str | None = None,
        creation_content: Mapping[str, Any] | None = None,
        initial_state: Iterable[Mapping[str, Any]] = (),
        power_level_content_override: Mapping[str, Any] | None = None,
        time_limit: float = SEND_TIME_LIMIT_S,
    ) -> str:
        """Create a room and return its ID. What is left out is left to the homeserver."""
        content: JsonObject = {"name": name, "preset": preset}
        given = {
            "topic": topic,
            "invite": list(invite),
            "room_alias_name": room_alias_name,
            "room_version": room_version,
            "creation_content": dict(creation_content or {}),
            "initial_state": [dict(event) for event in initial_state],
            "power_level_content_override": dict(power_level_content_override or {}),
        }
        content |= {key: value for key, value in given.items() if value}
        answer = await self._json("POST", path("createRoom"), content, time_limit=time_limit)
        return _text(answer, "room_id")

    # --- events ---

    async def state_event(
        self,
        room_id: str,
        event_type: str,
        state_key: str = "",
        *,
        time_limit: float = DEFAULT_TIME_LIMIT_S,
    ) -> JsonObject | None:
        """The full state event (with sender and event ID), or None if the room has none."""
        url = _state_path(room_id, event_type, state_key)
        query = (("format", "event"),)
        try:
            event = await self._json("GET", url, query=query, time_limit=time_limit)
        except Refused as error:
            if error.status == 404 and error.errcode == "M_NOT_FOUND":
                return None
            raise
        if not is_event(event):
            raise HomeserverAway("answered with something that is not a full state event")
        return event

    async def read_state(
        self,
        room_id: str,
        take: Callable[[JsonObject], None],
        *,
        time_limit: float = READ_TIME_LIMIT_S,
    ) -> None:
        """Give ``take`` all state events of a room one by one, while they come; those that are no
        events are left out. If this raises, some may have been given already."""
        reader, url = EventReader(take), path("rooms", room_id, "state")
        try:
            await request(self._api, "GET", url, time_limit=time_limit, take=reader.feed)
            reader.end()
        except (ValueError, RecursionError):
            raise HomeserverAway("answered with something that is not a list") from None

    async def event(
        self, room_id: str, event_id: str, *, time_limit: float = DEFAULT_TIME_LIMIT_S
    ) -> JsonObject:
        """One event of a room."""
        return await self._json(
            "GET", path("rooms", room_id, "event", event_id), time_limit=time_limit
        )

    async def put_state(
        self,
        room_id: str,
        event_type: str,
        state_key: str,
        content: Mapping[str, Any],
        *,
        time_limit: float = SEND_TIME_LIMIT_S,
    ) -> str:
        """Set a state event and return its ID."""
        url = _state_path(room_id, event_type, state_key)
        return await self._put_event(url, content, Precedence.ASKED, time_limit)

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
        """Send an event and return its ID. Sent again with the same ``transaction_id``, the
        homeserver drops the double and gives the first one's ID."""
        url = path("rooms", room_id, "send", event_type, transaction_id)
        return await self._put_event(url, content, precedence, time_limit)

    async def _put_event(
        self, url: str, content: Mapping[str, Any], precedence: Precedence, time_limit: float
    ) -> str:
        body = await request(
            self._api,
            "PUT",
            url,
            content,
            time_limit=time_limit,
            gate=self._gate,
            precedence=precedence,
        )
        return _text(parse(body), "event_id")

    async def send_notice(
        self,
        room_id: str,
        text: str,
        html: str,
        *,
        transaction_id: str,
        reply_to: str | None = None,
        replaces: str | None = None,
        extra: Mapping[str, Any] = MappingProxyType({}),
        precedence: Precedence = Precedence.ASKED,
        time_limit: float = SEND_TIME_LIMIT_S,
    ) -> str:
        """Send an ``m.notice`` that pings nobody. ``reply_to`` is the event ID it answers,
        ``replaces`` that of an own notice, whose text this one edits; ``extra`` are further
        fields of its content."""
        content = {**extra, **notice_content(text, html)}
        if replaces is not None:
            content |= notice_content(f"* {text}", f"* {html}")
            content["m.new_content"] = notice_content(text, html)
            content["m.relates_to"] = {"rel_type": "m.replace", "event_id": replaces}
        elif reply_to is not None:
            content["m.relates_to"] = {"m.in_reply_to": {"event_id": reply_to}}
        return await self.send(
            room_id,
            "m.room.message",
            content,
            transaction_id=transaction_id,
            precedence=precedence,
            time_limit=time_limit,
        )

    async def react(
        self,
        room_id: str,
        event_id: str,
        key: str,
        *,
        transaction_id: str,
        time_limit: float = SEND_TIME_LIMIT_S,
    ) -> str:
        """React to an event with ``key``, an emoji; returns the ID of the reaction."""
        relation = {"rel_type": "m.annotation", "event_id": event_id, "key": key}
        return await self.send(
            room_id,
            "m.reaction",
            {"m.relates_to": relation},
            transaction_id=transaction_id,
            precedence=Precedence.UNASKED,
            time_limit=time_limit,
        )

    # --- sync ---

    async def upload_filter(
        self,
        user_id: str,
        definition: Mapping[str, Any],
        *,
        time_limit: float = DEFAULT_TIME_LIMIT_S,
    ) -> str:
        """Store a filter for ``/sync`` and return its ID."""
        url = path("user", user_id, "filter")
        answer = await self._json("POST", url, definition, time_limit=time_limit)
        return _text(answer, "filter_id")

    async def sync(self, since: str | None, filter_id: str, timeout_ms: int) -> JsonObject:
        """What happened since the position ``since`` (None: the rooms as they are now).

        The homeserver waits up to ``timeout_ms`` for something to happen.
        """
        query = [("filter", filter_id), ("timeout", str(timeout_ms))]
        time_limit = FIRST_SYNC_TIME_LIMIT_S
        if since is not None:
            query.append(("since", since))
            time_limit = timeout_ms / 1000 + SYNC_EXTRA_S
        return await self._json("GET", path("sync"), query=query, time_limit=time_limit)

    async def _json(
        self,
        method: str,
        url: str,
        content: Mapping[str, Any] | None = None,
        *,
        query: Sequence[tuple[str, str]] = (),
        time_limit: float,
    ) -> JsonObject:
        return parse(await request(self._api, method, url, content, query, time_limit=time_limit))


def notice_content(text: str, html: str) -> JsonObject:
    """The content of an ``m.notice`` in both forms that mentions nobody."""
    return {
        "msgtype": "m.notice",
        "body": text,
        "format": "org.matrix.custom.html",
        "formatted_body": html,
        "m.mentions": {},
    }


def _state_path(room_id: str, event_type: str, state_key: str) -> str:
    parts = ("rooms", room_id, "state", event_type)
    return path(*parts, state_key) if state_key else path(*parts)


def _text(answer: JsonObject, key: str) -> str:
    value = answer.get(key)
    if not isinstance(value, str):
        raise HomeserverAway(f"answered without the field {key}")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()
