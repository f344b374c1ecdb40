"""A bot whose database was exported and imported goes on as after a restart."""

from functools import partial
from io import BytesIO
from pathlib import Path

from policybot.store.archive import export_database
from policybot.store.archive_file import ArchiveReader
from policybot.store.archive_import import import_archive
from policybot.store.bare_database import bare_database
from tests.store.samples import eventually

from .fake_homeserver import Fault
from .moderated import ALICE, SPAMMER, Moderated

SEND = "/send/m.room.message/policybot-report"
OTHER = "@other:spam.example"


async def move(bot: Moderated, url: str) -> None:
    """Stop, move everything into another database, and start there."""
    await bot.stop()
    file = BytesIO()
    async with bare_database(bot.database_url) as db:
        await export_database(db, file, None)
    bot.database_url = url
    async with bare_database(url) as db:
        await import_archive(ArchiveReader(BytesIO(file.getvalue())), db, None)
    await bot.start()


async def test_a_moved_bot_goes_on(
    moderated: Moderated, postgres_url: str, tmp_path: Path
) -> None:
    """To PostgreSQL and back. What was answered stays, what was told is not told again, and what
    was not told yet, is."""
    bot = moderated
    # The key made at the first start, which is in the database alone.
    bot.settings["policy_server"]["signing_key"] = None
    await bot.start()
    room_id = await bot.enabled()
    await bot.ask(f"!policy ban {SPAMMER} spam")
    refused, signed = (bot.other.message(room_id, sender) for sender in (SPAMMER, ALICE))
    answers = await bot.asked_about([refused, signed])
    assert [answer.status for answer in answers] == [400, 200]
    await bot.notice("🚫", SPAMMER)
    await bot.ask(f"!policy ban {OTHER}")

    for told, url in enumerate((postgres_url, f"sqlite://{tmp_path}/back.db"), 1):
        await refuse_untold(bot, room_id)
        await move(bot, url)
        await bot.homeserver.wait_for(partial(tells, bot, OTHER, told))
        # The list says something else now.
        await bot.ask(f"!policy unban {SPAMMER}")
        again = await bot.asked_about([refused, signed])
        assert [answer.body for answer in again] == [answer.body for answer in answers]
        await bot.caught_up()
        assert tells(bot, SPAMMER, 1)
        assert tells(bot, OTHER, told)
        await bot.ask(f"!policy ban {SPAMMER} spam")


async def refuse_untold(bot: Moderated, room_id: str) -> None:
    """Refuse something, and let its report not come out any more."""
    bot.homeserver.fault("PUT", SEND, Fault.hang())
    calls = len(bot.homeserver.calls("PUT", SEND))
    await bot.sign(room_id, OTHER)
    await eventually(lambda: len(bot.homeserver.calls("PUT", SEND)) > calls)


def tells(bot: Moderated, sender: str, count: int) -> bool:
    """Whether the reports name so many refusals of this sender."""
    return sum(notice.count(f"message by {sender}") for notice in bot.notices()) == count
