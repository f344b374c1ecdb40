"""The tables, made and changed step by step: version N of the schema is the N-th function here.

The SQL is taken by SQLite and PostgreSQL alike; the two differences are named where they are.
Numbers of milliseconds and counters are BIGINT, since INTEGER has 32 bits in PostgreSQL. A step
that has been released is never changed, a new one is added and registered after it.
"""

from mautrix.util.async_db import Connection, Scheme, UpgradeTable

upgrade_table = UpgradeTable()


async def create_tables(conn: Connection, scheme: Scheme) -> None:
    """Make all tables of the first version."""
    for statement in (
        *_verdict_tables(scheme),
        *_RULE_TABLES,
        *_ROOM_TABLES,
        *_OTHER_TABLES,
    ):
        await conn.execute(statement)


def _verdict_tables(scheme: Scheme) -> tuple[str, ...]:
    sqlite = scheme is Scheme.SQLITE
    # Keys are hashes, so each new one falls on another page. Without a row ID SQLite keeps one
    # tree instead of two: half the pages to write.
    by_key_only = " WITHOUT ROWID" if sqlite else ""
    # Only this spelling makes the number the row ID in SQLite, which saves an index.
    number = "INTEGER" if sqlite else "BIGINT"
    return (
        f"""CREATE TABLE verdict (
            key BYTEA PRIMARY KEY,
            day INTEGER NOT NULL,
            signed BOOLEAN NOT NULL
        ){by_key_only}""",
        f"""CREATE TABLE decision (
            number {number} PRIMARY KEY,
            key BYTEA NOT NULL,
            reference TEXT NOT NULL,
            signed BOOLEAN NOT NULL,
            room_id TEXT NOT NULL,
            moderation_room TEXT NOT NULL,
            event_id TEXT NOT NULL,
            event_type TEXT NOT NULL,
            state_key TEXT,
            sender TEXT NOT NULL,
            caller TEXT NOT NULL,
            origin_server_ts BIGINT NOT NULL,
            received_ts BIGINT NOT NULL,
            ground TEXT NOT NULL,
            unverified BOOLEAN NOT NULL,
            old BOOLEAN NOT NULL,
            text TEXT,
            rule_list TEXT,
            rule_kind TEXT,
            rule_event_type TEXT,
            rule_state_key TEXT,
            rule_entity TEXT,
            rule_entity_hash TEXT,
            rule_recommendation TEXT,
            rule_reason TEXT,
            rule_event_id TEXT,
            rule_sender TEXT,
            rule_ts BIGINT
        )""",
        "CREATE INDEX decision_reference ON decision (reference)",
        "CREATE INDEX decision_event ON decision (event_id)",
        "CREATE INDEX decision_report ON decision (moderation_room, number)",
        "CREATE INDEX decision_refused ON decision (room_id, received_ts) WHERE ground = 'rule'",
    )


_RULE_TABLES = (
    """CREATE TABLE policy_rule (
        list_id TEXT NOT NULL,
        event_type TEXT NOT NULL,
        state_key TEXT NOT NULL,
        kind TEXT NOT NULL,
        entity TEXT NOT NULL,
        entity_hash TEXT NOT NULL,
        recommendation TEXT NOT NULL,
        reason TEXT NOT NULL,
        event_id TEXT NOT NULL,
        sender TEXT NOT NULL,
        origin_server_ts BIGINT NOT NULL,
        PRIMARY KEY (list_id, event_type, state_key)
    )""",
    """CREATE TABLE subscription (
        moderation_room TEXT NOT NULL,
        list_id TEXT NOT NULL,
        position INTEGER NOT NULL,
        shortcode TEXT NOT NULL,
        own BOOLEAN NOT NULL,
        PRIMARY KEY (moderation_room, list_id)
    )""",
)

_ROOM_TABLES = (
    """CREATE TABLE protected_room (
        room_id TEXT PRIMARY KEY,
        moderation_room TEXT NOT NULL,
        mode TEXT NOT NULL,
        enabled_ts BIGINT NOT NULL,
        disabled_ts BIGINT,
        settled BOOLEAN NOT NULL,
        state TEXT NOT NULL
    )""",
    """CREATE TABLE moderation_room (
        room_id TEXT PRIMARY KEY,
        join_rule TEXT NOT NULL,
        members TEXT NOT NULL
    )""",
)

_OTHER_TABLES = (
    """CREATE TABLE setting (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    )""",
    """CREATE TABLE server_keys (
        server_name TEXT PRIMARY KEY,
        document TEXT NOT NULL,
        fetched_ts BIGINT NOT NULL,
        valid_until_ts BIGINT NOT NULL
    )""",
    """CREATE TABLE report_cursor (
        room_id TEXT PRIMARY KEY,
        number BIGINT NOT NULL,
        pending_to BIGINT,
        pending_since BIGINT
    )""",
)


async def add_exemptions(conn: Connection) -> None:
    """Local exemptions, and an index to count what would have been refused in dry run."""
    await conn.execute(
        """CREATE TABLE exemption (
            moderation_room TEXT NOT NULL,
            user_id TEXT NOT NULL,
            reason TEXT NOT NULL,
            allowed_by TEXT NOT NULL,
            allowed_ts BIGINT NOT NULL,
            PRIMARY KEY (moderation_room, user_id)
        )"""
    )
    await conn.execute(
        "CREATE INDEX decision_dry_run ON decision (room_id, received_ts) WHERE ground = 'dry run'"
    )


async def edit_reports(conn: Connection) -> None:
    """Keep which notice reports go on in, and what kind of message was refused."""
    for statement in (
        "ALTER TABLE report_cursor ADD COLUMN notice_id TEXT",
        "ALTER TABLE report_cursor ADD COLUMN notice_after BIGINT",
        "ALTER TABLE report_cursor ADD COLUMN notice_begun_ts BIGINT",
        "ALTER TABLE report_cursor ADD COLUMN notice_told_ts BIGINT",
        "ALTER TABLE decision ADD COLUMN msgtype TEXT",
    ):
        await conn.execute(statement)


upgrade_table.register(create_tables)
upgrade_table.register(add_exemptions)
upgrade_table.register(edit_reports)
