"""What happened to the policy user in a room, in words for its moderators. Pure."""

from policybot.policy.records import RoomRecord
from policybot.policy.room import RoomMode

from .policy_change import Standing, Wanted, policy_change, state_of
from .policy_user import MEMBER, PolicyUser
from .reply import Reply


def room_change(
    before: RoomRecord, now: RoomRecord, wanted: Wanted, policy_user: PolicyUser
) -> Reply | None:
    """The notice about a change of a room's policy server or of the policy user's membership that
    was read; None if there is nothing to tell."""
    state = state_of(now)
    joined, stands = policy_user.is_joined(state), wanted.standing(state) is Standing.OURS
    if now.mode is RoomMode.DISABLED or not stands or joined:
        # Without it the right event checks nothing, so it is no news that it stands.
        notice = policy_change(before, now, wanted)
        if notice is not None:
            return notice
    if not now.mode.is_protected:
        return None
    if policy_user.was_removed(state_of(before), state) and (stands or not before.settled):
        return _removed(now, wanted, policy_user)
    if joined and stands and not policy_user.is_joined(state_of(before)):
        reply = Reply.done("My user ").code(policy_user.user_id or "").text(" is in ")
        return reply.name(wanted.name).text(" again, so I am asked there.")
    return None


def _removed(record: RoomRecord, wanted: Wanted, policy_user: PolicyUser) -> Reply:
    user_id, state = policy_user.user_id or "", state_of(record)
    event = state.get((MEMBER, user_id))
    by = event["sender"] if event is not None else user_id
    banned = policy_user.membership(state) == "ban"
    reply = Reply.problem("My user ").code(user_id)
    if by == user_id:
        reply.text(" has left ").name(wanted.name)
    else:
        reply.text(" was banned from " if banned else " was removed from ").name(wanted.name)
        reply.text(" by ").code(by)
    reply.text(", so no server asks me there any more, and nothing is checked. ")
    if banned:
        reply.text("To let it join again, somebody who may lifts the ban; then write: ")
    else:
        reply.text("To let it join again: ")
    return reply.command(f"rejoin {record.room_id}")
