"""The commands about lists: watch, unwatch and lists."""

from policybot.policy.records import Subscription

from .client import MatrixClient, Refused
from .command import Command
from .errors import CommandError
from .list_editor import ListEditor
from .list_lines import list_lines
from .moderation_rooms import ModerationRooms
from .policy_lists import PolicyLists
from .reply import Reply, quoted
from .report_text import count
from .room_reference import resolve_room, room_reference

MAX_SHOWN = 10


class ListCommands:
    """Carries out the commands about lists; each returns the reply."""

    def __init__(
        self,
        client: MatrixClient,
        lists: PolicyLists,
        editor: ListEditor,
        moderation_rooms: ModerationRooms,
    ) -> None:
        self._client = client
        self._lists = lists
        self._editor = editor
        self._moderation_rooms = moderation_rooms

    async def watch(self, moderation_room: str, sender: str, command: Command) -> Reply:
        """Follow a list."""
        reference = room_reference(command.words[0])
        shortcode = command.words[1] if len(command.words) > 1 else None
        try:
            list_id = await self._client.join(reference.room_id_or_alias, reference.via)
            await self._check_may_see(moderation_room, sender, list_id)
            own = await self._editor.is_own(moderation_room, list_id)
            subscription = await self._lists.watch(moderation_room, list_id, shortcode, own=own)
        except Refused as error:
            raise CommandError(
                f"I could not enter that list: {quoted(error.message)}. Check the name, or have "
                "me invited to it, and try again."
            ) from None
        unused = [
            rule
            for rule in self._moderation_rooms.unused_rules(moderation_room)
            if rule.list_id == list_id
        ]
        counts = self._lists.rules.counts(list_id)
        total = sum(counts.rules.values())
        reply = Reply.done("I follow ").name(self._lists.title(list_id))
        reply.text(" as ").code(subscription.shortcode).text(". ")
        reply.text(
            f"Rules that count in your protected rooms from now on: {total - len(unused):,}."
        )
        if not total:
            reply.text(" There is no rule in it that I understand; is it the right room?")
        if counts.refused:
            reply.line().text(f"I cannot use {count(counts.refused, 'event')} of it. More: ")
            reply.command("lists")
        if unused:
            reply.line().text("Left unused, since they would hit a moderator or me: ")
            reply.several(unused, MAX_SHOWN, lambda rule: Reply().code(rule.entity or "(hashed)"))
        return reply.line().text("To undo: ").command(f"unwatch {subscription.shortcode}")

    async def _check_may_see(self, moderation_room: str, sender: str, list_id: str) -> None:
        """The bot may be in a list for another moderation room, which has a right to its privacy.

        Raises:
            CommandError: the list can only be entered by invitation, and who asks is not in it.
        """
        if not self._moderation_rooms.several():
            return
        rules = await self._client.state_event(list_id, "m.room.join_rules")
        if rules is not None and rules["content"].get("join_rule") == "public":
            return
        member = await self._client.state_event(list_id, "m.room.member", sender)
        if member is None or member["content"].get("membership") != "join":
            raise CommandError("You are not in that list yourself. Join it and try again.")

    async def unwatch(self, moderation_room: str, sender: str, command: Command) -> Reply:
        """Stop following a list."""
        subscription = await find_subscription(
            self._client, self._lists, moderation_room, command.words[0]
        )
        title = self._lists.title(subscription.list_id)
        await self._lists.unwatch(subscription)
        reply = Reply.done("I no longer follow ").name(title)
        reply.text(". Its rules no longer decide. To follow it again: ")
        return reply.command(f"watch {subscription.list_id} {subscription.shortcode}")

    async def lists(self, moderation_room: str, sender: str, command: Command) -> Reply:
        """The lists followed here."""
        lines = list_lines(self._lists, self._moderation_rooms, moderation_room)
        return Reply.done().add(lines)


async def find_subscription(
    client: MatrixClient, lists: PolicyLists, moderation_room: str, text: str
) -> Subscription:
    """The followed list that a moderator means, by shortcode, ID, alias or link.

    Raises:
        CommandError: no such list is followed in this moderation room.
    """
    found = lists.subscriptions.find(moderation_room, text)
    if found is None and text[:1] in "!#<hm":
        list_id = await resolve_room(client, text, "list")
        found = lists.subscriptions.find(moderation_room, list_id)
    if found is None:
        codes = ", ".join(s.shortcode for s in lists.subscriptions.of(moderation_room)) or "none"
        raise CommandError(f"No such list is followed here. Those that are: {codes}.")
    return found
