from mautrix.util.async_db import Database

from policybot.policy.records import ReportCursor
from policybot.store.report_cursor import ReportCursorTable


async def test_a_digest_is_begun_and_ended(db: Database) -> None:
    table = ReportCursorTable(db)
    room = "!reports:example.org"
    assert await table.get(room) is None
    for cursor in (
        ReportCursor(room, 0),
        ReportCursor(room, 0, pending_to=7, pending_since=1_700_000_000_000),
        ReportCursor(room, 7),
    ):
        await table.save(cursor)
        assert await table.get(room) == cursor
    assert await table.get("!other:example.org") is None
