"""The lists of a moderation room, as shown by `lists` and `status`."""

from policybot.policy.rule import RuleKind

from .moderation_rooms import ModerationRooms
from .policy_lists import PolicyLists
from .reply import Reply
from .report_text import count

MAX_UNUSED = 5


def list_lines(
    lists: PolicyLists, moderation_rooms: ModerationRooms, moderation_room: str
) -> Reply:
    """The lists of a moderation room, with their rules and what is left unused."""
    subscriptions = lists.subscriptions.of(moderation_room)
    if not subscriptions:
        reply = Reply().strong("No list is followed. ").text("Follow one: ")
        reply.command("watch #list:example.org").text(" or write a rule: ")
        return reply.command("ban @user:example.org spam")
    reply = Reply().strong("Lists")
    unused = moderation_rooms.unused_rules(moderation_room)
    for subscription in subscriptions:
        list_id = subscription.list_id
        counts = lists.rules.counts(list_id)
        reply.item().code(subscription.shortcode).text(" ").name(lists.title(list_id))
        kinds = (f"{counts.rules[kind]:,} {kind.value}" for kind in RuleKind)
        reply.text(": rules: " + ", ".join(kinds))
        if subscription.own:
            reply.text("; I write here")
        if lists.stale(list_id):
            reply.text("; ⚠️ cannot be read at the moment, its last known rules decide")
        if counts.refused:
            latest = counts.latest[-1].why if counts.latest else ""
            reply.text(f"; not usable: {count(counts.refused, 'event')}, the latest because ")
            reply.name(latest)
        mine = [rule for rule in unused if rule.list_id == list_id]
        if mine:
            reply.text("; unused, since they would hit a moderator or me: ")
            reply.several(mine, MAX_UNUSED, lambda rule: Reply().code(rule.entity or "(hashed)"))
    return reply
