"""How far each reports room has been told, and in which notice."""

from mautrix.util.async_db import Database

from policybot.policy.records import ReportCursor, ReportNotice
from policybot.store.database import open_database
from policybot.store.report_cursor import ReportCursorTable

from .samples import first_version


async def test_a_notice_is_begun_edited_and_ended(db: Database) -> None:
    table = ReportCursorTable(db)
    room = "!reports:example.org"
    assert await table.get(room) is None
    for cursor in (
        ReportCursor(room, 0),
        ReportCursor(room, 0, pending_to=7, pending_since=1_700_000_000_000),
        ReportCursor(room, 7, notice=ReportNotice("$notice", 0, 1, 2)),
        ReportCursor(room, 7, 9, 3, ReportNotice("$notice", 0, 1, 2)),
        ReportCursor(room, 9),
    ):
        await table.save(cursor)
        assert await table.get(room) == cursor
    assert await table.get("!other:example.org") is None


async def test_a_notice_of_the_first_version_is_not_sent_again_as_another(
    database_url: str,
) -> None:
    """What was pending when an older version ended is still pending."""
    old = await first_version(database_url)
    await old.execute(
        "INSERT INTO report_cursor (room_id, number, pending_to, pending_since) "
        "VALUES ('!reports', 5, 7, 99)"
    )
    await old.stop()
    db = await open_database(database_url)
    try:
        assert await ReportCursorTable(db).get("!reports") == ReportCursor("!reports", 5, 7, 99)
    finally:
        await db.stop()
