"""A homeserver of the tests' own, of which other servers see a key and the rooms it hosts.

It is called ``127.0.0.1:PORT``. Server rules leave the port out, so to them it is one with hs2;
the policy server's own name is hs1's.
"""

import asyncio

from aiohttp import web

from policybot.demo.certificates import Certificates
from policybot.demo.ports import LOOPBACK
from policybot.protocol.room_version import RoomVersion

from .hosted_room import HostedRoom
from .identity import Identity

_MAX_BODY = 16 * 1024 * 1024


class FederationServer:
    """One server; it exists between ``start`` and ``stop``."""

    def __init__(self, certificates: Certificates) -> None:
        self._tls = certificates.server_context()
        self._rooms: dict[str, HostedRoom] = {}
        self._identity: Identity | None = None
        self._keys_given = asyncio.Event()
        self._keys_given.set()
        self._runner: web.AppRunner | None = None

    @property
    def identity(self) -> Identity:
        """The name and the key."""
        if self._identity is None:
            raise RuntimeError("the server does not run")
        return self._identity

    async def start(self) -> None:
        """Listen on a free port of loopback."""
        app = web.Application(client_max_size=_MAX_BODY)
        federation = "/_matrix/federation"
        app.add_routes(
            [
                web.get("/_matrix/key/v2/server", self._server_keys),
                web.get("/_matrix/key/v2/server/{key_id}", self._server_keys),
                web.get(f"{federation}/v1/version", self._version),
                web.get(f"{federation}/v1/make_join/{{room_id}}/{{user_id}}", self._make_join),
                web.put(f"{federation}/v2/send_join/{{room_id}}/{{event_id}}", self._send_join),
                web.put(f"{federation}/v1/send/{{transaction}}", self._send),
                web.route("*", "/{path:.*}", self._unknown),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, 0, ssl_context=self._tls).start()
        self._identity = Identity(f"{LOOPBACK}:{self._runner.addresses[0][1]}")

    async def stop(self) -> None:
        """Be gone."""
        if self._runner is not None:
            await self._runner.cleanup()

    def host_room(
        self, version: RoomVersion, name: str, *, members: int, powerful: str
    ) -> HostedRoom:
        """Make a room with so many members of this server; ``powerful`` may do all there."""
        room_id = f"!{name}:{self.identity.name}"
        room = HostedRoom(self.identity, version, room_id, members=members, powerful=powerful)
        self._rooms[room_id] = room
        return room

    def hold_keys(self) -> None:
        """Leave whoever asks for the key waiting, until ``give_keys``."""
        self._keys_given.clear()

    def give_keys(self) -> None:
        """Answer those who wait for the key, and all who ask later."""
        self._keys_given.set()

    async def _server_keys(self, request: web.Request) -> web.Response:
        await self._keys_given.wait()
        return web.json_response(self.identity.key_document())

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"server": {"name": "policybot tests", "version": "1"}})

    async def _make_join(self, request: web.Request) -> web.Response:
        room = self._rooms[request.match_info["room_id"]]
        return web.json_response(room.join_template(request.match_info["user_id"]))

    async def _send_join(self, request: web.Request) -> web.Response:
        room = self._rooms[request.match_info["room_id"]]
        return web.json_response(room.take_join(await request.json()))

    async def _send(self, request: web.Request) -> web.Response:
        return web.json_response({"pdus": {}})

    async def _unknown(self, request: web.Request) -> web.Response:
        answer = {"errcode": "M_UNRECOGNIZED", "error": "Only a server of the tests"}
        return web.json_response(answer, status=404)
