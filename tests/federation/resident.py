"""A server that is in a room, as others see it: over real TLS, and it checks every signature."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.event_hash import content_hash_matches, event_id, pdu_signing_bytes
from policybot.protocol.pdu import parse_pdu
from policybot.protocol.room_version import ROOM_VERSIONS
from policybot.protocol.signing import SigningKey, signature_of
from policybot.protocol.xmatrix import parse_authorization, request_bytes

from .authority import Authority
from .servers import serving

NAME = "policy.example"
USER = f"@policy:{NAME}"
KEY_ID = "ed25519:own"
KEY = SigningKey.generate()
ROOM = "!rööm/1:a.example"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Resident:
    """Proposes joins and leaves of USER and takes them; ``answers`` says otherwise, by the name of
    a request: ``make_join``, ``send_join``, ``make_leave`` or ``send_leave``."""

    def __init__(self, version: str = "11") -> None:
        self.version = version
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.taken: list[JsonObject] = []
        self.queries: list[str] = []
        self.name = ""

    @asynccontextmanager
    async def serving(
        self, authority: Authority, certified: str = "127.0.0.1"
    ) -> AsyncIterator["Resident"]:
        """Listen, with a certificate for another name if one is given."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        async with serving(app, authority.server_context(certified)) as port:
            self.name = f"127.0.0.1:{port}"
            yield self

    def proposal(self, request_name: str, **fields: Any) -> JsonObject:
        """A good answer to ``make_join`` or ``make_leave``, apart from the fields."""
        reference: Any = "$" + "a" * 43
        if ROOM_VERSIONS[self.version].event_id_in_event:
            reference = ["$a:a.example", {"sha256": "a" * 43}]
        event = {
            "type": "m.room.member",
            "content": {"membership": request_name.removeprefix("make_")},
            "room_id": ROOM,
            "sender": USER,
            "state_key": USER,
            "auth_events": [reference],
            "prev_events": [reference],
            "depth": 7,
            **fields,
        }
        return {"room_version": self.version, "event": event}

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        content: Any = await request.json() if request.can_read_body else None
        if not self._is_signed(request, content):
            return error(401, "M_UNAUTHORIZED", "Not signed")
        _, _, _, _, name, room, last = path.split("/")
        assert unquote(room) == ROOM
        self.asked.append(name)
        self.queries.append(query)
        if name in self.answers:
            return await self.answers[name](request)
        if request.method == "GET":
            assert unquote(last) == USER and path.startswith("/_matrix/federation/v1/make_")
            return web.json_response(self.proposal(name))
        assert path.startswith("/_matrix/federation/v2/send_")
        self._check(content, unquote(last))
        self.taken.append(content)
        return web.json_response({"state": [], "auth_chain": [], "members_omitted": True})

    def _is_signed(self, request: web.Request, content: Any) -> bool:
        (header,) = parse_authorization(request.headers.getall("Authorization"))
        signed = request_bytes(request.method, request.raw_path, NAME, self.name, content)
        return (
            (header.origin, header.destination, header.key_id) == (NAME, self.name, KEY_ID)
            and KEY.verify_key.verify(signed, header.signature)
            and request.headers["Host"] == self.name
        )

    def _check(self, event: JsonObject, its_id: str) -> None:
        version = ROOM_VERSIONS[self.version]
        pdu = parse_pdu(event, version, ROOM)
        assert content_hash_matches(pdu) and event_id(event, version) == its_id
        signature = signature_of(event, NAME, KEY_ID)
        assert signature is not None
        assert KEY.verify_key.verify(pdu_signing_bytes(pdu), signature)


def error(status: int, errcode: str, text: str, **fields: Any) -> web.Response:
    """A refusal as Matrix writes it."""
    return web.json_response({"errcode": errcode, "error": text, **fields}, status=status)


def always(status: int, errcode: str, text: str, **fields: Any) -> Answer:
    """Refuse like this."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return error(status, errcode, text, **fields)

    return answer


def says(content: Any) -> Answer:
    """Answer 200 with this."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(content)

    return answer


async def endless(request: web.Request) -> web.StreamResponse:
    """Say that all is well and send without end."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for number in itertools.count():
        await response.write(b'[{"state":' if number == 0 else b"[" * 65_536)
        await asyncio.sleep(0)
    return response
