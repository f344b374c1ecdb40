"""A person of the demonstration: a Matrix client as thin as can be, on the raw HTTP API."""

import asyncio
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import ClientResponse, ClientSession
from yarl import URL

from ..protocol.canonical_json import JsonObject
from .timelines import Timelines

WAIT = 20.0
"""Seconds that one waits for an event by default; far more than it takes."""

_LONG_POLL = 10.0
_FILTER = json.dumps(
    {
        "presence": {"types": []},
        "account_data": {"types": []},
        "room": {
            "ephemeral": {"types": []},
            "account_data": {"types": []},
            "state": {"lazy_load_members": True},
            "timeline": {"limit": 10_000},
        },
    }
)


class MatrixRefusal(Exception):
    """A homeserver answered a request with an error."""

    def __init__(self, status: int, errcode: str, error: str) -> None:
        super().__init__(f"{status} {errcode}: {error}")
        self.status = status
        self.errcode = errcode
        self.error = error


class NotSeen(Exception):
    """An event that was waited for did not come; the text tells what came instead."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account on a homeserver, as its registration gives it."""

    user_id: str
    password: str
    access_token: str
    device_id: str


class User:
    """A logged-in user; ``seen`` keeps what /sync brought, so that nothing is missed."""

    def __init__(self, session: ClientSession, homeserver_url: str, account: Account) -> None:
        self.account = account
        self.homeserver_url = homeserver_url
        self.seen = Timelines()
        self._session = session
        self._transactions = itertools.count(1)
        self._since: str | None = None
        self._syncing = asyncio.Lock()

    @property
    def user_id(self) -> str:
        """The Matrix ID."""
        return self.account.user_id

    @property
    def localpart(self) -> str:
        """The Matrix ID's part before the server name."""
        return self.user_id[1:].partition(":")[0]

    @property
    def server(self) -> str:
        """The name of the user's homeserver."""
        return self.user_id.partition(":")[2]

    async def request(
        self,
        method: str,
        *path: str,
        query: Sequence[tuple[str, str]] = (),
        body: Mapping[str, Any] | None = None,
        root: str = "/_matrix/client/v3",
    ) -> JsonObject:
        """Send a request as this user; ``path`` is encoded segment by segment.

        Raises:
            MatrixRefusal: the answer is not a success.
        """
        target = "/".join((root, *(quote(segment, safe="") for segment in path)))
        if query:
            target += "?" + urlencode(query)
        async with self._session.request(
            method,
            URL(self.homeserver_url + target, encoded=True),
            json=body,
            headers={"Authorization": f"Bearer {self.account.access_token}"},
        ) as response:
            answer = await _json_object(response)
            if response.status >= 300:
                raise MatrixRefusal(
                    response.status, str(answer.get("errcode")), str(answer.get("error"))
                )
            return answer

    async def create_room(
        self,
        *,
        name: str | None = None,
        preset: str = "private_chat",
        alias: str | None = None,
        room_version: str | None = None,
        invite: Sequence[str] = (),
        initial_state: Sequence[JsonObject] = (),
        **more: Any,
    ) -> str:
        """Create a room and return its ID. ``alias`` is the local part; ``more`` is sent as is."""
        body = {
            "name": name,
            "preset": preset,
            "room_alias_name": alias,
            "room_version": room_version,
            "invite": list(invite),
            "initial_state": list(initial_state),
            **more,
        }
        given = {key: value for key, value in body.items() if value is not None}
        return str((await self.request("POST", "createRoom", body=given))["room_id"])

    async def join(self, room: str, via: Sequence[str] = ()) -> str:
        """Join a room by ID or alias and return its ID."""
        query = [("via", server) for server in via]
        return str((await self.request("POST", "join", room, query=query, body={}))["room_id"])

    async def leave(self, room_id: str) -> None:
        """Leave a room, or decline the invitation to it."""
        await self.request("POST", "rooms", room_id, "leave", body={})

    async def invite(self, room_id: str, user_id: str) -> None:
        """Invite a user."""
        await self.request("POST", "rooms", room_id, "invite", body={"user_id": user_id})

    async def send_event(self, room_id: str, event_type: str, content: JsonObject) -> str:
        """Send an event and return its ID.

        Raises:
            MatrixRefusal: for instance 400 M_FORBIDDEN with the policy server's own text.
        """
        transaction = f"t{next(self._transactions)}"
        answer = await self.request(
            "PUT", "rooms", room_id, "send", event_type, transaction, body=content
        )
        return str(answer["event_id"])

    async def send_text(self, room_id: str, text: str) -> str:
        """Send a plain text message and return its event ID; raises like ``send_event``."""
        return await self.send_event(
            room_id, "m.room.message", {"msgtype": "m.text", "body": text}
        )

    async def send_state(
        self, room_id: str, event_type: str, content: JsonObject, state_key: str = ""
    ) -> str:
        """Send a state event and return its ID; raises like ``send_event``."""
        answer = await self.request(
            "PUT", "rooms", room_id, "state", event_type, state_key, body=content
        )
        return str(answer["event_id"])

    async def state_event(
        self, room_id: str, event_type: str, state_key: str = ""
    ) -> JsonObject | None:
        """The content of a state event, None if there is no such event."""
        try:
            return await self.request("GET", "rooms", room_id, "state", event_type, state_key)
        except MatrixRefusal as refusal:
            if refusal.status == 404:
                return None
            raise

    async def set_power_level(self, room_id: str, user_id: str, level: int) -> None:
        """Give a user a power level and leave the other levels as they are."""
        content = await self.state_event(room_id, "m.room.power_levels") or {}
        content["users"] = {**content.get("users", {}), user_id: level}
        await self.send_state(room_id, "m.room.power_levels", content)

    async def redact(self, room_id: str, event_id: str, reason: str = "") -> str:
        """Redact an event and return the redaction's ID."""
        transaction = f"t{next(self._transactions)}"
        answer = await self.request(
            "PUT", "rooms", room_id, "redact", event_id, transaction, body={"reason": reason}
        )
        return str(answer["event_id"])

    async def event(self, room_id: str, event_id: str) -> JsonObject | None:
        """An event as the homeserver shows it to this user, None if it does not show it."""
        try:
            return await self.request("GET", "rooms", room_id, "event", event_id)
        except MatrixRefusal as refusal:
            if refusal.status in (403, 404):
                return None
            raise

    async def messages(self, room_id: str, limit: int = 100) -> list[JsonObject]:
        """The latest events of a room, newest first."""
        query = [("dir", "b"), ("limit", str(limit))]
        answer = await self.request("GET", "rooms", room_id, "messages", query=query)
        return list(answer["chunk"])

    async def wait_for_event(
        self,
        room_id: str,
        predicate: Callable[[JsonObject], bool],
        *,
        after: str | None = None,
        deadline: float = WAIT,
    ) -> JsonObject:
        """The first event of the room that fits, of all that were seen or will be seen.

        ``after`` is an event ID: only events that come later in the timeline count.

        Raises:
            NotSeen: no such event within ``deadline`` seconds.
        """
        try:
            async with asyncio.timeout(deadline):
                while True:
                    for event in self.seen.events(room_id, after=after):
                        if predicate(event):
                            return event
                    await self.sync()
        except TimeoutError:
            raise NotSeen(self._not_seen(room_id, after, deadline)) from None

    async def wait_for_event_id(
        self, room_id: str, event_id: str, *, deadline: float = WAIT
    ) -> JsonObject:
        """The event with this ID once it reached this user's client; raises ``NotSeen``."""
        return await self.wait_for_event(
            room_id, lambda event: event["event_id"] == event_id, deadline=deadline
        )

    async def sync(self, long_poll: float = _LONG_POLL) -> None:
        """One /sync: returns as soon as something is new, at the latest after ``long_poll`` s.

        Of several callers at once one asks and all profit.
        """
        since = self._since
        async with self._syncing:
            if self._since != since:
                return
            wait = 0 if since is None else round(long_poll * 1000)
            query = [("filter", _FILTER), ("timeout", str(wait))]
            if since is not None:
                query.append(("since", since))
            answer = await self.request("GET", "sync", query=query)
            self.seen.take(answer)
            self._since = answer["next_batch"]

    def _not_seen(self, room_id: str, after: str | None, deadline: float) -> str:
        latest = [
            f"{event['sender']} {event['type']} {event.get('content', {}).get('body', '')!r}"
            for event in self.seen.events(room_id, after=after)[-5:]
        ]
        return (
            f"{self.user_id} waited {deadline:g} s for an event in {room_id}; "
            f"the latest there: {'; '.join(latest) or 'nothing'}"
        )


async def _json_object(response: ClientResponse) -> JsonObject:
    """The body as a JSON object; what is not one is told as an error text."""
    text = await response.text()
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"errcode": "M_UNKNOWN", "error": text[:200]}
