"""A policy server with one protected room, and homeservers that ask it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import ClientResponse, ClientSession
from yarl import URL

from policybot.endpoint.routes import PolicyRoutes
from policybot.endpoint.sign import FailureAnswer, SignUseCase, Waits
from policybot.policy.room import ModerationRoom, ProtectedRoom, RoomMode
from policybot.policy.rule_store import RuleStore
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.event_hash import content_hash, reference_hash, signing_bytes
from policybot.protocol.paths import SIGN, UNSTABLE_SIGN
from policybot.protocol.room_version import ROOM_VERSIONS, RoomVersion
from policybot.protocol.signing import SigningKey
from policybot.protocol.xmatrix import authorization_header

from ..policy.events import rule_event
from ..protocol.events import KEY_ID, NAME, SEED, bare_event
from .stand_ins import Keys, Verdicts

V10, V11, V12 = (ROOM_VERSIONS[name] for name in ("10", "11", "12"))

ROOM = "!room:example.org"
MODS = "!mods:example.org"
LIST = "!list:example.org"
BOT = "@policybot:example.org"
POLICY_USER = f"@policy:{NAME}"
ALICE = "@alice:good.example"
SPAMMER = "@spammer:bad.example"
CALLER = "caller.example"
INSTANCE = "instance-1"
NOW = 1_700_000_100_000
ENABLED_TS = 1_699_000_000_000

POLICY_KEY = SigningKey.from_base64(SEED)
SERVER_KEY_ID = "ed25519:k1"
DEADLINE_S = 20.0


def server_key(name: str) -> SigningKey:
    """The signing key of a homeserver."""
    return SigningKey(name.encode().ljust(32, b".")[:32])


def sign_as(event: JsonObject, version: RoomVersion, *servers: str) -> JsonObject:
    """A copy of an event with content hash, signed by these servers."""
    event = {**event, "hashes": {"sha256": content_hash(event)}}
    message = signing_bytes(event, version)
    event["signatures"] = {
        server: {SERVER_KEY_ID: server_key(server).sign(message)} for server in servers
    }
    return event


def event_of(sender: str, version: RoomVersion = V11, **fields: Any) -> JsonObject:
    """A message of the sender, signed by his server."""
    event = bare_event(version, sender=sender, room_id=ROOM, **fields)
    return sign_as(event, version, sender.partition(":")[2])


def member_event(sender: str, user: str, membership: str, **content: Any) -> JsonObject:
    """A membership event, signed by the sender's server."""
    content = {"membership": membership, **content}
    return event_of(sender, type="m.room.member", state_key=user, content=content)


def protected(room_id: str = ROOM, version: RoomVersion = V11, **changes: Any) -> ProtectedRoom:
    """A protected room without creators and powerful users."""
    room = ProtectedRoom(
        room_id=room_id,
        version=version,
        moderation_room=MODS,
        mode=RoomMode.ENABLED,
        enabled_ts=ENABLED_TS,
        creators=frozenset(),
        powerful=frozenset(),
        policy=None,
        unstable_policy=None,
        name="",
        join_rule="public",
        tombstoned=False,
    )
    return replace(room, **changes)


@dataclass(frozen=True)
class Reply:
    """What came back: ``signature`` and ``error`` are None where the body has none."""

    status: int
    headers: dict[str, str]
    json: Any

    @property
    def signature(self) -> str | None:
        return self.signature_of(NAME)

    def signature_of(self, name: str) -> str | None:
        """The signature under this name."""
        signatures = self.json.get(name, {})
        return signatures.get(KEY_ID) if isinstance(signatures, dict) else None

    @property
    def verdict(self) -> str | None:
        return self.headers.get("Policybot-Verdict")

    @property
    def refused(self) -> bool:
        """Whether this is a refusal by verdict, not by a failed check."""
        return (
            self.status == 400
            and self.json["errcode"] == "M_FORBIDDEN"
            and "Reference: " in self.json["error"]
            and self.verdict is not None
        )

    @property
    def check_failed(self) -> bool:
        """Whether this is the answer to one bad copy."""
        return (
            self.status == 400 and self.json["errcode"] == "M_FORBIDDEN" and self.verdict is None
        )


class Scene:
    """The endpoint behind real HTTP. The test changes rooms, rules, keys and verdicts at will.

    The keys of the servers named in ``servers`` are known; a wait is long enough never to end a
    test by itself, unless ``waits`` says so.
    """

    def __init__(
        self,
        *,
        servers: tuple[str, ...] = (CALLER, "good.example", "bad.example", "example.org"),
        waits: Waits | None = None,
        on_failure: FailureAnswer = FailureAnswer.SIGN,
        on_fault: Callable[[str, bool], None] | None = None,
        contact: str | None = None,
        keep_text: bool = True,
        former: frozenset[str] = frozenset(),
        verdicts: Any = None,
        keys: Any = None,
    ) -> None:
        self.rooms = {ROOM: protected()}
        self.moderation_rooms = {
            MODS: ModerationRoom(MODS, frozenset({"@mod:example.org"}), True, (LIST,))
        }
        self.rules = RuleStore()
        self.ban(SPAMMER)
        self.keys = Keys()
        for server in servers:
            self.keys.known[server, SERVER_KEY_ID] = server_key(server).verify_key
        self.verdicts = Verdicts()
        self.faults: list[tuple[str, bool]] = []
        self.use_case = SignUseCase(
            name=NAME,
            former=former,
            signing_key=POLICY_KEY,
            own_users=frozenset((BOT, POLICY_USER)),
            rooms=self.rooms,
            moderation_rooms=self.moderation_rooms,
            rules=self.rules,
            keys=self.keys if keys is None else keys,
            verdicts=self.verdicts if verdicts is None else verdicts,
            clock=lambda: NOW,
            contact=contact,
            keep_text=keep_text,
            on_failure=on_failure,
            on_fault=on_fault or (lambda *fault: self.faults.append(fault)),
            waits=waits or Waits(keys=DEADLINE_S, sender_key=DEADLINE_S, store=DEADLINE_S),
        )
        self.routes = PolicyRoutes(
            self.use_case, public_key=POLICY_KEY.public_key, instance_id=INSTANCE
        )
        self.port: int
        self.session: ClientSession

    def ban(self, entity: str, list_id: str = LIST) -> None:
        self.rules.apply(list_id, rule_event(entity))

    def unban_all(self) -> None:
        self.rules.replace(LIST, [])

    async def ask(
        self, event: Any, *, path: str = SIGN, origin: str = CALLER, **request: Any
    ) -> Reply:
        """Ask about an event as the server ``origin`` does."""
        header = authorization(event, origin, path=path)
        return await self.post(json.dumps(event).encode(), path, [header], **request)

    async def ask_unstable(self, event: Any, **request: Any) -> Reply:
        return await self.ask(event, path=UNSTABLE_SIGN, **request)

    async def post(
        self, body: Any, path: str = SIGN, authorization: list[str] | None = None, **request: Any
    ) -> Reply:
        """Send any body with any Authorization headers."""
        headers = [("Authorization", header) for header in authorization or []]
        headers += request.pop("headers", [])
        return await self.request("POST", path, data=body, headers=headers, **request)

    async def request(self, method: str, path: str | URL, **request: Any) -> Reply:
        async with asyncio.timeout(DEADLINE_S):
            async with self.session.request(method, path, **request) as response:
                return await reply_of(response)


async def reply_of(response: ClientResponse) -> Reply:
    text = await response.text()
    is_json = response.content_type == "application/json"
    return Reply(response.status, dict(response.headers), json.loads(text) if is_json else text)


def authorization(
    event: Any,
    origin: str = CALLER,
    *,
    path: str = SIGN,
    destination: str = NAME,
    key_id: str = SERVER_KEY_ID,
    key: SigningKey | None = None,
) -> str:
    """The header with which a server signs its request about an event."""
    key = key or server_key(origin)
    return authorization_header(origin, destination, key_id, key, "POST", path, event)


def verifies(
    reply: Reply, event: JsonObject, version: RoomVersion = V11, name: str = NAME
) -> bool:
    """Whether the reply has our policy key's signature of the event, under this name."""
    signature = reply.signature_of(name)
    return signature is not None and POLICY_KEY.verify_key.verify(
        signing_bytes(event, version), signature
    )


def key_of(event: JsonObject, version: RoomVersion = V11) -> bytes:
    return reference_hash(event, version)


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if condition():
                return
            await asyncio.sleep(0.001)


async def in_time(work: Awaitable[Reply]) -> Reply:
    async with asyncio.timeout(DEADLINE_S):
        return await work
