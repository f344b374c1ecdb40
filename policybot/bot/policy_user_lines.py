"""How the policy user is doing in a room, as `status` shows it."""

from collections.abc import Sequence

from policybot.policy.records import RoomRecord

from .policy_change import Standing, state_of
from .policy_user import PolicyUser
from .protected_rooms import ProtectedRooms
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


def is_missing(rooms: ProtectedRooms, record: RoomRecord) -> bool:
    """Whether the policy user should be in a protected room and is not. Where a former name of
    ours stands, or another server's, nobody asks for it."""
    state = state_of(record)
    if not record.mode.is_protected or rooms.policy_user.is_joined(state):
        return False
    return not record.settled or rooms.standing(state) is Standing.OURS


def policy_user_line(rooms: ProtectedRooms, records: Sequence[RoomRecord]) -> Reply:
    """Who it is, and in how many of these rooms it is missing."""
    missing = sum(is_missing(rooms, record) for record in records)
    reply = Reply().text("Policy user: ").code(rooms.policy_user.user_id or "")
    if missing:
        reply.text(f", missing in {count(missing, 'room')}. To let it join: ")
        return reply.command("rejoin")
    return reply.text(", missing in no room") if records else reply


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
        reply.text(" banned. " if policy_user.membership(state) == "ban" else " not joined. ")
        fault = policy_user.fault(record.room_id)
        reply.text(f"{fault} " if fault else "")
        reply.text("To let it join: ").command(f"rejoin {record.room_id}")
    if policy_user.is_shut_out(state):
        reply.item().text("the server ACL (m.room.server_acl) shuts ").code(policy_user.server)
        reply.text(" out: once it is not in the room, it cannot come back")
    return reply
