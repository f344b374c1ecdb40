"""What others did to a room's policy server, in words for its moderators. Pure."""

from dataclasses import dataclass
from enum import Enum, auto

from policybot.policy.records import RoomRecord
from policybot.policy.room import RoomMode, may_send_state
from policybot.protocol.policy_event import (
    POLICY_EVENT,
    UNSTABLE_POLICY_EVENT,
    PolicyServer,
    parse_policy_event,
    policy_content,
)

from .enable_plan import RoomState, forms_naming
from .reply import Reply


class Standing(Enum):
    """What a room's policy events say."""

    OURS = auto()
    FORMER = auto()  # a name that we had, with our key: answered, and to be moved to ours
    OTHER_KEY = auto()  # our name, so that every server asks us and believes no answer
    OTHER_SERVER = auto()
    UNREADABLE = auto()  # something that names no server and key
    OLD_TYPE = auto()  # we are named, but only under the type from before the specification
    NOTHING = auto()


def standing(state: RoomState, ours: PolicyServer, former: frozenset[str]) -> Standing:
    """What stands in a room, given our name and key, and the names that we had."""
    content = _content(state, POLICY_EVENT)
    server = parse_policy_event(content)
    if server == ours:
        return Standing.OURS
    if server is not None:
        if server.via != ours.via and server.via not in former:
            return Standing.OTHER_SERVER
        same_key = server.public_key == ours.public_key
        return Standing.FORMER if same_key else Standing.OTHER_KEY
    if content:
        return Standing.UNREADABLE
    if UNSTABLE_POLICY_EVENT in forms_naming(former | {ours.via}, state):
        return Standing.OLD_TYPE
    return Standing.NOTHING


@dataclass(frozen=True, slots=True)
class Wanted:
    """A room as it is called, ``ours`` as it should be named there, names that we had, and who the
    bot is."""

    name: str
    ours: PolicyServer
    former: frozenset[str]
    bot_user_id: str

    def standing(self, state: RoomState) -> Standing:
        """What stands in the room."""
        return standing(state, self.ours, self.former)


def policy_change(before: RoomRecord, now: RoomRecord, wanted: Wanted) -> Reply | None:
    """The notice about a change that was read; None if there is nothing to tell."""
    old, new = state_of(before), state_of(now)
    found = now.settled and not before.settled
    if before.mode is RoomMode.DISABLED:
        if found:
            return Reply.done("The policy server is out of ").name(wanted.name).text(" now.")
        if before.settled and not now.settled:
            return _set_again(new, wanted, before.room_id)
        return None
    if not before.mode.is_protected:
        return None
    was, stands = wanted.standing(old), wanted.standing(new)
    if stands is Standing.OURS:
        if was is Standing.OURS and not found:
            return None
        return _confirmed(new, wanted, now, again=before.settled)
    same = all(_content(old, form) == _content(new, form) for form in _FORMS)
    stood = was in (Standing.OURS, Standing.FORMER)
    if same or (stands is Standing.NOTHING and not stood):
        return None  # it is no news that nothing stands there
    if stands is Standing.FORMER:
        return None if was is Standing.FORMER else _named_formerly(new, wanted)
    return _spoiled(new, wanted, now, lost=stood)


def add_cure(reply: Reply, record: RoomRecord, wanted: Wanted) -> Reply:
    """How to get our policy server into a room: by command, and where the bot has not the power,
    also by hand."""
    state = state_of(record)
    command = enable_command(record, wanted)
    power = may_send_state(state, wanted.bot_user_id, POLICY_EVENT)
    if power.allowed:
        return reply.command(command)
    reply.text("somebody who may sets the state event ").code(POLICY_EVENT)
    reply.text(", with an empty state key, to exactly this:")
    reply.json(policy_content(wanted.ours.via, wanted.ours.public_key))
    return reply.text(f"Or give me the power level {power.needed} there and write: ").command(
        command
    )


def enable_command(record: RoomRecord, wanted: Wanted) -> str:
    """The command that protects a room as it is now and in the same mode, without prefix."""
    stands = wanted.standing(state_of(record))
    return (
        f"enable {record.room_id}"
        + (" --dry-run" if record.mode is RoomMode.DRY_RUN else "")
        + (" --replace" if stands is Standing.OTHER_SERVER else "")
    )


def state_of(record: RoomRecord) -> RoomState:
    """The room's state as it was read last."""
    return {(str(event.get("type")), str(event.get("state_key"))): event for event in record.state}


_FORMS = (POLICY_EVENT, UNSTABLE_POLICY_EVENT)


def _confirmed(state: RoomState, wanted: Wanted, record: RoomRecord, *, again: bool) -> Reply:
    by = _sender(state, POLICY_EVENT)
    if by == wanted.bot_user_id or again:
        reply = Reply.done("The policy server stands in ").name(wanted.name).text(" now; ")
    else:
        reply = Reply.done().name(wanted.name).text(" is now protected: ").code(by)
        reply.text(" set ").code(POLICY_EVENT).text(" as it should be; ")
    if record.mode is RoomMode.DRY_RUN:
        return reply.text("dry run: its events are judged, and signed all the same.")
    return reply.text("its events are checked.")


def _named_formerly(state: RoomState, wanted: Wanted) -> Reply:
    server = parse_policy_event(_content(state, POLICY_EVENT))
    reply = Reply.done().code(_sender(state, POLICY_EVENT)).text(" set the policy server of ")
    reply.name(wanted.name).text(" to ").code(server.via if server is not None else "")
    reply.text(", a former name of mine. I answer there all the same. To set the present one: ")
    return reply.command("migrate")


def _set_again(state: RoomState, wanted: Wanted, room_id: str) -> Reply:
    form = forms_naming(wanted.former | {wanted.ours.via}, state)[0]
    reply = Reply.problem().code(_sender(state, form)).text(" set the policy server in ")
    reply.name(wanted.name).text(
        " again, which is disabled. I sign everything there and take it out where I may. To "
        "protect the room instead: "
    )
    return reply.command(f"enable {room_id}")


def _spoiled(state: RoomState, wanted: Wanted, record: RoomRecord, *, lost: bool) -> Reply:
    """Our policy server does not stand there: it was taken away, or set with a slip."""
    stands = wanted.standing(state)
    reply = Reply.problem("The policy server of ").name(wanted.name)
    form = POLICY_EVENT
    if stands is Standing.OTHER_KEY:
        reply.text(" carries another key than mine, so nobody can talk there. It was set")
    elif stands is Standing.OTHER_SERVER:
        other = parse_policy_event(_content(state, POLICY_EVENT))
        assert other is not None
        if lost:
            reply.text(" was replaced by ").code(other.via)
        else:
            reply.text(" is not right: not ").code(wanted.ours.via).text(" is named but ")
            reply.code(other.via).text(
                ", which is asked instead of me: if it does not answer, nobody can talk there. It "
                "was set"
            )
    elif lost:
        reply.text(" was removed")
    elif stands is Standing.OLD_TYPE:
        form = UNSTABLE_POLICY_EVENT
        reply.text(" is not right: it stands under the old type ").code(form)
        reply.text(", which many servers do not read. It was set")
    else:
        reply.text(" is not right: no server name with a key can be read there, so nothing is ")
        reply.text("checked. It was set")
    by = _sender(state, form)
    if by:
        reply.text(" by ").code(by)
    return add_cure(
        reply.text(". To set mine again: " if lost else ". To set mine: "), record, wanted
    )


def _content(state: RoomState, event_type: str) -> object:
    event = state.get((event_type, ""))
    return event.get("content") if event is not None else None


def _sender(state: RoomState, event_type: str) -> str:
    event = state.get((event_type, ""))
    return str(event["sender"]) if event is not None else ""
