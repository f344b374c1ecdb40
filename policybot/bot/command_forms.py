"""The commands that there are: how each is written, and what `help` says about it."""

from collections.abc import Mapping
from dataclasses import dataclass

MAX_ROOMS = 50


@dataclass(frozen=True, slots=True)
class CommandForm:
    """What a command looks like: how many words, which flags, which options with a value.

    ``changes`` tells whether it changes something, and so needs the command power level.
    ``rest`` tells whether words beyond ``most`` are free text such as a reason.
    """

    name: str
    usage: str
    summary: str
    details: str
    least: int = 0
    most: int = 0
    flags: frozenset[str] = frozenset()
    options: frozenset[str] = frozenset()
    rest: bool = False
    changes: bool = False


_FORMS = (
    CommandForm(
        name="enable",
        usage="enable <room> [--dry-run] [--replace] [--unchecked]",
        summary="protect a room: its events are checked before they are shown",
        details=(
            "I join the room, check that this policy server can be reached under its public name "
            "and that server keys are delivered, protect the room and set m.room.policy there. "
            "--dry-run signs everything and reports what would have been refused; without it, the "
            "room is in earnest again. --replace replaces another policy server. --unchecked "
            "skips the check of the public name; use it only if it cannot be asked from here. "
            "Before a moderation or reports room I ask."
        ),
        least=1,
        most=1,
        flags=frozenset({"dry-run", "replace", "unchecked"}),
        changes=True,
    ),
    CommandForm(
        name="disable",
        usage="disable <room|all>",
        summary="take the policy server out of a room, or of all rooms",
        details=(
            "I empty m.room.policy and go on signing everything for 7 days, since servers that "
            "missed the change go on asking."
        ),
        least=1,
        most=1,
        changes=True,
    ),
    CommandForm(
        name="rejoin",
        usage="rejoin [room…] [--unchecked]",
        summary="let the policy user join rooms again from which it was removed",
        details=(
            "Only for a policy server with a name of its own. Without a room: all rooms of this "
            "moderation room where its user is missing. I check first that I answer under my "
            "public name. I invite it where that is needed, if I may. --unchecked as for `enable`."
        ),
        most=MAX_ROOMS,
        flags=frozenset({"unchecked"}),
        changes=True,
    ),
    CommandForm(
        name="migrate",
        usage="migrate [room…] [--unchecked]",
        summary="move rooms from a former name of the policy server to its present one",
        details=(
            "After a change of policy_server.name. All rooms of this moderation room that name me "
            "by a former name, or the ones you give, are moved one by one, each in the mode that "
            "it has. I check first what `enable` checks. A room that cannot be moved stays as it "
            "is, and I answer under the former name. --unchecked as for `enable`."
        ),
        most=MAX_ROOMS,
        flags=frozenset({"unchecked"}),
        changes=True,
    ),
    CommandForm(
        name="status",
        usage="status [room]",
        summary="rooms, lists and how they are doing",
        details="With a room: all that is known about it.",
        most=1,
    ),
    CommandForm(
        name="watch",
        usage="watch <list> [shortcode]",
        summary="follow a policy list",
        details=(
            "The list is a room with ban rules, by ID, alias or link. Lists are asked in the "
            "order in which they are watched. The shortcode is a short name for `--list`."
        ),
        least=1,
        most=2,
        changes=True,
    ),
    CommandForm(
        name="unwatch",
        usage="unwatch <list>",
        summary="stop following a policy list",
        details="By shortcode, ID, alias or link.",
        least=1,
        most=1,
        changes=True,
    ),
    CommandForm(
        name="lists",
        usage="lists",
        summary="the lists followed here",
        details="With the number of rules, and rules that are left unused.",
    ),
    CommandForm(
        name="ban",
        usage="ban <user|server|room> [--list <shortcode>] [reason…]",
        summary="write a ban rule; without a list I make one",
        details=(
            "Messages of a banned user or server are refused in all protected rooms from then on. "
            "Name one user, server or room; a mention or a link does as well. `*` stands for any "
            "text, `?` for one character. Before a rule that hits more than five members of "
            "protected rooms I ask. I do not kick: ban the person in the room as well."
        ),
        least=1,
        most=1,
        options=frozenset({"list"}),
        rest=True,
        changes=True,
    ),
    CommandForm(
        name="unban",
        usage="unban <user|server|room> [--list <shortcode>]",
        summary="remove a ban rule",
        details="New messages pass at once. What was refused stays refused: it can be sent again.",
        least=1,
        most=1,
        options=frozenset({"list"}),
        rest=True,
        changes=True,
    ),
    CommandForm(
        name="allow",
        usage="allow <user> [reason…]",
        summary="exempt a user from all lists",
        details=(
            "No list refuses that user's new messages any more in the rooms of this moderation "
            "room, whatever its rules say. What was refused stays refused: it can be sent again."
        ),
        least=1,
        most=1,
        rest=True,
        changes=True,
    ),
    CommandForm(
        name="disallow",
        usage="disallow <user>",
        summary="end an exemption",
        details="The lists decide about new messages again. What was signed stays.",
        least=1,
        most=1,
        changes=True,
    ),
    CommandForm(
        name="match",
        usage="match <user|server|room>",
        summary="which rules match, and what would be decided",
        details="Changes nothing.",
        least=1,
        most=1,
    ),
    CommandForm(
        name="why",
        usage="why <reference|event ID|link> [--text]",
        summary="why an event was refused or exempted",
        details=(
            "The reference stands in the report and in the error that the person saw. --text "
            "shows what was written, hidden until you tap it, as long as it is kept."
        ),
        least=1,
        most=1,
        flags=frozenset({"text"}),
    ),
    CommandForm(
        name="help",
        usage="help [command]",
        summary="this list, or more about one command",
        details="",
        most=1,
    ),
)

COMMAND_FORMS: Mapping[str, CommandForm] = {form.name: form for form in _FORMS}
