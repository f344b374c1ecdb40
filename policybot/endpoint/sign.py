"""The use case behind `/sign`: from a request to a signature or a refusal.

The order of the steps is part of the product: what costs nothing comes first, only a decision by
exemption or rule is shared or stored, and no step waits for the client-server API, since the
bot's own events are asked here too. docs/verdict.md tells the same in words.

Specification: Server-Server API, "Policy Servers"; MSC4284.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from policybot.policy.room import ModerationRoom, ProtectedRoom, RoomMode
from policybot.policy.rule_store import RuleStore
from policybot.policy.verdict import Decision
from policybot.protocol.event_hash import (
    content_hash_matches,
    pdu_signing_bytes,
    reference_hash_of,
)
from policybot.protocol.pdu import InvalidPdu, Pdu, parse_pdu, room_id_of
from policybot.protocol.signing import SigningKey

from .answer import Answer, Ruling, Signer
from .caller import CallerCheck, RequestKeys
from .deadline import Deadline
from .errors import BadJson, CheckFailed, MatrixError, RoomNotProtected, Unauthorized
from .exchange import Request
from .json_body import json_object
from .judge import Judge
from .memory import Remembered, VerdictMemory
from .sender import EventKeys, SenderCheck

log = logging.getLogger("policybot.endpoint")


class ServerKeys(RequestKeys, EventKeys, Protocol):
    """What is needed of the keys of other servers."""


class Verdicts(Protocol):
    """What is needed of the store: it resolves with the verdict that stands."""

    def submit(self, decision: Decision, *, keep: bool = True) -> "asyncio.Future[bool]": ...


class FailureAnswer(StrEnum):
    """The answer when the bot itself fails between parsing and verdict."""

    SIGN = "sign"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Waits:
    """How long one answer may wait, in seconds: for all keys together, for the sender's key
    within that, and for the store's commit."""

    keys: float = 4.0
    sender_key: float = 2.0
    store: float = 0.2


@dataclass(frozen=True, slots=True)
class _Submitted:
    """A decision that the store has, and its future of the verdict that stands."""

    signed: bool
    standing: "asyncio.Future[bool]"


class SignUseCase:
    """Judges events and signs them in the name of the policy server.

    ``name`` is its name, and ``former`` are names that it had: who asks for one is answered under
    it. ``own_users`` are the bot and the policy user, whose events are always signed.
    ``rooms``, ``moderation_rooms`` and ``rules`` are read only; the bot swaps their values whole.
    ``clock`` gives milliseconds since 1970.
    """

    def __init__(
        self,
        *,
        name: str,
        former: frozenset[str] = frozenset(),
        signing_key: SigningKey,
        own_users: frozenset[str],
        rooms: Mapping[str, ProtectedRoom],
        moderation_rooms: Mapping[str, ModerationRoom],
        rules: RuleStore,
        keys: ServerKeys,
        verdicts: Verdicts,
        clock: Callable[[], int],
        contact: str | None = None,
        keep_text: bool = True,
        on_failure: FailureAnswer = FailureAnswer.SIGN,
        on_fault: Callable[[str, bool], None] = lambda room_id, signed: None,
        waits: Waits | None = None,
        memory: VerdictMemory | None = None,
    ) -> None:
        self._rooms = rooms
        self._verdicts = verdicts
        self._on_failure = on_failure
        self._on_fault = on_fault
        self._waits = waits or Waits()
        self._name = name
        self._names = former | {name}
        self._caller = CallerCheck(self._names, keys, clock)
        self.counts: Counter[str] = Counter()
        self._signer = Signer(signing_key, contact, self.counts)
        self._judge = Judge(
            own_users=own_users,
            rooms=rooms,
            moderation_rooms=moderation_rooms,
            rules=rules,
            sender=SenderCheck(self._names, keys, self._waits.sender_key),
            counts=self.counts,
            clock=clock,
            keep_text=keep_text,
        )
        self._memory = memory if memory is not None else VerdictMemory()
        # Each event is in the first from the first look until it is decided, and in the second
        # from then until its commit has returned.
        self._evaluations: dict[bytes, asyncio.Future[_Submitted | None]] = {}
        self._submitted: dict[bytes, _Submitted] = {}

    async def sign(self, request: Request) -> Answer:
        """Answer one `/sign` request.

        Raises:
            MatrixError: the request is malformed, not authentic, about a room that is not
                protected, or this copy of the event failed a check.
        """
        headers = self._caller.headers(request)
        body = json_object(request.body)
        event = body.value
        try:
            room_id = room_id_of(event)
        except InvalidPdu as error:
            raise BadJson(str(error)) from None
        room = self._rooms.get(room_id)
        if room is None:
            raise RoomNotProtected("This policy server does not protect that room.")
        try:
            pdu = parse_pdu(event, room.version, room_id, body)
        except InvalidPdu as error:
            raise BadJson(str(error)) from None
        deadline = Deadline(self._waits.keys, request.address)
        try:
            await self._caller.authenticate(request, headers, body, deadline)
            ruling = await self._rule(pdu, headers[0].origin, deadline)
        except MatrixError as error:
            if isinstance(error, Unauthorized):
                self.counts["caller not authentic"] += 1
            raise
        except Exception:
            ruling = self._fault(pdu)
        name = headers[0].destination
        return self._signer.answer(self._name_in(room) if name is None else name, pdu, ruling)

    def _name_in(self, room: ProtectedRoom) -> str:
        """The name for an answer where the caller did not say which he means."""
        stands = room.policy or room.unstable_policy
        return stands.via if stands is not None and stands.via in self._names else self._name

    # -- what it is about ----------------------------------------------------------------------

    async def _rule(self, pdu: Pdu, caller: str, deadline: Deadline) -> Ruling:
        message = pdu_signing_bytes(pdu)
        key = reference_hash_of(message)
        complete = content_hash_matches(pdu)
        if not complete and pdu.state_key is None:
            # Our signature covers the redacted form only, so it would vouch for content unseen.
            self.counts["content hash wrong"] += 1
            raise CheckFailed("The event's content does not match its hash.")
        remembered = self._memory.get(key)
        if remembered is not None:
            return self._remembered(key, message, remembered)
        submitted = self._submitted.get(key)
        if submitted is not None:
            return await self._stand(key, message, submitted)
        if not complete:
            return await self._judge_copy(pdu, caller, key, message, deadline)
        evaluation = self._evaluations.get(key)
        if evaluation is not None:
            await asyncio.wait({evaluation}, timeout=deadline.left())
            submitted = evaluation.result() if evaluation.done() else None
            if submitted is not None:
                return await self._stand(key, message, submitted)
        return await self._judge_shared(pdu, caller, key, message, deadline)

    async def _judge_shared(
        self, pdu: Pdu, caller: str, key: bytes, message: bytes, deadline: Deadline
    ) -> Ruling:
        """Judge an event; who asks meanwhile waits for this and shares the decision.

        While another evaluation of the event is under way, this one is for its own request alone.
        """
        evaluation: asyncio.Future[_Submitted | None] = asyncio.get_running_loop().create_future()
        self._evaluations.setdefault(key, evaluation)
        submitted = None
        try:
            decision = await self._judge.decide(pdu, caller, key, message, deadline)
            submitted = self._submit(decision)
        finally:
            evaluation.set_result(submitted)
            if self._evaluations.get(key) is evaluation:
                del self._evaluations[key]
        return await self._stand(key, message, submitted)

    def _submit(self, decision: Decision) -> _Submitted:
        """Hand a decision to the store, unless one about this event is there already: the first
        stands."""
        key = decision.key
        submitted = self._submitted.get(key)
        if submitted is None:
            standing = self._verdicts.submit(decision)
            submitted = self._submitted[key] = _Submitted(decision.signed, standing)
            standing.add_done_callback(lambda _: self._settled(key))
        return submitted

    def _settled(self, key: bytes) -> None:
        """Remember a verdict also if nobody waited so long."""
        standing = self._submitted.pop(key).standing
        if not standing.cancelled() and self._memory.get(key) is None:
            self._memory.put(key, Remembered(standing.result()))

    async def _judge_copy(
        self, pdu: Pdu, caller: str, key: bytes, message: bytes, deadline: Deadline
    ) -> Ruling:
        """Judge a state event whose content does not match its hash, as a redacted copy's does
        not: by what is left, and without storing a verdict that would cover content unseen."""
        self.counts["content hash wrong"] += 1
        decision = await self._judge.decide(pdu, caller, key, message, deadline)
        submitted = self._submitted.get(key)  # of the full event, which came meanwhile
        if submitted is not None:
            return await self._stand(key, message, submitted)
        standing = self._verdicts.submit(Decision(key, decision.signed), keep=False)
        await asyncio.wait({standing}, timeout=self._waits.store)
        known = standing.done() and not standing.cancelled()
        signed = standing.result() if known else decision.signed
        signature = self._signer.signature(message) if signed else None
        return Ruling(key, signature, stored=False)

    # -- the answer ----------------------------------------------------------------------------

    async def _stand(self, key: bytes, message: bytes, submitted: _Submitted) -> Ruling:
        """The verdict that stands, or after a bounded wait what was decided."""
        standing = submitted.standing
        if not standing.done():
            await asyncio.wait({standing}, timeout=self._waits.store)
        stored = standing.done() and not standing.cancelled()
        if not stored:
            self.counts["answered before the commit"] += 1
        signed = standing.result() if stored else submitted.signed
        signature = self._signer.signature(message) if signed else None
        if stored:
            self._memory.put(key, Remembered(signed, signature))
        return Ruling(key, signature, stored)

    def _remembered(self, key: bytes, message: bytes, remembered: Remembered) -> Ruling:
        self.counts["repeated"] += 1
        signature = remembered.signature
        if remembered.signed and signature is None:
            signature = self._signer.signature(message)
            self._memory.put(key, Remembered(True, signature))
        return Ruling(key, signature, stored=True)

    def _fault(self, pdu: Pdu) -> Ruling:
        """Our own fault: answered as configured, never stored, told to the moderators."""
        self.counts["faults"] += 1
        log.exception("Judging an event of %s failed.", pdu.room_id)
        ruling = self._rule_unjudged(pdu)
        try:
            self._on_fault(pdu.room_id, ruling is not None)
        except Exception:
            log.exception("Telling about the fault failed.")
        if ruling is None:
            raise CheckFailed("The policy server cannot judge events at the moment.") from None
        return ruling

    def _rule_unjudged(self, pdu: Pdu) -> Ruling | None:
        """A signature, or None for a refusal."""
        room = self._rooms.get(pdu.room_id)
        all_signed = room is not None and room.mode is not RoomMode.ENABLED
        if self._on_failure is not FailureAnswer.SIGN and not all_signed:
            return None
        # What failed may be just this; no answer but a refusal is left then.
        with suppress(Exception):
            message = pdu_signing_bytes(pdu)
            signature = self._signer.signature(message)
            return Ruling(reference_hash_of(message), signature, stored=False)
        return None
