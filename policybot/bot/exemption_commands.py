"""The commands about exemptions: allow and disallow."""

from collections.abc import Callable

from policybot.policy.entity import Entity
from policybot.policy.glob import fold
from policybot.policy.records import Exemption
from policybot.policy.rule import Recommendation, Rule, RuleKind

from .command import Command
from .entity_reference import entity_reference, only_entity
from .errors import CommandError
from .exemptions import Exemptions, add_exemption
from .reply import Reply, clean
from .report_text import Titles, add_rule, count
from .rule_commands import MAX_REASON
from .rule_outcome import RuleOutcome


class ExemptionCommands:
    """Carries out the commands about exemptions; each returns the reply. ``clock`` gives
    milliseconds since 1970."""

    def __init__(
        self,
        exemptions: Exemptions,
        outcome: RuleOutcome,
        titles: Titles,
        *,
        clock: Callable[[], int],
    ) -> None:
        self._exemptions = exemptions
        self._outcome = outcome
        self._titles = titles
        self._clock = clock

    async def allow(self, moderation_room: str, sender: str, command: Command) -> Reply:
        """Exempt a user from all lists."""
        entity = only_entity(command)
        if entity.kind is not RuleKind.USER or entity.is_glob:
            raise CommandError(_not_exempted(entity))
        user_id, reason = fold(entity.text), command.rest[:MAX_REASON]
        before = self._exemptions.find(moderation_room, user_id)
        if before is not None and reason in ("", before.reason):
            reply = Reply.done().code(user_id).text(" was exempt already: ")
            add_exemption(reply, before).text(".")
        else:
            await self._exemptions.allow(
                Exemption(moderation_room, user_id, reason, sender, self._clock())
            )
            reply = Reply.done().code(user_id).text(" is exempt from all lists now, ")
            rooms = len(self._outcome.enabled_rooms(moderation_room))
            reply.text(f"in {count(rooms, 'protected room')} of this moderation room.")
        rule = self._ban(moderation_room, user_id)
        if rule is None:
            reply.line().text("No rule matches at present; the exemption is for rules to come.")
        else:
            add_rule(
                reply.line().text("This rule no longer counts for them: "), rule, self._titles
            )
            reply.text(
                ". New messages pass. What was refused stays refused; it can be sent again. A "
                "kick or ban in a room is undone in that room."
            )
        return reply.line().text("To undo: ").command(f"disallow {user_id}")

    async def disallow(self, moderation_room: str, sender: str, command: Command) -> Reply:
        """End an exemption."""
        entity = entity_reference(command.words[0])
        if entity.kind is RuleKind.ROOM:
            raise CommandError(_not_exempted(entity))
        user_id = fold(entity.text)
        if self._exemptions.find(moderation_room, user_id) is None:
            reply = Reply.refused().code(user_id).text(" is not exempt here, so nothing changed. ")
            return reply.text("To refuse messages: ").command(f"ban {entity.text}")
        await self._exemptions.disallow(moderation_room, user_id)
        reply = Reply.done().code(user_id).text(" is no longer exempt. ")
        rule = self._ban(moderation_room, user_id)
        if rule is None:
            reply.text("No rule matches, so messages are signed as before. To refuse them: ")
            return reply.command(f"ban {user_id}")
        add_rule(reply.text("New messages are refused by "), rule, self._titles)
        return reply.text("; what was signed stays.")

    def _ban(self, moderation_room: str, user_id: str) -> Rule | None:
        """The ban rule that an exemption overrules, if there is one."""
        rule = self._outcome.winning(moderation_room, Entity(RuleKind.USER, user_id))
        return None if rule is None or rule.recommendation is Recommendation.ALLOW else rule


def _not_exempted(entity: Entity) -> str:
    """What to do instead, for each thing that somebody may mean."""
    text = clean(entity.text, 255)
    if entity.kind is RuleKind.ROOM:
        return (
            "Only users can be exempted, not rooms. `disable` takes a room out of protection, "
            "`enable` with --dry-run only reports there."
        )
    return (
        "Only single users can be exempted, each by the whole ID, such as @name:example.org. If a "
        f"list of mine bans all of these: `unban {text}`. If a list of others does: exempt the "
        "users that you know, or `unwatch` that list."
    )
