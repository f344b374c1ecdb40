"""The command about verdicts: why an event was refused, or an exemption saved it."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from policybot.policy.glob import fold
from policybot.policy.verdict import TEXT_MESSAGES, Details, Ground

from .command import Command
from .errors import CommandError
from .exemptions import Exemptions, add_exemption
from .links import InvalidLink, parse_event
from .reply import Reply
from .report_text import Refusal, Titles, add_rule, kind_of

MAX_TEXTS = 2
"""So many texts are shown in one reply. Senders choose event IDs in old rooms, so many events may
have the same, and a reply that is too long would lose what hides a text."""

_REFERENCE = re.compile(r"[0-9A-Za-z]{4}-?[0-9A-Za-z]{4}")

_GROUNDS = {
    Ground.BOT: "it came from me",
    Ground.CREATOR: "its sender created the room",
    Ground.POWER: "its sender has power in the room",
    Ground.MODERATOR: "its sender is a member of this room",
    Ground.ALLOWED: "its sender was exempt here",
    Ground.DRY_RUN: "the room was in dry run, where nothing is refused",
    Ground.DISABLED: "the policy server of the room was disabled",
}


class VerdictLog(Protocol):
    """What is needed of the store."""

    async def find_by_reference(self, code: str, moderation_room: str) -> Sequence[Refusal]: ...

    async def find_by_event(self, event_id: str, moderation_room: str) -> Sequence[Refusal]: ...


class VerdictCommands:
    """Carries out `why`. Texts are kept for ``keep_text_ms``; ``clock`` gives milliseconds since
    1970."""

    def __init__(
        self,
        verdicts: VerdictLog,
        exemptions: Exemptions,
        titles: Titles,
        *,
        keep_text_ms: int,
        clock: Callable[[], int],
    ) -> None:
        self._verdicts = verdicts
        self._exemptions = exemptions
        self._titles = titles
        self._keep_text_ms = keep_text_ms
        self._clock = clock

    async def why(self, moderation_room: str, sender: str, command: Command) -> Reply:
        """Tell the stored verdict about an event of one of this moderation room's rooms."""
        text = command.words[0]
        if _REFERENCE.fullmatch(text):
            found = await self._verdicts.find_by_reference(text, moderation_room)
        else:
            try:
                event = parse_event(text)
            except InvalidLink as error:
                raise CommandError(str(error)) from None
            found = await self._verdicts.find_by_event(event.event_id, moderation_room)
        if not found:
            raise CommandError(
                "I know of no refusal or exemption under that name in the rooms of this "
                "moderation room. Ordinary events are signed without a note, and notes are kept "
                "for 30 days."
            )
        reply = Reply.done()
        for index, verdict in enumerate(found):
            if index:
                reply.line()
            self._tell(reply, verdict)
            if "text" in command.flags and len(found) <= MAX_TEXTS:
                self._tell_text(reply.line(), verdict.details)
        if "text" in command.flags and len(found) > MAX_TEXTS:
            reply.line().text("Ask with one of the references to see what was written.")
        return reply

    def _tell_text(self, reply: Reply, details: Details) -> None:
        kept = details.text is not None
        if self._keep_text_ms == 0:
            reply.text("Its text was not kept: reports.keep_text is 0.")
        elif details.event_type == "m.room.encrypted":
            reply.text("It is encrypted: only members of the room can read it.")
        elif not kept and not _is_text(details):
            reply.text(
                f"It has no text; nothing is kept of this but that it was: {kind_of(details)}."
            )
        elif not kept or self._clock() - details.received_ts > self._keep_text_ms:
            reply.text("Its text is not kept any more; reports.keep_text says for how long it is.")
        else:
            reply.spoiler("What was written; it may be abusive", details.text or "")

    def _tell(self, reply: Reply, verdict: Refusal) -> None:
        details = verdict.details
        refused = details.ground is Ground.RULE
        reply.text("Refused: " if refused else "Signed: ").text(f"{kind_of(details)} by ")
        reply.code(details.sender).text(" in ").name(self._titles.room(details.room_id)).text(".")
        if details.rule is not None:
            reply.item().text("rule: " if refused else "the rule that would have refused it: ")
            add_rule(reply, details.rule, self._titles)
            reply.text(", written by ").code(details.rule.sender)
        if not refused:
            reply.item().text(f"signed because {_ground(details)}")
            self._add_exemption(reply, details)
        reply.item().text(f"decided {_time(details.received_ts)}, asked first by ")
        reply.code(details.caller)
        if details.unverified:
            reply.item().text("the sender could not be verified: no key of the server was found")
        if details.old:
            reply.item().text("sent before the room was protected")
        reply.item().text("event ").code(details.event_id).text(", reference ")
        reply.code(verdict.reference)

    def _add_exemption(self, reply: Reply, details: Details) -> None:
        """Tell who exempted the sender, if that exemption is still there."""
        if details.ground is not Ground.ALLOWED:
            return
        exemption = self._exemptions.find(details.moderation_room, fold(details.sender))
        if exemption is not None and exemption.allowed_ts <= details.received_ts:
            add_exemption(reply.text(", "), exemption)


def _is_text(details: Details) -> bool:
    if details.event_type != "m.room.message":
        return False
    return details.msgtype is None or details.msgtype in TEXT_MESSAGES


def _ground(details: Details) -> str:
    return _GROUNDS.get(details.ground, details.ground.value)


def _time(milliseconds: int) -> str:
    try:
        moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return "at an unknown time"
    return f"on {moment:%Y-%m-%d at %H:%M:%S} UTC"
