"""The commands about rules: ban and unban."""

from policybot.policy.entity import Entity
from policybot.policy.records import Subscription
from policybot.policy.rule import Recommendation, RuleKind

from .blind_spot import blind_spot
from .client import HomeserverAway, MatrixClient
from .command import Command
from .crowd import Crowd, crowd_of
from .entity_reference import only_entity
from .errors import CommandError
from .list_commands import find_subscription
from .list_editor import ListEditor
from .policy_lists import PolicyLists
from .protected_rooms import ProtectedRooms
from .question import Question, must_ask
from .reply import Reply
from .report_text import Titles, add_rule
from .rule_outcome import RuleOutcome

MAX_SHOWN = 10
MAX_REASON = 500


class RuleCommands:
    """Carries out the commands about rules; each returns the reply."""

    def __init__(
        self,
        client: MatrixClient,
        lists: PolicyLists,
        editor: ListEditor,
        protected_rooms: ProtectedRooms,
        outcome: RuleOutcome,
        titles: Titles,
    ) -> None:
        self._client = client
        self._lists = lists
        self._editor = editor
        self._rooms = protected_rooms
        self._outcome = outcome
        self._titles = titles

    async def ban(self, moderation_room: str, sender: str, command: Command) -> Reply | Question:
        """Write a ban rule; first ask, if it would hit many people."""
        entity = only_entity(command)
        self._editor.check_guarded(moderation_room, entity)
        subscription = None
        if "list" in command.options:
            subscription = await self._named_list(moderation_room, command)
            self._check_owner(moderation_room, subscription)
        rooms = self._outcome.enabled_rooms(moderation_room)
        crowd = await crowd_of(self._client, entity, rooms)
        many = entity.is_glob or entity.kind is RuleKind.SERVER
        unsure = many and bool(crowd.unread) and command.agreed is None
        if unsure or must_ask(command, len(crowd.hit)):
            return self._question(entity, command, crowd)
        new_list = False
        if subscription is None:
            subscription, new_list = await self._editor.own_list(moderation_room)
            self._check_owner(moderation_room, subscription)
        reason = command.rest[:MAX_REASON]
        changed = await self._editor.ban(subscription, entity, reason)
        reply = Reply.done("Banned " if changed else "Banned already: ").code(entity.text)
        reply.text(f" ({entity.kind.value} rule) in the list ")
        reply.name(self._lists.title(subscription.list_id)).text(".")
        if new_list:
            reply.text(" I made this list just now and invited the members of this room.")
        self._effect(reply, entity, moderation_room, crowd)
        return reply.line().text("To undo: ").command(f"unban {entity.text}")

    def _question(self, entity: Entity, command: Command, crowd: Crowd) -> Question:
        text = Reply().text("" if command.agreed is None else "It would hit more by now. ")
        text.text("Ban ").code(entity.text).text(f" ({entity.kind.value} rule)?")
        return Question(command, text.add(crowd.described(self._rooms)), len(crowd.hit))

    async def _named_list(self, moderation_room: str, command: Command) -> Subscription:
        text = command.options["list"]
        return await find_subscription(self._client, self._lists, moderation_room, text)

    def _check_owner(self, moderation_room: str, subscription: Subscription) -> None:
        """Raises:
        CommandError: the bot made this list for another moderation room.
        """
        if self._lists.subscriptions.owner(subscription.list_id) not in (None, moderation_room):
            raise CommandError("That list belongs to others; I do not write into it for you.")

    def _effect(
        self,
        reply: Reply,
        entity: Entity,
        moderation_room: str,
        crowd: Crowd,
    ) -> None:
        """Both facts: whose messages are refused where, and where they still are members."""
        if entity.kind is RuleKind.ROOM:
            reply.line().text(
                "I refuse nothing because of a rule about a room; other tools may act on it."
            )
            return
        reply.line().add(self._outcome.of_ban(moderation_room, entity))
        winning = self._outcome.winning(moderation_room, entity)
        if winning is not None and winning.recommendation is Recommendation.ALLOW:
            reply.text(" But an exception in ").name(self._titles.policy_list(winning.list_id))
            reply.text(" comes first, so nothing is refused.")
        still = [room_id for room_id, members in crowd.members.items() if members]
        if still:
            reply.line().text("I do not kick. Still a member in: ")
            reply.several(still, MAX_SHOWN, lambda room: Reply().name(self._rooms.name(room)))
            reply.text(".")
        if crowd.unread:
            reply.line().text("Not counted:").add(crowd.not_counted(self._rooms))
        spot = blind_spot(self._rooms)
        if spot is not None:
            reply.line().add(spot)

    async def unban(self, moderation_room: str, sender: str, command: Command) -> Reply:
        """Remove ban rules."""
        entity = only_entity(command)
        if "list" in command.options:
            chosen = [await self._named_list(moderation_room, command)]
        else:
            chosen = list(self._lists.subscriptions.of(moderation_room))
        removed: list[Subscription] = []
        problems: list[tuple[Subscription, str]] = []
        for subscription in chosen:
            try:
                if self._editor.has(subscription, entity):
                    self._check_owner(moderation_room, subscription)
                    await self._editor.unban(subscription, entity)
                    removed.append(subscription)
            except (CommandError, HomeserverAway) as error:
                problems.append((subscription, str(error)))
        reply = Reply.done("Removed from ") if removed else Reply.refused("Nothing was removed. ")
        for index, subscription in enumerate(removed):
            reply.text(", " if index else "").name(self._lists.title(subscription.list_id))
        if removed:
            reply.text(": ").code(entity.text).text(".")
        elif not problems:
            reply.text("No rule has exactly this name: ").code(entity.text).text(".")
        for subscription, problem in problems:
            reply.line().text("Not removed from ").name(self._lists.title(subscription.list_id))
            reply.text(": ").name(problem, 300)
        winning = self._outcome.winning(moderation_room, entity)
        if winning is not None and winning.recommendation is not Recommendation.ALLOW:
            reply.line().text("Still banned by ")
            add_rule(reply, winning, self._titles).text(".")
            if self._outcome.exempted(moderation_room, entity):
                reply.text(" But they are exempt here, so messages are signed.")
            elif entity.kind is RuleKind.USER:
                reply.text(" To let this one user through all the same: ")
                reply.command(f"allow {entity.text}")
        elif removed:
            reply.line().text(
                "New messages pass from now on. A kick or ban in a room is undone in that room."
            )
        return reply
