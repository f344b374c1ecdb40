"""A small homeserver that speaks the client-server API over real HTTP, with faults on demand.

Tests act for other people by its methods and look at rooms directly; the bot talks HTTP to it.
It checks membership and power levels, so a refused command is refused here as well.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self
from urllib.parse import unquote

from aiohttp import web

from policybot.protocol.signing import SigningKey, sign_json

from .fake_room import EPOCH_MS, Clock, FakeRoom, JsonObject, hash_id
from .fake_sync import rooms_since
from .fault import Fault, Request
from .send_limit import SendLimit

__all__ = ["FakeHomeserver", "Fault", "Request"]

DEADLINE_S = 10.0

TakeInvitation = Callable[[str, str, str], bool]
"""What the server of an invited user answers: given the room's ID, the user and the inviter."""


class _MatrixError(Exception):
    def __init__(
        self, status: int, errcode: str, message: str = "refused by the test", **extra: Any
    ) -> None:
        super().__init__(message)
        body = {"errcode": errcode, "error": message, **extra}
        self.answer = web.json_response(body, status=status)


class FakeHomeserver:
    """Use as an async context manager; ``url`` is where it listens on loopback.

    Whoever logs in gets an account; ``token(user_id)`` gives one at once. ``epoch_ms`` is the
    time of its first event.
    """

    def __init__(self, name: str = "example.org", *, epoch_ms: int = EPOCH_MS) -> None:
        self.name = name
        self.rooms: dict[str, FakeRoom] = {}
        self.aliases: dict[str, str] = {}
        self.passwords: dict[str, str] = {}
        self.requests: list[Request] = []
        self.signing_key = SigningKey.generate()
        self.key_documents: dict[str, JsonObject] = {}
        self.creatable = True
        self.event_age_ms: int | None = None
        self.encrypts_new_rooms = False
        self.send_limit: SendLimit | None = None
        self.take_invitation: TakeInvitation | None = None
        self.url = ""
        self._clock = Clock(epoch_ms)
        self._tokens: dict[str, tuple[str, str]] = {}
        self._transactions: dict[tuple[str, str], str] = {}
        self._filters: dict[str, JsonObject] = {}
        self._faults: list[tuple[str, str, Fault, list[int]]] = []
        self._gates: list[tuple[str, str, asyncio.Event]] = []
        self._changed = asyncio.Condition()
        self._stopping = asyncio.Event()
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._serve), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._stopping.set()
        await self._notify()
        assert self._runner is not None
        await self._runner.cleanup()

    # --- what tests do ---

    def token(self, user_id: str, device_id: str = "TEST") -> str:
        """A new access token."""
        token = f"token-{len(self._tokens)}-{user_id}"
        self._tokens[token] = (user_id, device_id)
        return token

    def revoke(self, token: str) -> None:
        """Log the device out."""
        del self._tokens[token]

    def fault(self, method: str, path_part: str, *faults: Fault) -> None:
        """Let the next requests whose decoded path contains ``path_part`` fail, in order;
        ``method`` "" means any."""
        for fault in faults:
            self._faults.append((method, path_part, fault, [fault.times, fault.skip]))

    def gate(self, method: str, path_part: str) -> asyncio.Event:
        """Let the next request for a path wait until the event is set."""
        opened = asyncio.Event()
        self._gates.append((method, path_part, opened))
        return opened

    def gates_left(self) -> int:
        """How many gates still wait for their request."""
        return len(self._gates)

    def mend(self) -> None:
        """Take all faults away."""
        self._faults.clear()

    def faults_left(self) -> int:
        """How many faults still wait for their request."""
        return len(self._faults)

    def forget_filters(self) -> None:
        """Lose the filters, as after a restored backup."""
        self._filters.clear()

    def create_room(
        self,
        creator: str,
        *,
        version: str = "12",
        room_id: str | None = None,
        alias: str | None = None,
        name: str = "",
        join_rule: str = "invite",
        members: Iterable[str] = (),
        power_levels: Mapping[str, Any] | None = None,
        creation_content: Mapping[str, Any] | None = None,
    ) -> str:
        """Make a room with these joined members; returns its ID."""
        if room_id is None:
            number = f"room {len(self.rooms)}"
            plain = f"!room{len(self.rooms)}:{self.name}"
            room_id = hash_id("!", number) if version == "12" else plain
        room = self.rooms[room_id] = FakeRoom(room_id, version, self._clock)
        content = {**(creation_content or {}), "room_version": version}
        room.append(creator, "m.room.create", content, "")
        room.append(creator, "m.room.member", {"membership": "join"}, creator)
        users = {} if version == "12" else {creator: 100}
        levels = {"users": users, "users_default": 0, "events_default": 0, "state_default": 50}
        levels |= {"kick": 50, "ban": 50, "redact": 50, "invite": 0, "events": {}}
        room.append(creator, "m.room.power_levels", levels | dict(power_levels or {}), "")
        room.append(creator, "m.room.join_rules", {"join_rule": join_rule}, "")
        if name:
            room.append(creator, "m.room.name", {"name": name}, "")
        if alias:
            self.aliases[alias] = room_id
            room.append(creator, "m.room.canonical_alias", {"alias": alias}, "")
        for member in members:
            room.append(member, "m.room.member", {"membership": "join"}, member)
        return room_id

    async def set_state(
        self, room_id: str, sender: str, event_type: str, content: JsonObject, state_key: str = ""
    ) -> str:
        """Set a state event, whoever may; returns its ID."""
        return await self._append(room_id, sender, event_type, content, state_key)

    async def set_membership(
        self, room_id: str, user_id: str, membership: str, sender: str | None = None
    ) -> str:
        """Let somebody join, leave, be invited or banned; returns the event's ID."""
        content = {"membership": membership}
        return await self._append(room_id, sender or user_id, "m.room.member", content, user_id)

    async def invite(self, room_id: str, user_id: str, sender: str) -> None:
        """Invite somebody, if the inviter may and, of another server, that server takes it."""
        room = self.rooms[room_id]
        if not room.may_invite(sender) or room.membership(user_id) in ("join", "ban"):
            raise _MatrixError(403, "M_FORBIDDEN", "may not invite")
        elsewhere = not user_id.endswith(f":{self.name}")
        if elsewhere and self.take_invitation is not None:
            if not self.take_invitation(room_id, user_id, sender):
                raise _MatrixError(403, "M_FORBIDDEN", "the invitation was not taken")
        await self.set_membership(room_id, user_id, "invite", sender)

    async def say(self, room_id: str, sender: str, body: str, **extra: Any) -> str:
        """Send a text message; returns its event ID."""
        content = {"msgtype": "m.text", "body": body, **extra}
        return await self._append(room_id, sender, "m.room.message", content)

    async def send(self, room_id: str, sender: str, event_type: str, content: JsonObject) -> str:
        """Send any event that is no state event; returns its ID."""
        return await self._append(room_id, sender, event_type, content)

    async def react(self, room_id: str, sender: str, event_id: str, key: str) -> str:
        """Send a reaction; returns its event ID."""
        relation = {"rel_type": "m.annotation", "event_id": event_id, "key": key}
        return await self._append(room_id, sender, "m.reaction", {"m.relates_to": relation})

    def messages(self, room_id: str, sender: str) -> list[JsonObject]:
        """The contents of somebody's messages in a room, oldest first."""
        return [
            event["content"]
            for event in self.rooms[room_id].since(0)
            if event["type"] == "m.room.message" and event["sender"] == sender
        ]

    def shown(self, room_id: str, sender: str) -> list[JsonObject]:
        """The contents of somebody's messages as clients show them: edits take the place of what
        they edit."""
        contents: dict[str, JsonObject] = {}
        for event in self.rooms[room_id].since(0):
            if event["type"] == "m.room.message" and event["sender"] == sender:
                relation = event["content"].get("m.relates_to", {})
                if relation.get("rel_type") == "m.replace":
                    contents[relation["event_id"]] = event["content"]["m.new_content"]
                else:
                    contents[event["event_id"]] = event["content"]
        return list(contents.values())

    @property
    def epoch_ms(self) -> int:
        """The time of the first event."""
        return self._clock.epoch_ms

    @property
    def position(self) -> int:
        """The position of the latest event, as sync counts."""
        return self._clock.position

    def calls(self, method: str, path_part: str) -> list[Request]:
        """The requests that came for a path."""
        return [r for r in self.requests if r.method == method and path_part in r.path]

    async def wait_for(self, condition: Callable[[], Any]) -> None:
        """Wait until something holds after an event or a request, or fail after a deadline."""
        async with asyncio.timeout(DEADLINE_S), self._changed:
            await self._changed.wait_for(condition)

    # --- what the bot asks ---

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        raw_path = request.raw_path.partition("?")[0]
        text = await request.text()
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        user_id = self._tokens.get(token, (None, ""))[0]
        query = {key: tuple(request.query.getall(key)) for key in request.query}
        seen = Request(
            request.method,
            unquote(raw_path),
            raw_path,
            query,
            json.loads(text) if text else None,
            user_id,
        )
        self.requests.append(seen)
        await self._notify()
        await self._pass_gate(seen)
        fault = self._fault_for(seen)
        if fault is not None and not fault.after_the_deed:
            return await self._fail(fault, request)
        try:
            answer = await self._answer(seen)
            response = answer if isinstance(answer, web.Response) else web.json_response(answer)
        except _MatrixError as error:
            response = error.answer
        return response if fault is None else await self._fail(fault, request)

    async def _pass_gate(self, request: Request) -> None:
        for gate in self._gates:
            method, path_part, opened = gate
            if method == request.method and path_part in request.path:
                self._gates.remove(gate)
                await self._notify()
                await opened.wait()
                return

    def _fault_for(self, request: Request) -> Fault | None:
        for entry in self._faults:
            method, path_part, fault, left = entry
            if method in ("", request.method) and path_part in request.path:
                if left[1] > 0:
                    left[1] -= 1
                    continue
                left[0] -= 1
                if left[0] == 0:
                    self._faults.remove(entry)
                return fault
        return None

    async def _fail(self, fault: Fault, request: web.BaseRequest) -> web.StreamResponse:
        if fault.endless:
            endless = web.StreamResponse()
            await endless.prepare(request)
            while not self._stopping.is_set():
                await endless.write(b" " * 1024 * 1024)
            return endless
        if fault.status is None:
            await self._stopping.wait()
            return web.Response(status=503)
        if fault.body is not None:
            return web.Response(status=fault.status, text=fault.body, headers=fault.headers)
        error = {"errcode": fault.errcode, "error": "a fault of the test", **(fault.extra or {})}
        return web.json_response(error, status=fault.status, headers=fault.headers)

    async def _answer(self, request: Request) -> Any:
        parts = [unquote(part) for part in request.raw_path.split("/")[2:]]
        match request.method, *parts:
            case "GET", "client", "versions":
                return {"versions": ["v1.11", "v1.18"]}
            case "GET", "key", "v2", "server":
                return self._own_keys()
            case "POST", "key", "v2", "query":
                asked = request.json.get("server_keys", {})
                found = [self.key_documents[n] for n in asked if n in self.key_documents]
                return {"server_keys": found}
            case "POST", "client", "v3", "login":
                return self._login(request.json)
            case _, "client", "v3", *rest:
                if request.user_id is None:
                    raise _MatrixError(401, "M_UNKNOWN_TOKEN")
                return await self._client(request, request.user_id, rest)
        raise _MatrixError(404, "M_UNRECOGNIZED")

    async def _client(self, request: Request, user_id: str, parts: list[str]) -> Any:
        body = request.json if isinstance(request.json, dict) else {}
        match request.method, *parts:
            case "GET", "account", "whoami":
                device_id = next(d for u, d in self._tokens.values() if u == user_id)
                return {"user_id": user_id, "device_id": device_id}
            case "GET", "directory", "room", alias:
                if alias not in self.aliases:
                    raise _MatrixError(404, "M_NOT_FOUND")
                return {"room_id": self.aliases[alias], "servers": [self.name]}
            case "POST", "join", name:
                return {"room_id": await self._join(self.aliases.get(name, name), user_id)}
            case "GET", "joined_rooms":
                joined = [r.room_id for r in self.rooms.values() if user_id in r.joined_at]
                return {"joined_rooms": joined}
            case "POST", "createRoom":
                return {"room_id": await self._create(user_id, body)}
            case "POST", "user", _, "filter":
                filter_id = str(len(self._filters) + 1)
                self._filters[filter_id] = body
                return {"filter_id": filter_id}
            case "GET", "sync":
                return await self._sync(request, user_id)
            case method, "rooms", room_id, *rest:
                return await self._room(
                    method, self._joined_room(room_id, user_id), user_id, rest, body
                )
        raise _MatrixError(404, "M_UNRECOGNIZED")

    async def _room(
        self, method: str, room: FakeRoom, user_id: str, parts: list[str], body: JsonObject
    ) -> Any:
        match method, *parts:
            case "GET", "state":
                return list(room.state.values())
            case "GET", "state", event_type, *key:
                event = room.state.get((event_type, key[0] if key else ""))
                if event is None:
                    raise _MatrixError(404, "M_NOT_FOUND")
                return event
            case "PUT", "state", event_type, *key:
                self._check_power(room, user_id, event_type, state=True)
                self._check_limit()
                state_key = key[0] if key else ""
                event_id = await self._append(room.room_id, user_id, event_type, body, state_key)
                return {"event_id": event_id}
            case "PUT", "send", event_type, transaction_id:
                self._check_power(room, user_id, event_type, state=False)
                sent = (user_id, transaction_id)
                if sent not in self._transactions:
                    self._check_limit()
                    event_id = await self._append(room.room_id, user_id, event_type, body)
                    self._transactions[sent] = event_id
                return {"event_id": self._transactions[sent]}
            case "GET", "joined_members":
                return {"joined": {user: {"display_name": None} for user in room.members()}}
            case "GET", "event", event_id:
                event = room.event(event_id)
                if event is None:
                    raise _MatrixError(404, "M_NOT_FOUND")
                return event
            case "POST", "leave":
                await self.set_membership(room.room_id, user_id, "leave")
                return {}
            case "POST", "invite":
                await self.invite(room.room_id, body["user_id"], user_id)
                return {}
        raise _MatrixError(404, "M_UNRECOGNIZED")

    def _login(self, body: JsonObject) -> JsonObject:
        user_id = body["identifier"]["user"]
        if self.passwords.get(user_id) != body["password"]:
            raise _MatrixError(403, "M_FORBIDDEN")
        device_id = body.get("device_id", "NEWDEVICE")
        token = self.token(user_id, device_id)
        return {"user_id": user_id, "device_id": device_id, "access_token": token}

    def _own_keys(self) -> JsonObject:
        document = {
            "server_name": self.name,
            "valid_until_ts": int(time.time() * 1000) + 24 * 3_600_000,
            "verify_keys": {"ed25519:test": {"key": self.signing_key.public_key}},
            "old_verify_keys": {},
        }
        return sign_json(document, self.name, "ed25519:test", self.signing_key)

    def _joined_room(self, room_id: str, user_id: str) -> FakeRoom:
        room = self.rooms.get(room_id)
        if room is None or room.membership(user_id) not in ("join", "invite"):
            raise _MatrixError(403, "M_FORBIDDEN", "not in the room")
        return room

    @staticmethod
    def _check_power(room: FakeRoom, user_id: str, event_type: str, *, state: bool) -> None:
        if user_id not in room.joined_at or not room.may_send(user_id, event_type, state=state):
            raise _MatrixError(403, "M_FORBIDDEN", "not enough power")

    def _check_limit(self) -> None:
        wait_ms = None if self.send_limit is None else self.send_limit.take()
        if wait_ms is not None:
            raise _MatrixError(429, "M_LIMIT_EXCEEDED", retry_after_ms=wait_ms)

    async def _join(self, room_id: str, user_id: str) -> str:
        room = self.rooms.get(room_id)
        if room is None:
            raise _MatrixError(404, "M_NOT_FOUND")
        allowed = room.membership(user_id) in ("join", "invite")
        if not allowed and room.content("m.room.join_rules").get("join_rule") != "public":
            raise _MatrixError(403, "M_FORBIDDEN", "you are not invited to this room")
        if room.membership(user_id) != "join":
            await self.set_membership(room_id, user_id, "join")
        return room_id

    async def _create(self, user_id: str, body: JsonObject) -> str:
        if not self.creatable:
            raise _MatrixError(403, "M_FORBIDDEN", "room creation is switched off")
        alias = body.get("room_alias_name")
        room_id = self.create_room(
            user_id,
            version=body.get("room_version", "12"),
            alias=f"#{alias}:{self.name}" if alias else None,
            name=body.get("name", ""),
            join_rule="public" if body.get("preset") == "public_chat" else "invite",
            power_levels=body.get("power_level_content_override"),
            creation_content=body.get("creation_content"),
        )
        if self.encrypts_new_rooms:
            content = {"algorithm": "m.megolm.v1.aes-sha2"}
            self.rooms[room_id].append(user_id, "m.room.encryption", content, "")
        for event in body.get("initial_state", ()):
            self.rooms[room_id].append(
                user_id, event["type"], event["content"], event.get("state_key", "")
            )
        for invited in body.get("invite", ()):
            await self.set_membership(room_id, invited, "invite", user_id)
        await self._notify()
        return room_id

    async def _append(
        self,
        room_id: str,
        sender: str,
        event_type: str,
        content: JsonObject,
        state_key: str | None = None,
    ) -> str:
        event = self.rooms[room_id].append(sender, event_type, content, state_key)
        await self._notify()
        return str(event["event_id"])

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # --- sync ---

    def _aged(self, rooms: JsonObject) -> JsonObject:
        """The rooms of an answer, in which each event has an age if ``event_age_ms`` is set."""
        if self.event_age_ms is not None:
            for room in rooms["join"].values():
                for event in room["timeline"]["events"]:
                    event["unsigned"] = {"age": self.event_age_ms}
        return rooms

    async def _sync(self, request: Request, user_id: str) -> JsonObject:
        since_text = request.query.get("since", (None,))[0]
        try:
            since = None if since_text is None else int(since_text.removeprefix("s"))
        except ValueError:
            raise _MatrixError(400, "M_UNKNOWN_POS") from None
        filter_id = request.query["filter"][0]
        if filter_id not in self._filters:
            raise _MatrixError(400, "M_INVALID_PARAM")
        wanted = self._filters[filter_id]["room"]
        timeout_s = int(request.query["timeout"][0]) / 1000
        ends = time.monotonic() + timeout_s
        while True:
            rooms = rooms_since(self.rooms.values(), since, user_id, wanted)
            left = ends - time.monotonic()
            if since is None or any(rooms.values()) or left <= 0 or self._stopping.is_set():
                return {"next_batch": f"s{self._clock.position}", "rooms": self._aged(rooms)}
            try:
                async with asyncio.timeout(left), self._changed:
                    await self._changed.wait()
            except TimeoutError:
                pass
