"""What is judged, in which order, and what of it is stored."""

from dataclasses import replace
from typing import Any

import pytest

from policybot.endpoint.sign import FailureAnswer
from policybot.policy.room import RoomMode
from policybot.policy.verdict import Decision, Ground
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.event_hash import event_id, signing_bytes
from policybot.protocol.redaction import redact
from policybot.protocol.room_version import ROOM_VERSIONS

from ..protocol.events import KEY_ID, NAME
from .conftest import Open
from .scene import (
    ALICE,
    BOT,
    CALLER,
    ENABLED_TS,
    LIST,
    MODS,
    NOW,
    POLICY_KEY,
    ROOM,
    SERVER_KEY_ID,
    SPAMMER,
    V11,
    Scene,
    event_of,
    key_of,
    member_event,
    protected,
    server_key,
    sign_as,
    verifies,
)


async def test_of_an_accept_only_its_hash_is_kept(scene: Scene) -> None:
    event = event_of(ALICE)
    assert verifies(await scene.ask(event), event)
    assert scene.verdicts.submitted == [Decision(key_of(event), True)]


async def test_what_is_kept_of_a_refusal(scene: Scene) -> None:
    event = event_of(SPAMMER, content={"body": "x" * 5000})
    assert (await scene.ask(event)).refused
    (decision,) = scene.verdicts.submitted
    details = decision.details
    assert details is not None
    assert (decision.key, decision.signed) == (key_of(event), False)
    assert (details.room_id, details.moderation_room) == (ROOM, MODS)
    assert (details.sender, details.caller) == (SPAMMER, CALLER)
    assert (details.event_type, details.state_key) == ("m.room.message", None)
    assert details.event_id == event_id(event, V11)
    assert details.origin_server_ts == event["origin_server_ts"]
    assert details.received_ts == NOW
    assert details.ground is Ground.RULE
    assert details.rule is not None and details.rule.entity == SPAMMER
    assert (details.unverified, details.old) == (False, False)
    assert details.text == "x" * 2000


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"msgtype": "m.notice", "body": "spam"}, "spam"),
        ({"msgtype": "m.image", "body": "spam.png", "url": "mxc://a/b"}, None),
        # What clients show of an edit.
        (
            {
                "msgtype": "m.text",
                "body": "* harmless",
                "m.new_content": {"msgtype": "m.text", "body": "spam"},
            },
            "spam",
        ),
    ],
)
async def test_the_text_of_text_messages_is_kept(
    scene: Scene, content: dict[str, Any], text: str | None
) -> None:
    assert (await scene.ask(event_of(SPAMMER, content=content))).refused
    details = scene.verdicts.submitted[0].details
    assert details is not None and details.text == text
    assert details.msgtype == content["msgtype"]


async def test_texts_are_kept_only_if_wanted(open_scene: Open) -> None:
    scene = await open_scene(keep_text=False)
    assert (await scene.ask(event_of(SPAMMER))).refused
    details = scene.verdicts.submitted[0].details
    assert details is not None and details.text is None


@pytest.mark.parametrize("body", [5, None, ["x"], {"a": "b"}])
async def test_a_text_that_is_none(scene: Scene, body: Any) -> None:
    assert (await scene.ask(event_of(SPAMMER, content={"body": body}))).refused
    details = scene.verdicts.submitted[0].details
    assert details is not None and details.text is None


async def test_events_from_before_the_enabling_are_marked(scene: Scene) -> None:
    assert (await scene.ask(event_of(SPAMMER, origin_server_ts=ENABLED_TS - 1))).refused
    assert (await scene.ask(event_of(SPAMMER, origin_server_ts=ENABLED_TS))).refused
    old = [decision.details.old for decision in scene.verdicts.submitted if decision.details]
    assert old == [True, False]


@pytest.mark.parametrize("version", ROOM_VERSIONS.values(), ids=lambda version: version.name)
async def test_each_room_version(scene: Scene, version: Any) -> None:
    scene.rooms[ROOM] = protected(version=version)
    good, bad = event_of(ALICE, version), event_of(SPAMMER, version)
    assert verifies(await scene.ask(good), good, version)
    assert (await scene.ask(bad)).refused
    details = scene.verdicts.submitted[1].details
    assert details is not None and details.event_id == event_id(bad, version)


async def test_exemptions_are_kept_when_they_save_someone(scene: Scene) -> None:
    scene.rooms[ROOM] = protected(powerful=frozenset({SPAMMER, ALICE}))
    for sender in (SPAMMER, ALICE):
        event = event_of(sender)
        assert verifies(await scene.ask(event), event)
    saved, ordinary = scene.verdicts.submitted
    assert saved.details is not None and saved.details.ground is Ground.POWER
    assert ordinary.details is None


async def test_the_bots_own_events_are_signed(scene: Scene) -> None:
    scene.ban(BOT)
    event = event_of(BOT)
    assert verifies(await scene.ask(event), event)


async def test_dry_run_signs_and_keeps(scene: Scene) -> None:
    scene.rooms[ROOM] = protected(mode=RoomMode.DRY_RUN)
    event = event_of(SPAMMER)
    assert verifies(await scene.ask(event), event)
    details = scene.verdicts.submitted[0].details
    assert details is not None and details.ground is Ground.DRY_RUN


@pytest.mark.parametrize("mode", [RoomMode.DISABLED, RoomMode.UNCLAIMED])
async def test_rooms_in_which_all_is_signed(scene: Scene, mode: RoomMode) -> None:
    before = event_of(SPAMMER, depth=1)
    assert (await scene.ask(before)).refused
    scene.rooms[ROOM] = protected(mode=mode, moderation_room=None)
    event = event_of(SPAMMER)
    event["signatures"] = {}  # nobody's key is needed
    assert verifies(await scene.ask(event), event)
    assert scene.verdicts.stored[key_of(event)] is True
    # A verdict from before stands.
    assert (await scene.ask(before)).refused


async def test_a_room_without_its_moderation_room_has_no_rules(scene: Scene) -> None:
    scene.moderation_rooms.clear()
    event = event_of(SPAMMER)
    assert verifies(await scene.ask(event), event)


async def test_membership(scene: Scene) -> None:
    for membership in ("join", "leave", "ban"):
        event = member_event(SPAMMER, SPAMMER, membership)
        assert verifies(await scene.ask(event), event)
    for membership in ("invite", "knock"):
        assert (await scene.ask(member_event(SPAMMER, ALICE, membership))).refused


# -- the first verdict stands --------------------------------------------------------------------


async def test_the_first_verdict_stands_when_rules_change(scene: Scene) -> None:
    refused, accepted = event_of(SPAMMER), event_of(ALICE)
    assert (await scene.ask(refused)).refused
    assert (await scene.ask(accepted)).signature
    scene.unban_all()
    scene.ban(ALICE)
    for ask in (scene.ask, scene.ask_unstable):
        first, second = await ask(refused), await ask(accepted)
        assert first.signature is None and first.verdict == "stored"
        assert verifies(second, accepted) and second.verdict == "stored"
    assert len(scene.verdicts.submitted) == 2
    assert scene.use_case.counts["repeated"] == 4
    fresh = event_of(SPAMMER, depth=8)
    assert verifies(await scene.ask(fresh), fresh)


async def test_a_stored_verdict_stands_after_a_restart(scene: Scene) -> None:
    refused, accepted = event_of(SPAMMER), event_of(ALICE)
    scene.verdicts.stored = {key_of(refused): True, key_of(accepted): False}
    assert verifies(await scene.ask(refused), refused)
    assert (await scene.ask(accepted)).refused
    assert verifies(await scene.ask(refused), refused)
    assert len(scene.verdicts.submitted) == 2


@pytest.mark.parametrize("version", ["1", "2"])
async def test_two_events_under_one_event_id(scene: Scene, version: str) -> None:
    old = ROOM_VERSIONS[version]
    scene.rooms[ROOM] = protected(version=old)
    first = event_of(ALICE, old, event_id="$one:good.example")
    second = event_of(ALICE, old, event_id="$one:good.example", content={"body": "other"})
    assert verifies(await scene.ask(first), first, old)
    scene.ban(ALICE)
    assert (await scene.ask(second)).refused
    assert verifies(await scene.ask(first), first, old)


# -- copies that are not complete ----------------------------------------------------------------


def redacted(event: JsonObject) -> JsonObject:
    return {**redact(event, V11), "signatures": event["signatures"]}


@pytest.mark.parametrize("full_first", [True, False])
async def test_a_redacted_message_is_never_signed(scene: Scene, full_first: bool) -> None:
    event = event_of(ALICE)
    if full_first:
        assert verifies(await scene.ask(event), event)
    assert (await scene.ask(redacted(event))).check_failed
    assert scene.use_case.counts["content hash wrong"] == 1
    assert len(scene.verdicts.submitted) == full_first
    assert verifies(await scene.ask(event), event)


async def test_other_content_under_the_same_hash_is_never_signed(scene: Scene) -> None:
    event = {**event_of(ALICE), "content": {"body": "something else"}}
    assert (await scene.ask(event)).check_failed
    assert (await scene.ask_unstable(event)).check_failed


async def test_a_redacted_state_event_is_judged_and_not_stored(scene: Scene) -> None:
    for sender, signed in ((ALICE, True), (SPAMMER, False)):
        event = event_of(sender, type="m.room.topic", state_key="", content={"topic": "x"})
        reply = await scene.ask(redacted(event))
        assert verifies(reply, event) if signed else reply.refused
        assert reply.verdict == "memory"
    assert scene.verdicts.submitted == []
    assert scene.verdicts.stored == {}
    assert len(scene.verdicts.looked_up) == 2
    scene.unban_all()
    assert (await scene.ask(redacted(event))).signature


async def test_a_stored_verdict_stands_for_a_redacted_state_event(scene: Scene) -> None:
    event = event_of(ALICE, type="m.room.topic", state_key="", content={"topic": "x"})
    scene.verdicts.stored[key_of(event)] = False
    assert (await scene.ask(redacted(event))).refused
    remembered = event_of(SPAMMER, type="m.room.topic", state_key="", content={"topic": "x"})
    assert (await scene.ask(remembered)).refused
    scene.unban_all()
    reply = await scene.ask(redacted(remembered))
    assert reply.refused and reply.verdict == "stored"


# -- signatures of our own name ------------------------------------------------------------------


async def test_signatures_of_our_name_are_returned_too(scene: Scene) -> None:
    scene.keys.known[NAME, SERVER_KEY_ID] = server_key(NAME).verify_key
    event = event_of(f"@user:{NAME}")
    own = event["signatures"][NAME][SERVER_KEY_ID]
    for _ in range(2):
        reply = await scene.ask(event)
        assert verifies(reply, event)
        assert reply.json == {NAME: {SERVER_KEY_ID: own, KEY_ID: reply.signature}}


@pytest.mark.parametrize(
    "junk", [{}, {KEY_ID: "old"}, {"": ""}, {"a\x00b": "\N{GRINNING FACE}"}, {"x": "y" * 60_000}]
)
async def test_junk_under_our_name_never_breaks_the_answer(
    scene: Scene, junk: dict[str, str]
) -> None:
    event = event_of(ALICE)
    event["signatures"][NAME] = junk
    reply = await scene.ask(event)
    assert verifies(reply, event)
    assert reply.json == {NAME: {**junk, KEY_ID: reply.signature}}


# -- faults of our own ---------------------------------------------------------------------------


@pytest.mark.parametrize("sender", [ALICE, SPAMMER])
@pytest.mark.parametrize("broken", ["keys", "verdicts"])
async def test_a_fault_signs(
    scene: Scene, sender: str, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    event = event_of(sender)
    getattr(scene, broken).broken = True
    reply = await scene.ask(event)
    assert verifies(reply, event) and reply.verdict == "memory"
    assert scene.faults == [(ROOM, True)]
    assert scene.use_case.counts["faults"] == 1
    assert "is broken" in caplog.text or "are broken" in caplog.text
    # It was not stored or remembered: the event is judged once the fault is gone.
    getattr(scene, broken).broken = False
    assert (await scene.ask(event)).refused is (sender == SPAMMER)
    assert len(scene.verdicts.submitted) == 1


async def test_a_fault_refuses_if_so_configured(open_scene: Open) -> None:
    scene = await open_scene(on_failure=FailureAnswer.REFUSE)
    scene.verdicts.broken = True
    event = event_of(ALICE)
    for ask in (scene.ask, scene.ask_unstable):
        reply = await ask(event)
        assert reply.check_failed
        assert "broken" not in reply.json["error"]
    assert scene.faults == [(ROOM, False), (ROOM, False)]
    scene.verdicts.broken = False
    assert verifies(await scene.ask(event), event)


@pytest.mark.parametrize("mode", [RoomMode.DRY_RUN, RoomMode.DISABLED, RoomMode.UNCLAIMED])
async def test_a_fault_refuses_nobody_where_all_is_signed(
    open_scene: Open, mode: RoomMode
) -> None:
    scene = await open_scene(on_failure=FailureAnswer.REFUSE)
    scene.rooms[ROOM] = protected(mode=mode)
    scene.verdicts.broken = True
    event = event_of(SPAMMER)
    assert verifies(await scene.ask(event), event)
    assert scene.faults == [(ROOM, True)]


async def test_telling_about_a_fault_may_fail_too(open_scene: Open) -> None:
    def fail(room_id: str, signed: bool) -> None:
        raise RuntimeError("cannot tell")

    scene = await open_scene(on_fault=fail)
    scene.verdicts.broken = True
    event = event_of(ALICE)
    assert verifies(await scene.ask(event), event)


async def test_a_fault_in_a_rule_list_does_not_reach_the_caller(scene: Scene) -> None:
    # A value that no code of ours makes stands for whatever bug there may be.
    scene.moderation_rooms[MODS] = replace(scene.moderation_rooms[MODS], lists=(LIST, [LIST]))  # type: ignore[arg-type]
    event = event_of(ALICE)
    reply = await scene.ask(event)
    assert verifies(reply, event) and reply.verdict == "memory"


async def test_a_signature_is_made_over_the_redacted_event(scene: Scene) -> None:
    event = event_of(ALICE)
    reply = await scene.ask(event)
    message = signing_bytes(redact(event, V11), V11)
    assert reply.signature is not None
    assert POLICY_KEY.verify_key.verify(message, reply.signature)
    assert verifies(await scene.ask(sign_as(event, V11, "good.example")), event)
