"""The use case behind `/sign`: from a request to a signature or a refusal.

The order of the steps is part of the product: what costs nothing comes first, only a decision by
exemption or rule is shared or stored, and no step waits for the client-server API, since the
bot's own events are asked here too. docs/verdict.md tells the same in words.

Specification: Server-Server API, "Policy Servers"; MSC4284.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from policybot.policy.evaluator import always_signed, evaluate
from policybot.policy.room import ModerationRoom, ProtectedRoom, RoomMode
from policybot.policy.rule_store import RuleStore
from policybot.policy.verdict import Decision, Details, Outcome, Verdict, reference_code
from policybot.protocol.canonical_json import InvalidJson, JsonObject, parse_json
from policybot.protocol.event_hash import content_hash_matches, reference_hash_of, signing_bytes
from policybot.protocol.pdu import InvalidPdu, Pdu, parse_pdu, room_id_of
from policybot.protocol.room_version import EventIdFormat
from policybot.protocol.signing import (
    POLICY_SERVER_KEY_ID,
    SigningKey,
    VerifyKey,
    encode_base64,
)
from policybot.protocol.xmatrix import (
    InvalidAuthorization,
    XMatrix,
    parse_authorization,
    request_bytes,
)

from .errors import BadJson, CheckFailed, NotJson, RoomNotProtected, Unauthorized
from .memory import Remembered, VerdictMemory

MAX_BODY_BYTES = 96 * 1024
"""An event has at most 64 KiB; the rest is room for `unsigned` and white space."""

KEPT_TEXT_CHARACTERS = 2_000

log = logging.getLogger("policybot.endpoint")


class CallerKeys(Protocol):
    """What is needed of the keys of other servers."""

    def lookup(self, server: str, key_id: str, now_ms: int) -> VerifyKey | None: ...

    def event_key(
        self, server: str, key_id: str, origin_server_ts: int, strict: bool
    ) -> VerifyKey | None: ...

    async def fetch(self, server: str, key_id: str, timeout_s: float) -> None: ...


class Verdicts(Protocol):
    """What is needed of the store: it resolves with the verdict that stands."""

    def submit(self, decision: Decision, *, keep: bool = True) -> "asyncio.Future[bool]": ...


class FailureAnswer(StrEnum):
    """The answer when the bot itself fails between parsing and verdict."""

    SIGN = "sign"
    REFUSE = "refuse"


class SenderSignature(StrEnum):
    """The three results of checking the signature of the sender's server."""

    VALID = "valid"
    INVALID = "invalid"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class Waits:
    """How long one answer may wait, in seconds: for all keys together, for the sender's key
    within that, and for the store's commit."""

    keys: float = 4.0
    sender_key: float = 2.0
    store: float = 0.2


@dataclass(frozen=True, slots=True)
class SignRequest:
    """What a calling homeserver sent. ``uri`` is the request target exactly as sent, since the
    caller signed it; ``authorization`` holds each Authorization header."""

    method: str
    uri: str
    authorization: Sequence[str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """The decision for one request: signatures of our name, or the refusal's text.

    ``stored`` tells whether the verdict survives the end of the process.
    """

    signatures: Mapping[str, str] | None
    refusal: str | None
    stored: bool


class _Evaluation:
    """One event being judged, from the first look until its commit has returned.

    ``decided`` resolves with the verdict (signed?) or with None if this copy led to no decision;
    ``standing`` is the store's future once there is one.
    """

    __slots__ = ("decided", "standing")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.decided: asyncio.Future[bool | None] = loop.create_future()
        self.standing: asyncio.Future[bool] | None = None


class SignUseCase:
    """Judges events and signs them in the name of the policy server.

    ``rooms``, ``moderation_rooms`` and ``rules`` are read only; the bot swaps their values whole.
    ``clock`` gives milliseconds since 1970.
    """

    def __init__(
        self,
        *,
        name: str,
        signing_key: SigningKey,
        bot_user_id: str,
        rooms: Mapping[str, ProtectedRoom],
        moderation_rooms: Mapping[str, ModerationRoom],
        rules: RuleStore,
        keys: CallerKeys,
        verdicts: Verdicts,
        clock: Callable[[], int],
        contact: str | None = None,
        keep_text: bool = True,
        on_failure: FailureAnswer = FailureAnswer.SIGN,
        on_fault: Callable[[str], None] = lambda room_id: None,
        waits: Waits | None = None,
        memory: VerdictMemory | None = None,
    ) -> None:
        self._name = name
        self._signing_key = signing_key
        self._bot_user_id = bot_user_id
        self._rooms = rooms
        self._moderation_rooms = moderation_rooms
        self._rules = rules
        self._keys = keys
        self._verdicts = verdicts
        self._clock = clock
        self._contact = contact
        self._keep_text = keep_text
        self._on_failure = on_failure
        self._on_fault = on_fault
        self._waits = waits or Waits()
        self._memory = memory if memory is not None else VerdictMemory()
        self._evaluations: dict[bytes, _Evaluation] = {}
        self.counts: Counter[str] = Counter()

    async def sign(self, request: SignRequest) -> Answer:
        """Answer one `/sign` request.

        Raises:
            MatrixError: the request is malformed, not authentic, about a room that is not
                protected, or this copy of the event failed a check.
        """
        authorizations = self._authorizations(request.authorization)
        event = _json_object(request.body)
        try:
            room_id = room_id_of(event)
        except InvalidPdu as error:
            raise BadJson(str(error)) from None
        room = self._rooms.get(room_id)
        if room is None:
            raise RoomNotProtected("This policy server does not protect that room.")
        try:
            pdu = parse_pdu(event, room.version, room_id)
        except InvalidPdu as error:
            raise BadJson(str(error)) from None
        deadline = _now() + self._waits.keys
        await self._authenticate(request, authorizations, event, deadline)
        try:
            return await self._answer(pdu, authorizations[0].origin, deadline)
        except (CheckFailed, RoomNotProtected):
            raise
        except Exception:
            return self._fault(pdu)

    # -- who asks ------------------------------------------------------------------------------

    def _authorizations(self, headers: Sequence[str]) -> tuple[XMatrix, ...]:
        try:
            authorizations = parse_authorization(headers)
        except InvalidAuthorization as error:
            raise Unauthorized(str(error)) from None
        for authorization in authorizations:
            if authorization.destination not in (None, self._name):
                raise Unauthorized(f"The request is meant for another server than {self._name}.")
        return authorizations

    async def _authenticate(
        self,
        request: SignRequest,
        authorizations: tuple[XMatrix, ...],
        event: JsonObject,
        deadline: float,
    ) -> None:
        """Check the caller's request signature (X-Matrix).

        Raises:
            Unauthorized: no header is signed by a current key of the calling server.
        """
        checked = self._check_request(request, authorizations, event)
        if checked is None:
            first = authorizations[0]
            await self._keys.fetch(first.origin, first.key_id, max(0.0, deadline - _now()))
            checked = self._check_request(request, authorizations, event)
        if checked:
            return
        self.counts["caller not authentic"] += 1
        origin = authorizations[0].origin
        if checked is None:
            raise Unauthorized(f"The key of {origin} could not be fetched or has expired.")
        raise Unauthorized(f"The request is not signed by the key of {origin}.")

    def _check_request(
        self, request: SignRequest, authorizations: tuple[XMatrix, ...], event: JsonObject
    ) -> bool | None:
        """Whether one header verifies; None if no header's key is known."""
        known = False
        now = self._clock()
        for header in authorizations:
            key = self._keys.lookup(header.origin, header.key_id, now)
            if key is None:
                continue
            known = True
            try:
                message = request_bytes(
                    request.method, request.uri, header.origin, header.destination, event
                )
            except InvalidJson as error:
                raise BadJson(str(error)) from None
            if key.verify(message, header.signature):
                return True
        return False if known else None

    # -- what it is about ----------------------------------------------------------------------

    async def _answer(self, pdu: Pdu, caller: str, deadline: float) -> Answer:
        try:
            message = signing_bytes(pdu.event, pdu.version)
            complete = content_hash_matches(pdu)
        except InvalidJson as error:
            raise CheckFailed(str(error)) from None
        key = reference_hash_of(message)
        if not complete and pdu.state_key is None:
            # Our signature covers the redacted form only, so it would vouch for content unseen.
            self.counts["content hash wrong"] += 1
            raise CheckFailed("The event's content does not match its hash.")
        remembered = self._memory.get(key)
        if remembered is not None:
            return self._remembered(pdu, key, remembered)
        if not complete:
            return await self._judge_copy(pdu, caller, key, message, deadline)
        evaluation = self._evaluations.get(key)
        if evaluation is not None:
            await asyncio.wait({evaluation.decided}, timeout=max(0.0, deadline - _now()))
            if evaluation.decided.done():
                signed = evaluation.decided.result()
                if signed is not None and evaluation.standing is not None:
                    return await self._stand(pdu, key, message, signed, evaluation.standing)
            if self._evaluations.get(key) is evaluation:
                return await self._judge_alone(pdu, caller, key, message, deadline)
        return await self._judge(pdu, caller, key, message, deadline)

    async def _judge(
        self, pdu: Pdu, caller: str, key: bytes, message: bytes, deadline: float
    ) -> Answer:
        """Judge an event and let everyone who asks meanwhile share the decision."""
        evaluation = self._evaluations[key] = _Evaluation(asyncio.get_running_loop())
        try:
            decision = await self._decide(pdu, caller, key, message, deadline)
            evaluation.standing = self._verdicts.submit(decision)
            evaluation.decided.set_result(decision.signed)
        finally:
            if not evaluation.decided.done():
                evaluation.decided.set_result(None)
                self._forget(key, evaluation)
        evaluation.standing.add_done_callback(lambda standing: self._forget(key, evaluation))
        return await self._stand(pdu, key, message, decision.signed, evaluation.standing)

    def _forget(self, key: bytes, evaluation: _Evaluation) -> None:
        if self._evaluations.get(key) is evaluation:
            del self._evaluations[key]

    async def _judge_alone(
        self, pdu: Pdu, caller: str, key: bytes, message: bytes, deadline: float
    ) -> Answer:
        """Judge an event whose shared evaluation did not come in time. Whichever is stored first
        stands for both."""
        decision = await self._decide(pdu, caller, key, message, deadline)
        standing = self._verdicts.submit(decision)
        return await self._stand(pdu, key, message, decision.signed, standing)

    async def _judge_copy(
        self, pdu: Pdu, caller: str, key: bytes, message: bytes, deadline: float
    ) -> Answer:
        """Judge a state event whose content does not match its hash, as a redacted copy's does
        not: by what is left, and without storing a verdict that would cover content unseen."""
        self.counts["content hash wrong"] += 1
        decision = await self._decide(pdu, caller, key, message, deadline)
        standing = self._verdicts.submit(Decision(key, decision.signed), keep=False)
        await asyncio.wait({standing}, timeout=self._waits.store)
        known = standing.done() and not standing.cancelled()
        signed = standing.result() if known else decision.signed
        signature = self._signing_key.sign(message) if signed else None
        return self._give(pdu, key, signature, stored=False)

    async def _decide(
        self, pdu: Pdu, caller: str, key: bytes, message: bytes, deadline: float
    ) -> Decision:
        """Raises:
        CheckFailed: the signature of the sender's server is wrong.
        RoomNotProtected: the room was dropped meanwhile.
        """
        signature = SenderSignature.VALID
        room = self._room(pdu.room_id)
        if room.mode not in (RoomMode.DISABLED, RoomMode.UNCLAIMED) and not always_signed(pdu):
            signature = await self._sender_signature(pdu, message, deadline)
            if signature is SenderSignature.INVALID:
                self.counts["sender's signature wrong"] += 1
                raise CheckFailed(
                    f"The event is not signed by its sender's server, {pdu.sender_server}."
                )
            if signature is SenderSignature.UNCHECKED:
                self.counts["sender's signature not checked"] += 1
            room = self._room(pdu.room_id)
        moderation_room = (
            self._moderation_rooms.get(room.moderation_room) if room.moderation_room else None
        )
        verdict = evaluate(pdu, room, moderation_room, self._bot_user_id, self._rules)
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
        body = pdu.content.get("body")
        text = body[:KEPT_TEXT_CHARACTERS] if isinstance(body, str) else None
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
            text=text if self._keep_text else None,
        )

    # -- who sent it ---------------------------------------------------------------------------

    async def _sender_signature(
        self, pdu: Pdu, message: bytes, deadline: float
    ) -> SenderSignature:
        if _is_third_party_invite(pdu):
            # Such an invite need not come from the sender's server.
            return SenderSignature.VALID
        signatures: dict[str, str] = {
            key_id: signature
            for key_id, signature in pdu.event["signatures"].get(pdu.sender_server, {}).items()
            if key_id.startswith("ed25519:")
            and not (key_id == POLICY_SERVER_KEY_ID and pdu.sender_server == self._name)
        }
        if not signatures:
            return SenderSignature.INVALID
        result = self._check_sender(pdu, message, signatures)
        if result is SenderSignature.UNCHECKED:
            wait = min(self._waits.sender_key, max(0.0, deadline - _now()))
            await self._keys.fetch(pdu.sender_server, next(iter(signatures)), wait)
            result = self._check_sender(pdu, message, signatures)
        return result

    def _check_sender(
        self, pdu: Pdu, message: bytes, signatures: Mapping[str, str]
    ) -> SenderSignature:
        result = SenderSignature.UNCHECKED
        for key_id, signature in signatures.items():
            key = self._keys.event_key(
                pdu.sender_server, key_id, pdu.origin_server_ts, pdu.version.keys_expire
            )
            if key is None:
                continue
            if key.verify(message, signature):
                return SenderSignature.VALID
            result = SenderSignature.INVALID
        return result

    # -- the answer ----------------------------------------------------------------------------

    async def _stand(
        self, pdu: Pdu, key: bytes, message: bytes, signed: bool, standing: "asyncio.Future[bool]"
    ) -> Answer:
        """Answer with the verdict that stands, or after a bounded wait with our own."""
        if not standing.done():
            await asyncio.wait({standing}, timeout=self._waits.store)
        stored = standing.done() and not standing.cancelled()
        if stored:
            signed = standing.result()
        else:
            self.counts["answered before the commit"] += 1
        signature = self._signing_key.sign(message) if signed else None
        if stored:
            self._memory.put(key, Remembered(signature))
        return self._give(pdu, key, signature, stored=stored)

    def _remembered(self, pdu: Pdu, key: bytes, remembered: Remembered) -> Answer:
        self.counts["repeated"] += 1
        return self._give(pdu, key, remembered.signature, stored=True)

    def _give(self, pdu: Pdu, key: bytes, signature: str | None, *, stored: bool) -> Answer:
        if signature is None:
            self.counts["refused"] += 1
            return Answer(None, self._refusal(key), stored)
        self.counts["signed"] += 1
        # Synapse 1.153 and others before replace the signatures of our name by what we return,
        # so a sender on that name would lose his server's own signature (synapse#19796).
        carried = pdu.event["signatures"].get(self._name)
        if carried:
            return Answer({**carried, POLICY_SERVER_KEY_ID: signature}, None, stored)
        return Answer({POLICY_SERVER_KEY_ID: signature}, None, stored)

    def _refusal(self, key: bytes) -> str:
        text = (
            "This was not accepted by the moderation of this room. "
            f"Reference: {reference_code(key)}."
        )
        return f"{text} If this is a mistake, ask: {self._contact}" if self._contact else text

    def _fault(self, pdu: Pdu) -> Answer:
        """Our own fault: answered as configured, never stored, told to the moderators."""
        self.counts["faults"] += 1
        log.exception("Judging an event of %s failed.", pdu.room_id)
        self._on_fault(pdu.room_id)
        message = signing_bytes(pdu.event, pdu.version)
        if self._on_failure is FailureAnswer.SIGN:
            return self._give(
                pdu, reference_hash_of(message), self._signing_key.sign(message), stored=False
            )
        raise CheckFailed("The policy server cannot judge events at the moment.")


def _now() -> float:
    return asyncio.get_running_loop().time()


def _json_object(body: bytes) -> JsonObject:
    try:
        value = parse_json(body)
    except InvalidJson as error:
        raise NotJson(str(error)) from None
    if not isinstance(value, dict):
        raise BadJson("The request body is not a JSON object.")
    return value


def _event_id(pdu: Pdu, key: bytes) -> str:
    if pdu.version.event_id_in_event:
        return str(pdu.event["event_id"])
    text = encode_base64(key)
    if pdu.version.event_id_format is EventIdFormat.HASH_URLSAFE:
        text = text.replace("+", "-").replace("/", "_")
    return f"${text}"


def _is_third_party_invite(pdu: Pdu) -> bool:
    return (
        pdu.type == "m.room.member"
        and pdu.content.get("membership") == "invite"
        and "third_party_invite" in pdu.content
    )
