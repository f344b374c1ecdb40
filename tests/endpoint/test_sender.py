"""Who sent the event: the three results of checking his server's signature."""

import pytest

from policybot.endpoint.sign import Waits
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.event_hash import signing_bytes
from policybot.protocol.room_version import ROOM_VERSIONS

from ..protocol.events import KEY_ID, NAME
from .conftest import Open
from .scene import (
    ALICE,
    CALLER,
    NOW,
    POLICY_KEY,
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


def signed_with(event: JsonObject, **signatures: str) -> JsonObject:
    """A copy with these signatures of good.example; ``_`` in key IDs stands for a colon."""
    named = {key_id.replace("_", ":", 1): text for key_id, text in signatures.items()}
    return {**event, "signatures": {"good.example": named}}


def good_signature(event: JsonObject) -> str:
    signature: str = event["signatures"]["good.example"][SERVER_KEY_ID]
    return signature


async def test_the_key_is_asked_for_by_the_time_of_the_event(scene: Scene) -> None:
    assert (await scene.ask(event_of(ALICE, origin_server_ts=NOW - 5))).signature
    assert scene.keys.asked == [("good.example", SERVER_KEY_ID, NOW - 5, True)]


@pytest.mark.parametrize(("version", "strict"), [("1", False), ("4", False), ("5", True)])
async def test_old_room_versions_have_no_expiry(scene: Scene, version: str, strict: bool) -> None:
    old = ROOM_VERSIONS[version]
    scene.rooms["!room:example.org"] = protected(version=old)
    event = event_of(ALICE, old)
    assert verifies(await scene.ask(event), event, old)
    assert scene.keys.asked[0][3] is strict


@pytest.mark.parametrize("sender", [ALICE, SPAMMER])
async def test_an_invalid_signature(scene: Scene, sender: str) -> None:
    event = event_of(sender)
    server = sender.partition(":")[2]
    event["signatures"] = {server: {SERVER_KEY_ID: "A" * 86}}
    reply = await scene.ask(event)
    assert reply.check_failed
    assert server in reply.json["error"]
    assert scene.verdicts.submitted == []
    assert scene.keys.fetched == []
    assert scene.use_case.counts["sender's signature wrong"] == 1
    # The corrupted copy does not decide for the real event.
    event = event_of(ALICE)
    assert verifies(await scene.ask(event), event)


async def test_no_signature_of_the_senders_server(scene: Scene) -> None:
    event = sign_as(event_of(ALICE), V11, CALLER)
    assert (await scene.ask(event)).check_failed
    unknown_algorithm = signed_with(event_of(ALICE), rsa_k1="x")
    assert (await scene.ask(unknown_algorithm)).check_failed
    assert scene.keys.fetched == []


async def test_a_forged_sender(scene: Scene) -> None:
    # bad.example puts words into the mouth of alice.
    event = {**event_of(SPAMMER), "sender": ALICE}
    forged = sign_as(event, V11, "bad.example")
    assert (await scene.ask(forged, origin="bad.example")).check_failed
    forged["signatures"]["good.example"] = forged["signatures"]["bad.example"]
    assert (await scene.ask(forged, origin="bad.example")).check_failed
    assert scene.verdicts.submitted == []


async def test_a_signature_that_cannot_be_checked_is_judged(open_scene: Open) -> None:
    scene = await open_scene(servers=(CALLER,))
    good, bad = event_of(ALICE), event_of(SPAMMER)
    assert verifies(await scene.ask(good), good)
    assert (await scene.ask(bad)).refused
    accepted, refused = scene.verdicts.submitted
    assert accepted.details is None
    assert refused.details is not None and refused.details.unverified
    assert scene.keys.fetched == [
        ("good.example", SERVER_KEY_ID),
        ("bad.example", SERVER_KEY_ID),
    ]
    assert scene.use_case.counts["sender's signature not checked"] == 2


async def test_a_checked_sender_is_not_unverified(scene: Scene) -> None:
    assert (await scene.ask(event_of(SPAMMER))).refused
    details = scene.verdicts.submitted[0].details
    assert details is not None and not details.unverified


@pytest.mark.parametrize(
    ("waits", "most"), [(Waits(keys=17.0, sender_key=9.0), 9.0), (Waits(3.0, 9.0), 3.0)]
)
async def test_the_senders_key_is_fetched_within_the_bound(
    open_scene: Open, waits: Waits, most: float
) -> None:
    scene = await open_scene(servers=(CALLER,), waits=waits)
    assert (await scene.ask(event_of(ALICE))).signature
    assert 0 < scene.keys.waits[0] <= most


async def test_the_wait_for_the_senders_key_ends_with_the_wait_for_all_keys(
    open_scene: Open,
) -> None:
    scene = await open_scene(servers=(CALLER,), waits=Waits(keys=0.05, sender_key=600.0))
    scene.keys.hold()
    assert (await scene.ask(event_of(ALICE))).signature
    assert scene.keys.waits[0] <= 0.05


async def test_a_senders_key_that_comes_during_the_wait(open_scene: Open) -> None:
    scene = await open_scene(servers=(CALLER,))
    scene.keys.arriving["good.example", SERVER_KEY_ID] = server_key("good.example").verify_key
    scene.keys.arriving["bad.example", SERVER_KEY_ID] = server_key("other").verify_key
    event = event_of(ALICE)
    assert verifies(await scene.ask(event), event)
    assert (await scene.ask(event_of(SPAMMER))).check_failed
    assert scene.use_case.counts["sender's signature not checked"] == 0


async def test_one_valid_signature_of_several_is_enough(scene: Scene) -> None:
    event = event_of(ALICE)
    good = good_signature(event)
    several = signed_with(event, ed25519_k0="A" * 86, ed25519_k1=good, rsa_x="x")
    assert verifies(await scene.ask(several), event)
    assert scene.keys.fetched == []


async def test_a_policy_key_is_not_the_key_to_fetch(open_scene: Open) -> None:
    # The sender's server is the policy server of another room and signed there as such.
    scene = await open_scene(servers=(CALLER,))
    event = event_of(ALICE)
    signatures = {KEY_ID: "A" * 86, SERVER_KEY_ID: good_signature(event)}
    event["signatures"] = {"good.example": signatures}
    assert verifies(await scene.ask(event), event)
    assert scene.keys.fetched == [("good.example", SERVER_KEY_ID)]


async def test_our_policy_signature_does_not_stand_for_the_server_of_our_name(
    open_scene: Open,
) -> None:
    scene = await open_scene(servers=(CALLER, NAME))
    event = event_of(f"@someone:{NAME}")
    event["signatures"] = {NAME: {KEY_ID: POLICY_KEY.sign(signing_bytes(event, V11))}}
    scene.keys.known[NAME, KEY_ID] = POLICY_KEY.verify_key
    assert (await scene.ask(event)).check_failed


async def test_what_is_always_signed_needs_no_senders_signature(scene: Scene) -> None:
    for event in (
        member_event(SPAMMER, SPAMMER, "leave"),
        event_of(SPAMMER, type="m.room.power_levels", state_key="", content={"users": {}}),
        event_of(SPAMMER, type="m.room.redaction", content={"redacts": "$x"}),
    ):
        event["signatures"] = {}
        assert verifies(await scene.ask(event), event)
    assert scene.keys.asked == []


async def test_a_third_party_invite_may_come_from_any_server(scene: Scene) -> None:
    content = {"third_party_invite": {"signed": {"mxid": "@new:x.example", "token": "t"}}}
    event = member_event(ALICE, "@new:x.example", "invite", **content)
    event["signatures"] = {}
    assert verifies(await scene.ask(event), event)
    banned = member_event(SPAMMER, "@new:x.example", "invite", **content)
    banned["signatures"] = {}
    assert (await scene.ask(banned)).refused
    plain = member_event(ALICE, "@new:x.example", "invite")
    plain["signatures"] = {}
    assert (await scene.ask(plain)).check_failed
    assert scene.verdicts.submitted[0].key == key_of(event)
