"""A protected room costs the bot much the same whether three people are in it or five thousand."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from policybot.demo import acts
from policybot.demo.bot_process import BotProcess
from policybot.demo.cast import Cast
from policybot.policy.room import ROOM_STATE
from policybot.protocol.room_version import room_version

from .caller import Caller
from .conftest import MakeBot, MakeCast
from .federation_server import FederationServer
from .hosted_room import HostedRoom
from .identity import Identity
from .orders import agreed, obeyed
from .recording_proxy import RecordingProxy

VERSION = room_version("11")
FEW, MANY = 3, 5_000
MORE_BYTES = 10_000_000
MORE_REQUESTS = 20
TRAFFIC = 300


@dataclass(frozen=True, slots=True)
class Start:
    """What a start of the bot cost: requests of the client-server API, and resident bytes."""

    requests: int
    resident: int


class Measured:
    """A bot, of which every request to its homeserver is seen."""

    def __init__(
        self, cast: Cast, bot: BotProcess, way: RecordingProxy, identity: Identity
    ) -> None:
        self._cast = cast
        self._bot = bot
        self._way = way
        self._identity = identity
        self._caller = Caller(identity, bot, cast.moderator.server)
        self._rooms: list[HostedRoom] = []

    async def enable(self, room: HostedRoom) -> None:
        """Let the bot enter and protect a room, of which it hears by a link."""
        link = f"https://matrix.to/#/{room.room_id}?via={self._identity.name}"
        await obeyed(self._cast, f"!policy enable {link}")
        self._rooms.append(room)

    async def restart(self) -> Start:
        """Start the bot anew and let it find all its rooms."""
        await self._bot.stop()
        self._way.requests.clear()
        await self._bot.start()
        last_type, _ = ROOM_STATE[-1]
        for room in self._rooms:
            await self._way.wait_for_request(quote(room.room_id, safe=""), f"/state/{last_type}")
        await obeyed(self._cast, "!policy status")
        resident = await self.resident_after_traffic()
        # How often /sync returns depends on what happens meanwhile.
        asked = [target for target in self._way.requests if "/sync?" not in target]
        return Start(len(asked), resident)

    async def resident_after_traffic(self) -> int:
        """The resident memory after the same work each time, in bytes."""
        room = self._rooms[0]
        sender = f"@guest:{self._identity.name}"
        answers = await self._caller.ask_all(
            [
                self._identity.message(VERSION, room.room_id, sender, f"message {number}")
                for number in range(TRAFFIC)
            ]
        )
        assert {answer.status for answer in answers} == {200}
        status = Path(f"/proc/{self._bot.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024


async def test_five_thousand_members_cost_little_memory_and_few_requests(
    way: RecordingProxy,
    make_cast: MakeCast,
    make_bot: MakeBot,
    third_server: FederationServer,
) -> None:
    cast = await make_cast()
    bot = await make_bot(cast, start=False, standalone=way.standalone(cast.bot.account))
    few, many = (
        third_server.host_room(VERSION, f"of{count}", members=count, powerful=cast.bot.user_id)
        for count in (FEW, MANY)
    )
    await acts.start_bot(bot, cast)
    measured = Measured(cast, bot, way, third_server.identity)
    await measured.enable(few)
    before = await measured.restart()

    await measured.enable(many)
    members = await cast.bot.request("GET", "rooms", many.room_id, "joined_members")
    assert len(members["joined"]) == MANY + 1
    resident = await measured.resident_after_traffic()
    after = await measured.restart()
    print(f"before: {before}, resident after enable: {resident}, after: {after}")
    assert resident - before.resident < MORE_BYTES
    assert after.resident - before.resident < MORE_BYTES
    assert after.requests - before.requests <= MORE_REQUESTS

    # A slip of the thumb does not refuse them all; who means it taps once.
    name = third_server.identity.name
    question, reply = await agreed(cast, f"!policy ban @member*:{name} raid")
    assert f"That is {MANY:,} members of 2 protected rooms" in question
    assert "in 2 protected rooms" in reply
    matched = await obeyed(cast, f"!policy match @member7:{name}")
    assert "messages are refused by" in matched
