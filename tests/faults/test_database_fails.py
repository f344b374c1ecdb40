"""The database fails while the process runs: answers go on, and nothing is lost."""

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from policybot.protocol.canonical_json import JsonObject
from tests.bot.fault import Fault
from tests.bot.moderated import SPAMMER
from tests.store.samples import eventually

from .live import Live


@contextmanager
def full_disk(live: Live) -> Iterator[None]:
    """No file of the process can grow any more."""
    log = live.database.with_name("policybot.db-wal")
    resource.prlimit(live.pid, resource.RLIMIT_FSIZE, (log.stat().st_size, -1))
    yield
    resource.prlimit(live.pid, resource.RLIMIT_FSIZE, (-1, -1))


@contextmanager
def locked(live: Live) -> Iterator[None]:
    """Another process holds the file."""
    with closing(sqlite3.connect(live.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def rules(live: Live) -> set[str]:
    """The entities of the rules that the file has."""
    with closing(sqlite3.connect(live.database)) as conn:
        return {entity for (entity,) in conn.execute("SELECT entity FROM policy_rule")}


def stored(live: Live) -> int:
    """How many verdicts the file has."""
    with closing(sqlite3.connect(live.database)) as conn:
        return int(conn.execute("SELECT COUNT(*) FROM verdict").fetchone()[0])


async def begin(live: Live) -> str:
    """A protected room, and the spammer banned."""
    room_id = live.room()
    await live.start()
    assert (await live.ask(f"!policy enable {room_id}")).startswith("✅")
    assert (await live.ask(f"!policy ban {SPAMMER} spam")).startswith("✅")
    return room_id


async def answers(live: Live, events: list[JsonObject]) -> list[tuple[int, str | None]]:
    """The answers about these events, and where they are kept."""
    return [(answer.status, answer.kept) for answer in await live.asked_about(events)]


def both(live: Live, room_id: str) -> list[JsonObject]:
    """A message that is refused, and one that is signed."""
    free = SPAMMER.replace("spammer", "visitor")
    return [live.other.message(room_id, sender) for sender in (SPAMMER, free)]


async def they_stand(live: Live, events: list[JsonObject]) -> None:
    """The answers survive the end of the process, and other lists."""
    await live.kill()
    await live.start()
    assert (await live.ask(f"!policy unban {SPAMMER}")).startswith("✅")
    assert await answers(live, events) == [(400, "stored"), (200, "stored")]
    assert (await live.sign(events[0]["room_id"])).status == 200


async def test_a_full_disk(live: Live) -> None:
    room_id = await begin(live)
    events, before = both(live, room_id), stored(live)
    with full_disk(live):
        assert await answers(live, events) == [(400, "memory"), (200, "memory")]
        assert await answers(live, events) == [(400, "memory"), (200, "memory")]
        await live.notice("My database cannot be written (“disk I/O error”)")
        assert "2 verdicts wait in memory" in await live.ask("!policy status")
        assert live.log().count("Verdicts cannot be written") == 1
        assert live.log().count("The sync position cannot be saved") == 1
        assert "Traceback" not in live.log()
    await live.notice("My database can be written again")
    await eventually(lambda: stored(live) == before + 2)
    await live.notice("Refused")
    assert sum("My database" in notice for notice in live.notices()) == 2
    await they_stand(live, events)


async def test_commands_on_a_full_disk(live: Live) -> None:
    """What protects needs the database; the way out and a ban do not."""
    room_id, other = await begin(live), live.room("Other")
    with full_disk(live):
        await live.sign(room_id)
        await live.notice("My database cannot be written")
        enabling = await live.ask(f"!policy enable {other}")
        assert enabling.startswith("❌ My database does not take it"), enabling
        assert "m.room.policy" not in str(live.homeserver.rooms[other].state)
        banning = await live.ask("!policy ban @second:spam.example")
        assert banning.startswith("✅"), banning
        assert (await live.sign(room_id, "@second:spam.example")).status == 400
        disabling = await live.ask(f"!policy disable {room_id}")
        assert disabling.startswith("✅"), disabling
        assert (await live.sign(room_id)).status == 200
    await live.notice("My database can be written again")
    await eventually(lambda: "@second:spam.example" in rules(live))
    assert (await live.ask("!policy help")).startswith("✅")
    await live.kill()
    live.homeserver.fault("GET", "/", Fault.bad_gateway(times=1_000))
    await live.begin()
    assert (await live.sign(room_id)).status == 200, "the wish to let it go was stored"


async def test_a_file_that_another_process_locks(live: Live) -> None:
    room_id = await begin(live)
    events, before = both(live, room_id), stored(live)
    with locked(live):
        assert await answers(live, events) == [(400, "memory"), (200, "memory")]
        assert await answers(live, events) == [(400, "memory"), (200, "memory")]
        assert stored(live) == before
    await eventually(lambda: stored(live) == before + 2)
    await live.notice("Refused")
    assert not any("My database" in notice for notice in live.notices())
    await they_stand(live, events)
