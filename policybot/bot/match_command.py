"""The command `match`: which rules match, and what would be decided."""

from policybot.policy.entity import Entity
from policybot.policy.glob import fold
from policybot.policy.rule import Recommendation, Rule, RuleKind

from .command import Command
from .entity_reference import entity_reference
from .errors import CommandError
from .exemptions import Exemptions, add_exemption
from .moderation_rooms import ModerationRooms
from .policy_lists import PolicyLists
from .reply import Reply
from .report_text import Titles, add_rule
from .rule_outcome import MAX_SHOWN, RuleOutcome


class MatchCommand:
    """Carries out `match`."""

    def __init__(
        self,
        lists: PolicyLists,
        outcome: RuleOutcome,
        moderation_rooms: ModerationRooms,
        exemptions: Exemptions,
        titles: Titles,
    ) -> None:
        self._lists = lists
        self._outcome = outcome
        self._moderation_rooms = moderation_rooms
        self._exemptions = exemptions
        self._titles = titles

    async def match(self, moderation_room: str, sender: str, command: Command) -> Reply:
        """Which rules match, and what would be decided."""
        entity = entity_reference(command.words[0])
        if entity.is_glob:
            raise CommandError("Name one user, server or room, without * and ?.")
        reply = self._decided(moderation_room, entity)
        rules = self._matching(moderation_room, entity)
        value = self._moderation_rooms.get(moderation_room)
        unused = value.unused if value is not None else frozenset()
        for rule in rules[:MAX_SHOWN]:
            add_rule(reply.item().text(f"{rule.recommendation.value}: "), rule, self._titles)
            if rule.key in unused:
                reply.text(" — left unused, since it would hit a moderator or me")
        if len(rules) > MAX_SHOWN:
            reply.item().text(f"and {len(rules) - MAX_SHOWN} more")
        return reply

    def _decided(self, moderation_room: str, entity: Entity) -> Reply:
        reply = Reply.done().code(entity.text).text(": ")
        winning = self._outcome.winning(moderation_room, entity)
        banned = winning is not None and winning.recommendation is not Recommendation.ALLOW
        exemption = self._exemptions.find(moderation_room, fold(entity.text))
        if exemption is not None:
            add_exemption(reply.text("messages are signed: "), exemption).text(".")
            if banned:
                return self._otherwise(reply, winning)
            return reply.text(" They would be signed without that as well.")
        if winning is None:
            return reply.text("no rule decides, messages are signed.")
        if not banned:
            return add_rule(
                reply.text("messages are signed, by an exception: "), winning, self._titles
            )
        if self._outcome.powerful(moderation_room, entity.text):
            reply.text("messages are signed: a moderator, the bot or a person with power.")
            return self._otherwise(reply, winning)
        add_rule(reply.text("messages are refused by "), winning, self._titles)
        self._outcome.add_dry_rooms(reply, moderation_room)
        return reply

    def _otherwise(self, reply: Reply, rule: Rule | None) -> Reply:
        if rule is None:
            return reply
        return add_rule(reply.text(" Otherwise they would be refused by "), rule, self._titles)

    def _matching(self, moderation_room: str, entity: Entity) -> list[Rule]:
        lists = tuple(s.list_id for s in self._lists.subscriptions.of(moderation_room))
        store = self._lists.rules
        if entity.kind is RuleKind.USER:
            return list(store.matches_sender(entity.text, lists))
        return list(store.matches(entity.kind, entity.text, lists))
