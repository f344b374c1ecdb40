"""The verdict about an event, as a table of cases."""

from dataclasses import replace
from typing import Any

import pytest

from policybot.policy.evaluator import always_signed, evaluate, exemption_of
from policybot.policy.room import ModerationRoom, ProtectedRoom, RoomMode
from policybot.policy.rule_store import RuleStore
from policybot.policy.verdict import Ground, Outcome, Verdict
from policybot.protocol.pdu import Pdu
from policybot.protocol.room_version import ROOM_VERSIONS

from .events import rule_event

BOT = "@policybot:example.org"
POLICY_USER = "@policy:policy.example.org"
OWN = frozenset({BOT, POLICY_USER})
SPAMMER = "@spam:evil.org"
MODS = "!mods:example.org"
LIST = "!list:example.org"

ROOM = ProtectedRoom(
    room_id="!room:example.org",
    version=ROOM_VERSIONS["12"],
    moderation_room=MODS,
    mode=RoomMode.ENABLED,
    enabled_ts=0,
    creators=frozenset({"@creator:x"}),
    powerful=frozenset({"@powerful:x"}),
    policy=None,
    unstable_policy=None,
    name="",
    join_rule="public",
    tombstoned=False,
)
MODERATION_ROOM = ModerationRoom(
    room_id=MODS,
    members=frozenset({"@mod:x"}),
    invite_only=True,
    lists=(LIST,),
    allowed=frozenset({"@allowed:x"}),
)


def rules(*entities: str) -> RuleStore:
    store = RuleStore()
    store.replace(LIST, [rule_event(entity) for entity in entities])
    return store


def pdu(
    sender: str = SPAMMER,
    event_type: str = "m.room.message",
    state_key: str | None = None,
    content: dict[str, Any] | None = None,
) -> Pdu:
    return Pdu({}, ROOM.version, ROOM.room_id, event_type, sender, state_key, content or {}, 0)


def member(membership: Any, state_key: str | None = SPAMMER) -> Pdu:
    return pdu(event_type="m.room.member", state_key=state_key, content={"membership": membership})


EVERYONE = rules("@*:*")

ALWAYS_WITH_EMPTY_KEY = (
    "m.room.policy",
    "m.room.create",
    "m.room.power_levels",
    "m.room.join_rules",
    "m.room.server_acl",
)


NOT_ALWAYS_MEMBERSHIPS: list[Any] = ["invite", "knock", "JOIN", "", None, [], {}, 1]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        *[(pdu(event_type=name, state_key=""), True) for name in ALWAYS_WITH_EMPTY_KEY],
        *[(pdu(event_type=name, state_key="x"), False) for name in ALWAYS_WITH_EMPTY_KEY],
        *[(pdu(event_type=name), False) for name in ALWAYS_WITH_EMPTY_KEY],
        (pdu(event_type="m.room.redaction"), True),
        (pdu(event_type="m.room.redaction", state_key=""), False),
        (pdu(event_type="m.room.redaction", state_key="x"), False),
        (pdu(event_type="m.room.third_party_invite", state_key="token"), True),
        (pdu(event_type="m.room.third_party_invite", state_key=""), True),
        (pdu(event_type="m.room.third_party_invite"), False),
        *[(member(name), True) for name in ("join", "leave", "ban")],
        *[(member(name, "@other:x"), True) for name in ("join", "leave", "ban")],
        *[(member(name, ""), True) for name in ("join", "leave", "ban")],
        *[(member(name, None), False) for name in ("join", "leave", "ban")],
        *[(member(other), False) for other in NOT_ALWAYS_MEMBERSHIPS],
        (pdu(event_type="m.room.message"), False),
        (pdu(event_type="m.room.message", state_key=""), False),
        (pdu(event_type="m.reaction"), False),
        (pdu(event_type="m.room.name", state_key=""), False),
        (pdu(event_type="m.room.tombstone", state_key=""), False),
        (pdu(event_type="org.matrix.msc4284.policy", state_key=""), False),
        (pdu(event_type=""), False),
    ],
)
def test_what_is_always_signed(event: Pdu, expected: bool) -> None:
    assert always_signed(event) is expected
    verdict = evaluate(event, ROOM, MODERATION_ROOM, OWN, EVERYONE)
    if expected:
        assert verdict == Verdict(Outcome.SIGN, Ground.EVENT_TYPE)
    else:
        assert (verdict.outcome, verdict.ground) == (Outcome.REFUSE, Ground.RULE)


@pytest.mark.parametrize(
    ("sender", "ground"),
    [
        (BOT, Ground.BOT),
        (POLICY_USER, Ground.BOT),
        ("@creator:x", Ground.CREATOR),
        ("@powerful:x", Ground.POWER),
        ("@mod:x", Ground.MODERATOR),
        ("@allowed:x", Ground.ALLOWED),
    ],
)
@pytest.mark.parametrize("mode", [RoomMode.ENABLED, RoomMode.DRY_RUN])
def test_exemptions(sender: str, ground: Ground, mode: RoomMode) -> None:
    room = replace(ROOM, mode=mode)
    assert exemption_of(sender, room, MODERATION_ROOM, OWN) is ground
    verdict = evaluate(pdu(sender), room, MODERATION_ROOM, OWN, EVERYONE)
    assert (verdict.outcome, verdict.ground) == (Outcome.SIGN, ground)
    assert verdict.rule is EVERYONE.decide(sender, (LIST,))  # what it saved him from
    assert verdict.noteworthy
    verdict = evaluate(pdu(sender), room, MODERATION_ROOM, OWN, rules(SPAMMER))
    assert verdict == Verdict(Outcome.SIGN, ground, None)
    assert not verdict.noteworthy


@pytest.mark.parametrize("entity", ["@Allowed:X", "@allowed:x", "@*:X"])
def test_an_exemption_saves_from_every_rule_about_the_same_name(entity: str) -> None:
    """Rules are compared without regard to case, so exemptions are."""
    for sender in ("@allowed:x", "@Allowed:X"):
        verdict = evaluate(pdu(sender), ROOM, MODERATION_ROOM, OWN, rules(entity))
        assert (verdict.outcome, verdict.ground) == (Outcome.SIGN, Ground.ALLOWED)
        assert verdict.noteworthy


def test_a_moderation_room_open_to_all_exempts_nobody() -> None:
    open_room = replace(MODERATION_ROOM, invite_only=False)
    verdict = evaluate(pdu("@mod:x"), ROOM, open_room, OWN, EVERYONE)
    assert (verdict.outcome, verdict.ground) == (Outcome.REFUSE, Ground.RULE)
    both = replace(open_room, allowed=frozenset({"@mod:x"}))
    assert evaluate(pdu("@mod:x"), ROOM, both, OWN, EVERYONE).ground is Ground.ALLOWED


@pytest.mark.parametrize(
    ("mode", "outcome", "ground"),
    [
        (RoomMode.ENABLED, Outcome.REFUSE, Ground.RULE),
        (RoomMode.DRY_RUN, Outcome.SIGN, Ground.DRY_RUN),
        (RoomMode.DISABLED, Outcome.SIGN, Ground.DISABLED),
        (RoomMode.UNCLAIMED, Outcome.SIGN, Ground.UNCLAIMED),
    ],
)
@pytest.mark.parametrize("event", [pdu(), member("invite"), member("knock")])
def test_modes(event: Pdu, mode: RoomMode, outcome: Outcome, ground: Ground) -> None:
    verdict = evaluate(event, replace(ROOM, mode=mode), MODERATION_ROOM, OWN, EVERYONE)
    assert (verdict.outcome, verdict.ground) == (outcome, ground)
    judged = mode in (RoomMode.ENABLED, RoomMode.DRY_RUN)
    assert (verdict.rule is not None) is judged
    assert verdict.noteworthy is (mode is not RoomMode.UNCLAIMED)


@pytest.mark.parametrize("mode", [RoomMode.DISABLED, RoomMode.UNCLAIMED])
def test_the_mode_goes_before_all_else(mode: RoomMode) -> None:
    room = replace(ROOM, mode=mode)
    for event in (pdu(BOT), member("join")):
        assert evaluate(event, room, None, OWN, EVERYONE).ground.value == mode.value


@pytest.mark.parametrize(
    ("entities", "refused"),
    [
        ([], False),
        ([SPAMMER], True),
        (["@SPAM:evil.org"], True),
        (["@spam2:evil.org"], False),
        (["@*:evil.org"], True),
    ],
)
def test_rules(entities: list[str], refused: bool) -> None:
    verdict = evaluate(pdu(), ROOM, MODERATION_ROOM, OWN, rules(*entities))
    if refused:
        assert (verdict.outcome, verdict.ground) == (Outcome.REFUSE, Ground.RULE)
        assert verdict.rule is not None and verdict.rule.entity == entities[0]
        assert verdict.noteworthy
    else:
        assert verdict == Verdict(Outcome.SIGN, Ground.NO_RULE)
        assert not verdict.noteworthy


@pytest.mark.parametrize("recommendation", ["m.ban", "m.takedown"])
@pytest.mark.parametrize("kind", ["user", "server"])
def test_takedowns_and_server_rules_refuse(recommendation: str, kind: str) -> None:
    store = RuleStore()
    entity = SPAMMER if kind == "user" else "evil.org"
    store.apply(LIST, rule_event(entity, recommendation, kind=kind))
    assert evaluate(pdu(), ROOM, MODERATION_ROOM, OWN, store).outcome is Outcome.REFUSE


def test_allow_rules() -> None:
    store = rules("@*:evil.org")
    store.apply(LIST, rule_event(SPAMMER, "fi.mau.meowlnir.unban"))
    verdict = evaluate(pdu(), ROOM, MODERATION_ROOM, OWN, store)
    assert (verdict.outcome, verdict.ground) == (Outcome.SIGN, Ground.ALLOW_RULE)
    assert verdict.rule is not None and verdict.rule.entity == SPAMMER
    assert not verdict.noteworthy
    # Somebody exempt anyway: the rule did nothing and the exemption overruled nothing.
    verdict = evaluate(
        pdu(), replace(ROOM, powerful=frozenset({SPAMMER})), MODERATION_ROOM, OWN, store
    )
    assert verdict == Verdict(Outcome.SIGN, Ground.POWER, None)


def test_unused_rules_refuse_nobody() -> None:
    store = rules(SPAMMER)
    rule = store.decide(SPAMMER, (LIST,))
    assert rule is not None
    unused = replace(MODERATION_ROOM, unused=frozenset({rule.key}))
    assert evaluate(pdu(), ROOM, unused, OWN, store) == Verdict(Outcome.SIGN, Ground.NO_RULE)


def test_lists_of_other_moderation_rooms_do_not_count() -> None:
    other = replace(MODERATION_ROOM, lists=("!other:example.org",))
    assert evaluate(pdu(), ROOM, other, OWN, EVERYONE).ground is Ground.NO_RULE
    assert evaluate(pdu(), ROOM, None, OWN, EVERYONE).ground is Ground.NO_RULE
