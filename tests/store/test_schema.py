from mautrix.util.async_db import Database, Scheme

from policybot.store.schema import LATEST, LIBRARY_TABLES, table_names, tables_of
from policybot.store.transaction import connection


async def test_every_table_can_be_gone_through_in_an_order() -> None:
    assert all(table.key for table in (await tables_of(LATEST)).values())


async def test_the_key_has_its_order() -> None:
    tables = await tables_of(1)
    assert tables["policy_rule"].key == ("list_id", "event_type", "state_key")
    assert list(tables["setting"].columns) == ["name", "value"]


async def test_a_database_has_these_tables_and_no_numbers_of_its_own(db: Database) -> None:
    """A number that the database gives out would have to go on after the imported ones."""
    tables = await tables_of(LATEST)
    async with connection(db) as conn:
        assert await table_names(conn) - LIBRARY_TABLES == set(tables)
    for table in tables.values():
        if db.scheme is Scheme.SQLITE:
            rows = await db.fetch(f"SELECT name FROM pragma_table_info('{table.name}')")
        else:
            rows = await db.fetch(
                """SELECT column_name, column_default, is_identity FROM information_schema.columns
                WHERE table_name = $1 AND table_schema = current_schema()
                ORDER BY ordinal_position""",
                table.name,
            )
            assert {(row["column_default"], row["is_identity"]) for row in rows} == {(None, "NO")}
        assert [row[0] for row in rows] == list(table.columns)


async def test_the_tables_are_not_those_of_the_database_in_use(db: Database) -> None:
    async with connection(db) as conn:
        await conn.execute("CREATE TABLE another (name TEXT PRIMARY KEY)")
        assert "another" not in await tables_of(LATEST)
