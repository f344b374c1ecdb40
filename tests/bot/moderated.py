"""The whole bot on a fake homeserver, with moderators who talk to it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from mautrix.util.async_db import Database

from policybot.account import Account
from policybot.app import App
from policybot.bot.chat import Chat
from policybot.bot.client import MatrixClient, open_api
from policybot.bot.pace import Pace
from policybot.bot.policy_state import ReadBack
from policybot.bot.policy_user import Federation
from policybot.bot.raw_event import Decrypt
from policybot.bot.reply import Reply
from policybot.bot.room_care import CareTimes
from policybot.bot.sync import SyncLoop
from policybot.config import parse_config
from policybot.endpoint.listener import Listener
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.signing import SigningKey
from policybot.store.database import open_database
from tests.store.samples import eventually

from .fake_homeserver import FakeHomeserver
from .fake_room import EPOCH_MS
from .other_server import OtherServer, SignAnswer
from .public_front import PublicFront

NAME = "example.org"
BOT = f"@policybot:{NAME}"
ALICE = f"@alice:{NAME}"
BOB = f"@bob:{NAME}"
SPAMMER = "@spammer:spam.example"
KEY = SigningKey(b"policy key for the bot's tests..")

OURS: JsonObject = {"via": NAME, "public_keys": {"ed25519": KEY.public_key}}
OTHER_KEY: JsonObject = {"via": NAME, "public_keys": {"ed25519": SigningKey(b"k" * 32).public_key}}

QUICK = Pace(slow=60.0, read_back=ReadBack((0.01, 0.01)), care=CareTimes(find_again=0.05))
DEADLINE_S = 10.0


class Clock:
    """The bot's clock: milliseconds, moved by the test."""

    def __init__(self) -> None:
        self.now = EPOCH_MS + 60_000

    def __call__(self) -> int:
        return self.now


class Moderated:
    """One bot with its database, on a homeserver where a moderation room is waiting.

    ``mods`` is that room: Alice and Bob are its members. `start` and `stop` may be repeated: the
    bot then goes on with its database.
    """

    federation: Federation | None = None

    def __init__(self, homeserver: FakeHomeserver, front: PublicFront, directory: Path) -> None:
        self.homeserver = homeserver
        self.front = front
        self.clock = Clock()
        self.pace = QUICK
        self.database_url = f"sqlite://{directory}/policybot.db"
        self.mods = homeserver.create_room(ALICE, name="Moderators", members=[BOB, BOT])
        self.settings: dict[str, Any] = {
            "moderation_rooms": [self.mods],
            "policy_server": {
                "name": NAME,
                "public_url": front.url,
                "signing_key": KEY.seed,
                "contact": None,
                "on_failure": "sign",
            },
            "reports": {"first_delay": 0, "interval": 0},
        }
        self.other = OtherServer("spam.example", NAME, epoch_ms=homeserver.epoch_ms)
        homeserver.key_documents["spam.example"] = self.other.key_document()
        self.app: App
        self._client: MatrixClient
        self._database: Database
        self._listener: Listener
        self._sync: asyncio.Task[None] | None = None

    @property
    def chat(self) -> Chat:
        """The bot's chat side."""
        chat = self.app._chat
        assert chat is not None
        return chat

    # -- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the bot and wait until it knows its rooms."""
        await self.begin()
        await self.caught_up()

    async def begin(self) -> None:
        """Start the bot."""
        url, token = self.homeserver.url, self.homeserver.token(BOT)
        config = parse_config(
            {
                **self.settings,
                "standalone": {"homeserver": {"url": url, "user_id": BOT, "access_token": token}},
            }
        )
        self._client = MatrixClient(open_api(url, token))
        self._database = await open_database(self.database_url)
        self.app = App(
            config,
            Account(BOT, url),
            self._client,
            self._database,
            clock=self.clock,
            pace=self.pace,
            federation=self.federation,
        )
        await self.app.load()
        await self.app.start()
        self._listener = Listener(self.app.routes, "127.0.0.1", 0)
        await self._listener.start()
        self.front.behind = self._listener.url
        self.app.connect()
        loop = SyncLoop(
            self._client,
            BOT,
            load=self.app.load_position,
            save=self.app.save_position,
            on_batch=self.app.on_batch,
            first_retry_s=0.02,
        )
        self._sync = asyncio.create_task(loop.run())

    async def stop(self) -> None:
        """Stop the bot, if it was started, as standalone does."""
        if self._sync is None:
            return
        self._sync.cancel()
        await asyncio.gather(self._sync, return_exceptions=True)
        self._sync = None
        await self._listener.stop()
        await self.app.stop()
        await self._client.close()
        await self._database.stop()

    async def restart(self) -> None:
        """Stop and start on the same database."""
        await self.stop()
        await self.start()

    async def restarted_late(self) -> None:
        """Stop, and start so much later that no command is carried out once more."""
        await self.stop()
        self.clock.now += 6 * 60_000
        self.homeserver.event_age_ms = 50  # what is said from now on is not old
        await self.start()

    async def restarted(self) -> Self:
        """The same, for use in an expression."""
        await self.restart()
        return self

    def decrypt_with(self, decrypted: Decrypt) -> None:
        """Let the bot's client read encrypted messages."""
        self._client.decrypted = decrypted

    def quicken(self) -> None:
        """Let the hourly check come every few milliseconds."""
        care = replace(self.pace.care, maintenance=0.02)
        self.pace = replace(self.pace, care=care)

    async def maintained(self) -> None:
        """Wait until a check that began after now is through."""
        before = self.chat.care.checks
        await eventually(lambda: self.chat.care.checks >= before + 2)
        await self.caught_up()

    # -- talking ---------------------------------------------------------------------------------

    async def ask(self, text: str, sender: str = ALICE, room_id: str = "", **extra: Any) -> str:
        """Say something that is a command and return the plain text of the bot's reply."""
        event_id = await self.say(text, sender, room_id, **extra)
        return str((await self.reply_to(event_id, room_id))["body"])

    async def say(self, text: str, sender: str = ALICE, room_id: str = "", **extra: Any) -> str:
        """Say something in the moderation room; the event's ID."""
        return await self.homeserver.say(room_id or self.mods, sender, text, **extra)

    async def reply_to(self, event_id: str, room_id: str = "") -> JsonObject:
        """The content of the bot's reply to an event."""
        await self.homeserver.wait_for(lambda: self.replies(event_id, room_id))
        return self.replies(event_id, room_id)[0]

    def replies(self, event_id: str, room_id: str = "") -> list[JsonObject]:
        """The contents of the replies to an event so far."""
        return [
            content
            for content in self.homeserver.messages(room_id or self.mods, BOT)
            if _replied(content) == event_id
        ]

    def notices(self, room_id: str = "") -> list[str]:
        """The plain texts of what the bot said unasked, as clients show them, oldest first."""
        return [
            content["body"]
            for content in self.homeserver.shown(room_id or self.mods, BOT)
            if _replied(content) is None and content["body"].strip() != BARRIER
        ]

    async def notice(self, *parts: str, room_id: str = "") -> str:
        """Wait for a notice that holds all these texts."""

        def found() -> list[str]:
            return [n for n in self.notices(room_id) if all(part in n for part in parts)]

        try:
            await self.homeserver.wait_for(found)
        except TimeoutError:
            raise AssertionError(f"no notice with {parts}: {self.notices(room_id)}") from None
        return found()[0]

    async def caught_up(self) -> None:
        """Wait until the bot has taken in everything that happened and said what it has to."""
        chat = self.chat
        async with asyncio.timeout(DEADLINE_S):
            await chat.care.found.wait()
        await self._synced()
        while chat._updates._tasks:
            async with asyncio.timeout(DEADLINE_S):
                await asyncio.wait(chat._updates._tasks)
        before = self._barriers()
        chat.notices.tell(self.mods, Reply(BARRIER).text(""))
        await self.homeserver.wait_for(lambda: self._barriers() > before)

    async def _synced(self) -> None:
        position = self.homeserver.position
        await self.homeserver.wait_for(
            lambda: any(
                int(request.query["since"][0].removeprefix("s")) >= position
                for request in self.homeserver.calls("GET", "/sync")[-5:]
                if "since" in request.query
            )
        )

    def _barriers(self) -> int:
        return sum(
            content["body"].strip() == BARRIER
            for content in self.homeserver.messages(self.mods, BOT)
        )

    # -- rooms, lists and events ------------------------------------------------------------------

    def room(self, name: str = "Lobby", **options: Any) -> str:
        """A room with Carol as creator where the bot may set the policy server."""
        options.setdefault("members", [BOT, SPAMMER])
        options.setdefault("power_levels", {"users": {BOT: 100}})
        return self.homeserver.create_room(f"@carol:{NAME}", name=name, **options)

    async def enabled(self, name: str = "Lobby", **options: Any) -> str:
        """A room that is protected."""
        room_id = self.room(name, **options)
        assert (await self.ask(f"!policy enable {room_id}")).startswith("✅")
        return room_id

    def policy_list(self, name: str = "Coffee", **rules: Mapping[str, Any]) -> str:
        """A policy room of somebody else's that the bot is in; ``rules`` are contents of user
        rules by state key."""
        room_id = self.homeserver.create_room(
            "@listkeeper:lists.example", name=name, members=[BOT], join_rule="public"
        )
        room = self.homeserver.rooms[room_id]
        for state_key, content in rules.items():
            room.append(
                "@listkeeper:lists.example", "m.policy.rule.user", dict(content), state_key
            )
        return room_id

    async def sign(self, room_id: str, sender: str = SPAMMER, **fields: Any) -> SignAnswer:
        """Let another server ask about a message."""
        version = self.homeserver.rooms[room_id].version
        event = self.other.message(room_id, sender, version=version, **fields)
        return await self.other.ask(self.front.behind, event, version=version)

    async def asked_about(self, events: Sequence[JsonObject]) -> list[SignAnswer]:
        """Let another server ask about these events, one after the other."""
        return [await self.other.ask(self.front.behind, event) for event in events]


BARRIER = "(barrier)"


def ban(entity: str, reason: str = "spam") -> JsonObject:
    """The content of a ban rule."""
    return {"entity": entity, "recommendation": "m.ban", "reason": reason}


def _replied(content: JsonObject) -> str | None:
    event_id = content.get("m.relates_to", {}).get("m.in_reply_to", {}).get("event_id")
    return event_id if isinstance(event_id, str) else None
