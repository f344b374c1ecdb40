"""Saved rules: in pieces, and only what differs."""

import asyncio
from dataclasses import replace

import aiosqlite
import pytest
from mautrix.util.async_db import Connection, Database

from policybot.policy.rule import Recommendation, Rule, RuleKey, RuleKind
from policybot.store.rules import RuleTable
from policybot.store.transaction import connection, transact

from .samples import RULE

LIST = RULE.list_id


def rules(count: int, list_id: str = LIST) -> list[Rule]:
    return [
        replace(RULE, list_id=list_id, state_key=f"{number:05}", entity=f"@{number}:example.com")
        for number in range(count)
    ]


async def loaded(table: RuleTable) -> list[Rule]:
    return [rule async for piece in table.load() for rule in piece]


async def writes(db: Database) -> int:
    """How many rows were written so far; SQLite only."""
    async with connection(db) as conn:
        assert isinstance(conn.wrapped, aiosqlite.Connection)
        return conn.wrapped.total_changes


async def test_rules_come_back_as_they_were(db: Database) -> None:
    table = RuleTable(db)
    saved = [
        RULE,
        replace(
            RULE,
            kind=RuleKind.SERVER,
            event_type="org.matrix.mjolnir.rule.server",
            state_key="",
            entity="",
            entity_hash="3q2+7w==",
            recommendation=Recommendation.TAKEDOWN,
            reason="",
        ),
        replace(RULE, list_id="!other:example.org", recommendation=Recommendation.ALLOW),
    ]
    await table.save(LIST, saved)
    assert sorted(await loaded(table), key=lambda rule: rule.key) == sorted(
        saved, key=lambda rule: rule.key
    )


async def test_many_rules_are_loaded_in_pieces(db: Database) -> None:
    table = RuleTable(db)
    await table.save(LIST, rules(1_201))
    pieces = [piece async for piece in table.load()]
    assert [len(piece) for piece in pieces] == [500, 500, 201]
    assert {rule for piece in pieces for rule in piece} == set(rules(1_201))


async def test_save_replaces_by_key_and_removes(db: Database) -> None:
    table = RuleTable(db)
    await table.save(LIST, rules(3))
    changed = replace(rules(1)[0], entity="@changed:example.com")
    await table.save(LIST, [changed], [rules(3)[2].key, RuleKey(LIST, "m.policy.rule.user", "no")])
    assert await loaded(table) == [changed, rules(2)[1]]


async def test_replace_leaves_what_was_given(db: Database) -> None:
    table = RuleTable(db)
    others = rules(2, "!other:example.org")
    await table.save("!other:example.org", others)
    await table.save(LIST, rules(700))
    wanted = [replace(rules(1)[0], reason="other"), *rules(1_300)[600:]]
    await table.replace(LIST, wanted)
    assert set(await loaded(table)) == {*wanted, *others}


@pytest.mark.usefixtures("sqlite_file")
async def test_replace_writes_only_what_differs(db: Database) -> None:
    table = RuleTable(db)
    await table.replace(LIST, rules(1_000))
    before = await writes(db)
    await table.replace(LIST, rules(1_000))
    assert await writes(db) == before
    await table.replace(LIST, [*rules(998), replace(rules(999)[998], reason="other")])
    assert await writes(db) == before + 2


async def test_remove_list(db: Database) -> None:
    table = RuleTable(db)
    others = rules(2, "!other:example.org")
    await table.save("!other:example.org", others)
    await table.save(LIST, rules(1_100))
    await table.remove_list(LIST)
    assert await loaded(table) == others


@pytest.mark.parametrize("steps", [1, 5, 30, 100, 300])
async def test_cut_off_half_way_and_made_whole_again(db: Database, steps: int) -> None:
    table = RuleTable(db)
    await table.save(LIST, rules(600))
    wanted = [replace(rule, reason="other") for rule in rules(1_600)[400:]]
    replacing = asyncio.create_task(table.replace(LIST, wanted))
    for _ in range(steps):
        await asyncio.sleep(0)
    replacing.cancel()
    await asyncio.wait({replacing})
    # No rule that stays is ever missing.
    assert {rule.key for rule in rules(600)[400:]} <= {rule.key for rule in await loaded(table)}
    await table.replace(LIST, wanted)
    assert set(await loaded(table)) == set(wanted)


async def test_the_connection_is_free_between_pieces(db: Database) -> None:
    table = RuleTable(db)
    replacing = asyncio.create_task(table.replace(LIST, rules(5_000)))
    others = 0

    async def nothing(conn: Connection) -> None:
        pass

    while not replacing.done():
        await transact(db, nothing)
        others += 1
    await replacing
    assert others >= 10
