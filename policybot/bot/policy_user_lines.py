"""How the policy user is doing in a room, as `status` shows it."""

from collections.abc import Sequence

from policybot.policy.records import RoomRecord
from policybot.policy.room import RoomMode

from .policy_change import state_of
from .policy_user import PolicyUser
from .reply import Reply
from .report_text import count


def policy_user_fault(policy_user: PolicyUser, record: RoomRecord) -> str:
    """What is wrong, in our own words; empty if nothing is."""
    state = state_of(record)
    if not policy_user.is_joined(state):
        if policy_user.membership(state) == "ban":
            return f"{policy_user.user_id} is banned there, so nothing is checked"
        if record.settled:
            return f"{policy_user.user_id} is not in the room any more, so nothing is checked"
        return f"{policy_user.user_id} is not in the room yet, nothing is checked; I go on trying"
    if policy_user.is_shut_out(state):
        return f"its server ACL shuts {policy_user.server} out"
    return ""


def policy_user_line(policy_user: PolicyUser, records: Sequence[RoomRecord]) -> Reply:
    """Who it is, and in how many of these protected rooms it is missing."""
    protected = [record for record in records if record.mode is not RoomMode.DISABLED]
    missing = sum(not policy_user.is_joined(state_of(record)) for record in protected)
    reply = Reply().text("Policy user: ").code(policy_user.user_id or "")
    if missing:
        return reply.text(f", missing in {count(missing, 'room')}")
    return reply.text(", joined in every protected room") if protected else reply


def policy_user_lines(policy_user: PolicyUser, record: RoomRecord) -> Reply:
    """All that is known about it in one room; nothing without a policy user."""
    reply = Reply()
    if policy_user.user_id is None:
        return reply
    state = state_of(record)
    reply.item().text("policy user ").code(policy_user.user_id)
    if policy_user.is_joined(state):
        reply.text(" joined")
    else:
        reply.text(" not joined (").code(policy_user.membership(state)).text("). ")
        reply.text(policy_user.fault(record.room_id))
        reply.text(" To let it join: ").command(f"rejoin {record.room_id}")
    if policy_user.is_shut_out(state):
        reply.item().text("the server ACL (m.room.server_acl) shuts ").code(policy_user.server)
        reply.text(" out: once it is not in the room, it cannot come back")
    return reply
