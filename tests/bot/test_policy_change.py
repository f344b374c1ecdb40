"""What is told of a change that was read, as a table."""

import pytest

from policybot.bot.policy_change import (
    Standing,
    Wanted,
    enable_command,
    policy_change,
    standing,
    state_of,
)
from policybot.policy.records import RoomRecord
from policybot.policy.room import RoomMode
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.policy_event import PolicyServer

from .moderated import BOT, KEY, NAME, OTHER_KEY, OURS

POLICY = "m.room.policy"
UNSTABLE = "org.matrix.msc4284.policy"
CAROL = f"@carol:{NAME}"
OTHER: JsonObject = {"via": "other.example", "public_keys": {"ed25519": "A" * 43}}
WANTED = Wanted("Lobby", PolicyServer(NAME, KEY.public_key), BOT)


def record(
    stable: JsonObject | None,
    unstable: JsonObject | None = None,
    *,
    mode: RoomMode = RoomMode.ENABLED,
    settled: bool = False,
) -> RoomRecord:
    contents = {"m.room.create": {"room_version": "11"}, POLICY: stable, UNSTABLE: unstable}
    state = tuple(
        {"type": event_type, "state_key": "", "sender": CAROL, "content": content}
        for event_type, content in contents.items()
        if content is not None
    )
    return RoomRecord("!room:example.org", "!mods:example.org", mode, 0, None, settled, state)


@pytest.mark.parametrize(
    ("stable", "unstable", "expected"),
    [
        (OURS, None, Standing.OURS),
        (OURS, OTHER, Standing.OURS),
        (OTHER_KEY, None, Standing.OTHER_KEY),
        (OTHER, OURS, Standing.OTHER_SERVER),
        ({"via": NAME}, None, Standing.UNREADABLE),
        ({"via": 7}, OURS, Standing.UNREADABLE),
        (None, OURS, Standing.OLD_TYPE),
        ({}, OTHER_KEY, Standing.OLD_TYPE),
        (None, OTHER, Standing.NOTHING),
        ({}, None, Standing.NOTHING),
        (None, None, Standing.NOTHING),
    ],
)
def test_what_stands(
    stable: JsonObject | None, unstable: JsonObject | None, expected: Standing
) -> None:
    assert standing(state_of(record(stable, unstable)), WANTED.ours) is expected


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (record(None), record(None)),
        (record(None), record({})),
        (record(OTHER_KEY), record({})),
        (record(OTHER), record(OTHER)),
        (record(OTHER_KEY), record(OTHER_KEY, settled=True)),
        (record(OURS, settled=True), record(OURS, settled=True)),
        (record(OURS, OTHER, settled=True), record(OURS, settled=True)),
        (record(None, mode=RoomMode.UNCLAIMED), record(OTHER, mode=RoomMode.UNCLAIMED)),
        (
            record({}, mode=RoomMode.DISABLED, settled=True),
            record(OTHER, mode=RoomMode.DISABLED, settled=True),
        ),
        (record(OURS, mode=RoomMode.DISABLED), record(OURS, mode=RoomMode.DISABLED)),
    ],
)
def test_what_is_no_news(before: RoomRecord, now: RoomRecord) -> None:
    assert policy_change(before, now, WANTED) is None


@pytest.mark.parametrize(
    ("stands", "mode", "options"),
    [
        (OURS, RoomMode.ENABLED, ""),
        (OTHER, RoomMode.ENABLED, " --replace"),
        (OTHER_KEY, RoomMode.DRY_RUN, " --dry-run"),
        (OTHER, RoomMode.DRY_RUN, " --dry-run --replace"),
        (OTHER_KEY, RoomMode.UNCLAIMED, ""),
    ],
)
def test_the_command_that_cures(stands: JsonObject, mode: RoomMode, options: str) -> None:
    room = record(stands, mode=mode)
    assert enable_command(room, WANTED.ours) == f"enable !room:example.org{options}"
