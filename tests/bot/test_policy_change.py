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
FORMER: JsonObject = {**OURS, "via": "old.example"}
FORMER_OTHER_KEY: JsonObject = {**OTHER_KEY, "via": "old.example"}
WANTED = Wanted("Lobby", PolicyServer(NAME, KEY.public_key), frozenset({"old.example"}), BOT)


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
        (FORMER, None, Standing.FORMER),
        (FORMER, OURS, Standing.FORMER),
        (FORMER_OTHER_KEY, None, Standing.OTHER_KEY),
        ({"via": "old.example"}, None, Standing.UNREADABLE),
        (None, FORMER, Standing.OLD_TYPE),
    ],
)
def test_what_stands(
    stable: JsonObject | None, unstable: JsonObject | None, expected: Standing
) -> None:
    assert standing(state_of(record(stable, unstable)), WANTED.ours, WANTED.former) is expected


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
        (record(FORMER), record(FORMER, settled=True)),
        (record(FORMER, settled=True), record(FORMER, OTHER, settled=True)),
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
        (FORMER, RoomMode.UNCLAIMED, ""),
        (FORMER_OTHER_KEY, RoomMode.DRY_RUN, " --dry-run"),
    ],
)
def test_the_command_that_cures(stands: JsonObject, mode: RoomMode, options: str) -> None:
    room = record(stands, mode=mode)
    assert enable_command(room, WANTED) == f"enable !room:example.org{options}"


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (OURS, FORMER, f"✅ {CAROL} set the policy server of “Lobby” to old.example, a former"),
        (OTHER, FORMER, f"✅ {CAROL} set the policy server of “Lobby” to old.example, a former"),
        (FORMER, OURS, "✅ The policy server stands in “Lobby” now; its events are checked."),
        (FORMER, {}, "⚠️ The policy server of “Lobby” was removed by"),
        (FORMER, OTHER, "⚠️ The policy server of “Lobby” was replaced by other.example by"),
        (FORMER, OTHER_KEY, "⚠️ The policy server of “Lobby” carries another key than mine"),
        (FORMER, FORMER_OTHER_KEY, "⚠️ The policy server of “Lobby” carries another key than"),
    ],
)
def test_changes_of_a_room_under_a_former_name(
    before: JsonObject, now: JsonObject, told: str
) -> None:
    notice = policy_change(record(before, settled=True), record(now, settled=True), WANTED)
    assert str(notice).startswith(told)
    assert ("!policy migrate" in str(notice)) is (now is FORMER)
    assert ("old.example" in str(notice)) is (now is FORMER)


def test_a_disabled_room_that_is_set_again_under_a_former_name() -> None:
    before = record({}, mode=RoomMode.DISABLED, settled=True)
    notice = policy_change(before, record(FORMER, mode=RoomMode.DISABLED), WANTED)
    assert f"{CAROL} set the policy server in “Lobby” again" in str(notice)
