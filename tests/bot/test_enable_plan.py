"""Whether a room can be put under the policy server: tables over its state."""

from dataclasses import replace
from typing import Any

import pytest

from policybot.bot.enable_plan import EnableWish, forms_naming, plan_enable, standing_server
from policybot.bot.errors import CommandError
from policybot.protocol.policy_event import POLICY_EVENT, UNSTABLE_POLICY_EVENT, PolicyServer

KEY = "A" * 43
OURS = PolicyServer("example.org", KEY)
BOT = "@policybot:example.org"
WISH = EnableWish(
    room_id="!room:example.org",
    moderation_room="!mods:example.org",
    asked_by="@alice:example.org",
    ours=OURS,
    bot_user_id=BOT,
    asker_needs_power=False,
    replace=False,
    now_ms=1,
)
STABLE = {"via": "example.org", "public_keys": {"ed25519": KEY}}
OTHER = {"via": "other.example", "public_keys": {"ed25519": KEY}}


def state(version: str = "11", creator: str = BOT, **contents: Any) -> dict[tuple[str, str], Any]:
    """State events by type; ``policy`` and ``unstable`` are short for the policy events."""
    names = {"policy": POLICY_EVENT, "unstable": UNSTABLE_POLICY_EVENT}
    events: dict[str, Any] = {"m.room.create": {"room_version": version}}
    events |= {names.get(name, f"m.room.{name}"): value for name, value in contents.items()}
    return {
        (event_type, ""): {
            "type": event_type,
            "state_key": "",
            "sender": creator,
            "content": content,
        }
        for event_type, content in events.items()
    }


@pytest.mark.parametrize(
    ("version", "creator", "levels", "missing"),
    [
        ("11", BOT, None, False),  # no power levels: state needs 0
        ("11", "@carol:x", None, False),
        ("11", BOT, {"users": {BOT: 50}}, False),
        ("11", BOT, {"users": {BOT: 49}}, True),
        ("11", BOT, {"users": {BOT: 50}, "events": {POLICY_EVENT: 51}}, True),
        ("11", BOT, {"users": {BOT: 0}, "events": {POLICY_EVENT: 0}}, False),
        ("11", BOT, {"users_default": 100}, False),
        ("11", BOT, {"users": {BOT: "50"}}, True),  # strings do not count in version 11
        ("9", BOT, {"users": {BOT: "50"}}, False),
        ("12", BOT, {"users": {}}, False),  # creators stand above all levels
        ("12", "@carol:x", {"users": {}}, True),
        ("12", "@carol:x", {"users": {BOT: 50}, "state_default": 51}, True),
    ],
)
def test_the_bots_power(version: str, creator: str, levels: Any, missing: bool) -> None:
    contents = {} if levels is None else {"power_levels": levels}
    plan = plan_enable(WISH, state(version, creator, **contents))
    assert (plan.power_missing is not None) is missing


def test_the_askers_power_counts_only_where_it_is_wanted() -> None:
    weak = state(power_levels={"users": {BOT: 100}})
    assert plan_enable(WISH, weak).power_missing is None
    with pytest.raises(CommandError, match="your power level there is 0, needed is 50"):
        plan_enable(replace(WISH, asker_needs_power=True), weak)


@pytest.mark.parametrize(
    ("contents", "empty_unstable", "already_set"),
    [
        ({}, False, False),
        ({"policy": {}}, False, False),
        ({"policy": STABLE}, False, True),
        ({"policy": {"via": "example.org", "public_key": KEY}}, False, True),
        ({"policy": {**STABLE, "public_keys": {"ed25519": "B" * 43}}}, False, False),
        ({"unstable": {"via": "example.org", "public_key": KEY}}, False, False),
        ({"unstable": {"via": "example.org", "public_key": "B" * 43}}, True, False),
        ({"policy": STABLE, "unstable": OTHER}, True, True),
    ],
)
def test_what_stands_already(
    contents: dict[str, Any], empty_unstable: bool, already_set: bool
) -> None:
    plan = plan_enable(WISH, state(**contents))
    assert (plan.empty_unstable, plan.already_set) == (empty_unstable, already_set)
    assert plan.content == STABLE


@pytest.mark.parametrize(
    "contents", [{"policy": OTHER}, {"unstable": OTHER}, {"policy": {}, "unstable": OTHER}]
)
def test_another_server_needs_replace(contents: dict[str, Any]) -> None:
    with pytest.raises(CommandError, match="“other.example”.*--replace"):
        plan_enable(WISH, state(**contents))
    assert plan_enable(replace(WISH, replace=True), state(**contents)).content == STABLE


@pytest.mark.parametrize(
    "broken",
    [state("99"), state(version=7), {}, state(tombstone={"replacement_room": "!x"})],  # type: ignore[arg-type]
)
def test_rooms_that_cannot_be_protected(broken: dict[tuple[str, str], Any]) -> None:
    with pytest.raises(CommandError):
        plan_enable(WISH, broken)


@pytest.mark.parametrize(
    ("contents", "forms", "standing"),
    [
        ({}, (), None),
        ({"policy": STABLE}, (POLICY_EVENT,), OURS),
        ({"policy": {"via": "example.org"}}, (POLICY_EVENT,), None),
        ({"policy": {"via": ["example.org"]}}, (), None),
        ({"policy": [], "unstable": STABLE}, (UNSTABLE_POLICY_EVENT,), OURS),
        ({"policy": STABLE, "unstable": STABLE}, (POLICY_EVENT, UNSTABLE_POLICY_EVENT), OURS),
        (
            {"policy": OTHER, "unstable": STABLE},
            (UNSTABLE_POLICY_EVENT,),
            PolicyServer("other.example", KEY),
        ),
    ],
)
def test_forms_that_name_us(
    contents: dict[str, Any], forms: tuple[str, ...], standing: PolicyServer | None
) -> None:
    assert forms_naming(frozenset({"example.org"}), state(**contents)) == forms
    assert standing_server(state(**contents)) == standing
