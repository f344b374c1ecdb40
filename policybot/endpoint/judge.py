"""Judging one event: exemptions by type, the sender's signature, then exemptions and rules."""

from collections import Counter
from collections.abc import Callable, Mapping

from policybot.policy.evaluator import always_signed, evaluate
from policybot.policy.room import ModerationRoom, ProtectedRoom, RoomMode
from policybot.policy.rule_store import RuleStore
from policybot.policy.verdict import TEXT_MESSAGES, Decision, Details, Outcome, Verdict
from policybot.protocol.event_hash import event_id_of
from policybot.protocol.pdu import Pdu

from .deadline import Deadline
from .errors import CheckFailed, RoomNotProtected
from .sender import SenderCheck, SenderSignature

KEPT_TEXT_CHARACTERS = 2_000
MAX_MSGTYPE_CHARACTERS = 100


class Judge:
    """Makes decisions by what rooms and rules are when it is asked.

    ``counts`` is where failed checks are counted, ``clock`` gives milliseconds since 1970.
    """

    def __init__(
        self,
        *,
        own_users: frozenset[str],
        rooms: Mapping[str, ProtectedRoom],
        moderation_rooms: Mapping[str, ModerationRoom],
        rules: RuleStore,
        sender: SenderCheck,
        counts: Counter[str],
        clock: Callable[[], int],
        keep_text: bool,
    ) -> None:
        self._own_users = own_users
        self._rooms = rooms
        self._moderation_rooms = moderation_rooms
        self._rules = rules
        self._sender = sender
        self._counts = counts
        self._clock = clock
        self._keep_text = keep_text

    async def decide(
        self, pdu: Pdu, caller: str, key: bytes, message: bytes, deadline: Deadline
    ) -> Decision:
        """Judge one copy of an event. ``caller`` is the server that asks, ``key`` the reference
        hash (32 bytes), ``message`` the bytes that signatures cover.

        Raises:
            CheckFailed: the signature of the sender's server is wrong.
            RoomNotProtected: the room was dropped meanwhile.
        """
        signature = SenderSignature.VALID
        room = self._room(pdu.room_id)
        if room.mode not in (RoomMode.DISABLED, RoomMode.UNCLAIMED) and not always_signed(pdu):
            signature = await self._sender.check(pdu, message, deadline)
            if signature is SenderSignature.INVALID:
                self._counts["sender's signature wrong"] += 1
                raise CheckFailed(
                    f"The event is not signed by its sender's server, {pdu.sender_server}."
                )
            if signature is SenderSignature.UNCHECKED:
                self._counts["sender's signature not checked"] += 1
            room = self._room(pdu.room_id)
        moderation_room = (
            self._moderation_rooms.get(room.moderation_room) if room.moderation_room else None
        )
        verdict = evaluate(pdu, room, moderation_room, self._own_users, self._rules)
        signed = verdict.outcome is Outcome.SIGN
        if not verdict.noteworthy:
            return Decision(key, signed)
        unverified = signature is SenderSignature.UNCHECKED
        return Decision(key, signed, self._details(pdu, room, caller, key, verdict, unverified))

    def _room(self, room_id: str) -> ProtectedRoom:
        room = self._rooms.get(room_id)
        if room is None:
            raise RoomNotProtected("This policy server does not protect that room any more.")
        return room

    def _details(
        self,
        pdu: Pdu,
        room: ProtectedRoom,
        caller: str,
        key: bytes,
        verdict: Verdict,
        unverified: bool,
    ) -> Details:
        msgtype = pdu.content.get("msgtype")
        return Details(
            room_id=pdu.room_id,
            moderation_room=room.moderation_room or "",
            event_id=_event_id(pdu, key),
            event_type=pdu.type,
            state_key=pdu.state_key,
            sender=pdu.sender,
            caller=caller,
            origin_server_ts=pdu.origin_server_ts,
            received_ts=self._clock(),
            ground=verdict.ground,
            rule=verdict.rule,
            unverified=unverified,
            old=pdu.origin_server_ts < room.enabled_ts,
            text=_text(pdu) if self._keep_text else None,
            msgtype=msgtype[:MAX_MSGTYPE_CHARACTERS] if isinstance(msgtype, str) else None,
        )


def _text(pdu: Pdu) -> str | None:
    """What a text message says. The body of other messages is a file name or describes something
    that is not kept."""
    content = pdu.content
    edited = content.get("m.new_content")  # clients show this one
    if isinstance(edited, dict):
        content = edited
    body, msgtype = content.get("body"), content.get("msgtype")
    if isinstance(msgtype, str) and msgtype not in TEXT_MESSAGES:
        return None
    return body[:KEPT_TEXT_CHARACTERS] if isinstance(body, str) else None


def _event_id(pdu: Pdu, key: bytes) -> str:
    if pdu.version.event_id_in_event:
        return str(pdu.event["event_id"])
    return event_id_of(key, pdu.version)
