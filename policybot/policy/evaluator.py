"""The verdict about one event, from what is in memory. All checks of the event come before."""

from policybot.protocol.pdu import Pdu

from .glob import fold
from .room import ModerationRoom, ProtectedRoom, RoomMode
from .rule import Recommendation
from .rule_store import RuleStore
from .verdict import Ground, Outcome, Verdict

# Who may send these is the business of the auth rules; refusing one splits the room.
_ALWAYS_SIGNED_STATE = frozenset(
    {
        "m.room.policy",
        "m.room.create",
        "m.room.power_levels",
        "m.room.join_rules",
        "m.room.server_acl",
    }
)
_ALWAYS_SIGNED_MEMBERSHIPS = ("join", "leave", "ban")

_DISABLED = Verdict(Outcome.SIGN, Ground.DISABLED)
_UNCLAIMED = Verdict(Outcome.SIGN, Ground.UNCLAIMED)
_EVENT_TYPE = Verdict(Outcome.SIGN, Ground.EVENT_TYPE)
_NO_RULE = Verdict(Outcome.SIGN, Ground.NO_RULE)


def always_signed(pdu: Pdu) -> bool:
    """Whether the event is signed whoever sends it.

    Each type counts only in the form in which it takes effect: state with the right key, or in
    the case of a redaction no state. Otherwise it would be a message in disguise.
    """
    if pdu.state_key is None:
        return pdu.type == "m.room.redaction"
    if pdu.type == "m.room.member":
        return pdu.content.get("membership") in _ALWAYS_SIGNED_MEMBERSHIPS
    if pdu.type == "m.room.third_party_invite":
        return True
    return pdu.state_key == "" and pdu.type in _ALWAYS_SIGNED_STATE


def evaluate(
    pdu: Pdu,
    room: ProtectedRoom,
    moderation_room: ModerationRoom | None,
    own_users: frozenset[str],
    rules: RuleStore,
) -> Verdict:
    """Decide about an event. Without a moderation room no rules and no exemptions of it count.
    ``own_users`` are the bot and the policy user."""
    if room.mode is RoomMode.DISABLED:
        return _DISABLED
    if room.mode is RoomMode.UNCLAIMED:
        return _UNCLAIMED
    if always_signed(pdu):
        return _EVENT_TYPE
    rule = None
    if moderation_room is not None:
        rule = rules.decide(pdu.sender, moderation_room.lists, moderation_room.unused)
    exemption = exemption_of(pdu.sender, room, moderation_room, own_users)
    if rule is not None and rule.recommendation is Recommendation.ALLOW:
        if exemption is None:
            return Verdict(Outcome.SIGN, Ground.ALLOW_RULE, rule)
        rule = None  # there was nothing to overrule
    if exemption is not None:
        return Verdict(Outcome.SIGN, exemption, rule)
    if rule is None:
        return _NO_RULE
    if room.mode is RoomMode.DRY_RUN:
        return Verdict(Outcome.SIGN, Ground.DRY_RUN, rule)
    return Verdict(Outcome.REFUSE, Ground.RULE, rule)


def exemption_of(
    user_id: str,
    room: ProtectedRoom,
    moderation_room: ModerationRoom | None,
    own_users: frozenset[str],
) -> Ground | None:
    """Why a user's events are signed whatever the rules say, or None."""
    if user_id in own_users:
        return Ground.BOT
    if user_id in room.creators:
        return Ground.CREATOR
    if user_id in room.powerful:
        return Ground.POWER
    if moderation_room is not None:
        if moderation_room.invite_only and user_id in moderation_room.members:
            return Ground.MODERATOR
        # Compared like rules, so that an exemption saves from every rule about the same name.
        if moderation_room.allowed and fold(user_id) in moderation_room.allowed:
            return Ground.ALLOWED
    return None
