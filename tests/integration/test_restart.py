"""An answer that was given stands: over a restart, a crash, and an end in the middle of work."""

import asyncio
import signal
from collections.abc import Sequence

from policybot.demo import acts
from policybot.demo.bot_process import BotProcess
from policybot.demo.cast import Cast
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.room_version import RoomVersion, room_version_of

from .caller import Caller, SignAnswer
from .conftest import MakeBot, MakeCast
from .federation_server import FederationServer
from .identity import Identity
from .orders import obeyed

SIGNED, REFUSED = 200, 400


class Quarrel:
    """Two users of the third server, one of them banned."""

    def __init__(self, cast: Cast, identity: Identity, version: RoomVersion) -> None:
        self.banned = f"@one:{identity.name}"
        self.free = f"@two:{identity.name}"
        self.room = cast.lounge
        self._cast = cast
        self._identity = identity
        self._version = version

    async def begin(self) -> None:
        """Ban the one."""
        await obeyed(self._cast, f"!policy ban {self.banned} quarrel")

    async def turn(self) -> None:
        """Ban the other instead."""
        await obeyed(self._cast, f"!policy unban {self.banned}")
        self.banned, self.free = self.free, self.banned
        await self.begin()

    def message_of(self, sender: str, text: str) -> JsonObject:
        return self._identity.message(self._version, self.room, sender, text)

    def state_event(
        self, sender: str, event_type: str, state_key: str, content: JsonObject
    ) -> JsonObject:
        """A state event, whether the sender may set it or not."""
        return self._identity.event(
            self._version, self.room, sender, type=event_type, state_key=state_key, content=content
        )

    def messages(self, count: int, text: str) -> list[JsonObject]:
        """So many different messages by both in turn."""
        both = (self.banned, self.free)
        return [self.message_of(both[n % 2], f"{text} {n}") for n in range(count)]

    def status_by_lists(self, event: JsonObject) -> int:
        """What the lists of now make of an event that nobody has asked about."""
        return REFUSED if event["sender"] == self.banned else SIGNED


async def begin_quarrel(
    cast: Cast, make_bot: MakeBot, identity: Identity, name: str | None = None
) -> tuple[BotProcess, Caller, Quarrel]:
    """A protected room, and somebody banned there; the server ``identity`` asks about both.
    ``name`` is the policy server's, None = that of hs1."""
    bot = await make_bot(cast, name=name, start=False)
    await acts.start_bot(bot, cast)
    await acts.enable(cast)
    create = await cast.moderator.state_event(cast.lounge, "m.room.create")
    assert create is not None
    quarrel = Quarrel(cast, identity, room_version_of(create))
    await quarrel.begin()
    return bot, Caller(identity, bot, name or cast.moderator.server), quarrel


def changed(
    before: Sequence[SignAnswer], after: Sequence[SignAnswer]
) -> list[tuple[SignAnswer, SignAnswer]]:
    """The answers about the same events that are not what they were."""
    pairs = zip(before, after, strict=True)
    return [(old, new) for old, new in pairs if not new.same_as(old)]


async def test_the_same_event_gets_the_same_answer_after_restart_and_changed_lists(
    make_cast: MakeCast, make_bot: MakeBot, third_server: FederationServer
) -> None:
    cast = await make_cast(room_version="11")
    bot, caller, quarrel = await begin_quarrel(cast, make_bot, third_server.identity)

    events = quarrel.messages(2, "before")
    before = await caller.standing(events)
    assert [answer.status for answer in before] == [REFUSED, SIGNED]

    await bot.restart()
    await quarrel.turn()
    assert changed(before, await caller.standing(events)) == []
    await bot.restart()
    assert changed(before, await caller.standing(events)) == []

    after = await caller.ask_all([quarrel.message_of(e["sender"], "after") for e in events])
    assert [answer.status for answer in after] == [SIGNED, REFUSED]


async def test_a_killed_bot_loses_no_verdict_that_it_called_stored(
    make_cast: MakeCast, make_bot: MakeBot, third_server: FederationServer
) -> None:
    cast = await make_cast(room_version="10")
    bot, caller, quarrel = await begin_quarrel(cast, make_bot, third_server.identity)

    stored: list[tuple[JsonObject, SignAnswer]] = []
    for enough in (1, 30, 150):
        burst = quarrel.messages(600, f"burst {enough}")
        before_end = len(stored) + enough
        async for event, answer in caller.answers(burst):
            assert answer.status == quarrel.status_by_lists(event)
            if answer.stored:
                stored.append((event, answer))
                if len(stored) == before_end:
                    await bot.kill()
        assert bot.process.exit_code == -signal.SIGKILL
        assert before_end <= len(stored) < before_end + 500
        await bot.start()

    await quarrel.turn()
    again = await caller.standing([event for event, _ in stored])
    assert changed([answer for _, answer in stored], again) == []
    fresh = quarrel.messages(2, "fresh")
    assert [answer.status for answer in await caller.ask_all(fresh)] == [REFUSED, SIGNED]


async def test_sigterm_leaves_no_request_without_its_answer(
    make_cast: MakeCast, make_bot: MakeBot, third_server: FederationServer
) -> None:
    cast = await make_cast(room_version="11")
    bot, caller, quarrel = await begin_quarrel(cast, make_bot, third_server.identity)

    # Nobody has asked for this server's key yet: as long as it is held back, every request waits.
    third_server.hold_keys()
    events = quarrel.messages(40, "burst")
    async with caller.asking(events) as tasks, asyncio.TaskGroup() as group:
        ending = group.create_task(bot.stop())
        await bot.process.wait_for_line("Stopping.", 10)
        third_server.give_keys()
        answers = [await task for task in tasks]
    assert ending.result() == 0
    assert [answer.status for answer in answers] == [quarrel.status_by_lists(e) for e in events]

    # Also what was answered from memory was written before the end.
    await bot.start()
    await quarrel.turn()
    assert changed(answers, await caller.standing(events)) == []
