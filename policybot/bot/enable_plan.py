"""Whether a room can be put under the policy server, decided from its state. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from policybot.policy.room import ProtectedRoom, RoomMode, may_send_state, protected_room
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.policy_event import (
    POLICY_EVENT,
    UNSTABLE_POLICY_EVENT,
    PolicyServer,
    parse_policy_event,
    policy_content,
)
from policybot.protocol.room_version import UnknownRoomVersion

from .errors import CommandError
from .reply import quoted

RoomState = Mapping[tuple[str, str], JsonObject]
"""Full state events by (type, state key)."""


@dataclass(frozen=True, slots=True)
class EnableWish:
    """Who wants which room protected by what. ``ours`` is our server name and key, ``former`` are
    names that we had; ``replace`` tells whether another policy server may be replaced; ``mode`` is
    enabled or dry run."""

    room_id: str
    moderation_room: str
    asked_by: str
    ours: PolicyServer
    bot_user_id: str
    asker_needs_power: bool
    replace: bool
    now_ms: int
    mode: RoomMode = RoomMode.ENABLED
    former: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class EnablePlan:
    """What to do: the room as it will be, the content to send, and the forms to empty.

    ``power_missing`` holds the sentence to show if the bot may not send the state event itself.
    """

    room: ProtectedRoom
    content: JsonObject
    empty_unstable: bool
    already_set: bool
    power_missing: str | None


def plan_enable(wish: EnableWish, state: RoomState) -> EnablePlan:
    """Raises:
    CommandError: the room cannot be protected; the text says why and what to do.
    """
    try:
        room = protected_room(wish.room_id, wish.moderation_room, wish.mode, wish.now_ms, state)
    except UnknownRoomVersion as error:
        raise CommandError(
            f"I cannot protect this room: {error}. Update policybot, or upgrade the room to a "
            "version that it knows."
        ) from None
    if room.tombstoned:
        raise CommandError("This room was replaced by a newer one. Enable the new room instead.")
    standing = standing_server(state)
    ours = wish.former | {wish.ours.via}
    if standing is not None and standing.via not in ours and not wish.replace:
        raise CommandError(
            f"Another policy server stands in this room: {quoted(standing.via)}. If it should go, "
            "repeat the command with --replace."
        )
    if wish.asker_needs_power:
        asker = may_send_state(state, wish.asked_by, POLICY_EVENT)
        if not asker.allowed:
            raise CommandError(
                "You may not set the policy server of that room yourself (your power level there "
                f"is {asker.has}, needed is {asker.needed}), so I do not do it for you."
            )
    check = may_send_state(state, wish.bot_user_id, POLICY_EVENT)
    power_missing = None
    if not check.allowed:
        power_missing = (
            f"I may not set the policy server there: my power level is {check.has}, needed is "
            f"{check.needed}."
        )
    return EnablePlan(
        room=room,
        content=policy_content(wish.ours.via, wish.ours.public_key),
        empty_unstable=room.unstable_policy is not None and room.unstable_policy != wish.ours,
        already_set=room.policy == wish.ours,
        power_missing=power_missing,
    )


def standing_server(state: RoomState) -> PolicyServer | None:
    """The policy server in force. The unstable event counts only where the stable one is absent
    or names nobody."""
    for event_type in (POLICY_EVENT, UNSTABLE_POLICY_EVENT):
        event = state.get((event_type, ""))
        server = parse_policy_event(event.get("content")) if event is not None else None
        if server is not None:
            return server
    return None


def is_of_another(state: RoomState, names: frozenset[str]) -> bool:
    """Whether somebody set another policy server, which is not replaced unasked."""
    server = standing_server(state)
    return server is not None and server.via not in names


def forms_naming(names: frozenset[str], state: RoomState) -> tuple[str, ...]:
    """The event types in the room's state that name one of ``names`` as the policy server, with
    any key or none."""
    forms = []
    for event_type in (POLICY_EVENT, UNSTABLE_POLICY_EVENT):
        event = state.get((event_type, ""))
        content = event.get("content") if event is not None else None
        via = content.get("via") if isinstance(content, dict) else None
        if isinstance(via, str) and via in names:
            forms.append(event_type)
    return tuple(forms)
