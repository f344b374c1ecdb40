"""Which part carries out which command."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from .client import MatrixClient
from .commands import CommandHandler
from .exemption_commands import ExemptionCommands
from .exemptions import Exemptions
from .list_commands import ListCommands
from .list_editor import ListEditor
from .match_command import MatchCommand
from .migrate_command import MigrateCommand
from .moderation_rooms import ModerationRooms
from .policy_lists import PolicyLists
from .protected_rooms import ProtectedRooms
from .rejoin import RejoinCommand
from .report_text import Titles
from .room_commands import RoomCommands
from .rule_commands import RuleCommands
from .rule_outcome import RuleOutcome
from .status import Condition, RefusalCounts, StatusCommand
from .verdict_commands import VerdictCommands, VerdictLog


class StoredVerdicts(RefusalCounts, VerdictLog, Protocol):
    """What commands need of the stored verdicts."""


def command_handlers(
    client: MatrixClient,
    room_commands: RoomCommands,
    rejoin: RejoinCommand,
    migrate_command: MigrateCommand,
    protected_rooms: ProtectedRooms,
    moderation_rooms: ModerationRooms,
    lists: PolicyLists,
    editor: ListEditor,
    exemptions: Exemptions,
    verdicts: StoredVerdicts,
    titles: Titles,
    condition: Callable[[], Awaitable[Condition]],
    *,
    keep_text_ms: int,
    clock: Callable[[], int],
) -> Mapping[str, CommandHandler]:
    """The commands by name; `help` is not among them. ``clock`` gives milliseconds since 1970."""
    status = StatusCommand(
        client,
        protected_rooms,
        moderation_rooms,
        lists,
        exemptions,
        verdicts,
        condition,
        clock=clock,
    )
    list_commands = ListCommands(client, lists, editor, moderation_rooms)
    outcome = RuleOutcome(lists, protected_rooms, moderation_rooms, exemptions)
    rule_commands = RuleCommands(client, lists, editor, protected_rooms, outcome, titles)
    exemption_commands = ExemptionCommands(exemptions, outcome, titles, clock=clock)
    match = MatchCommand(lists, outcome, moderation_rooms, exemptions, titles)
    verdict_commands = VerdictCommands(
        verdicts, exemptions, titles, keep_text_ms=keep_text_ms, clock=clock
    )
    return {
        "enable": room_commands.enable,
        "disable": room_commands.disable,
        "rejoin": rejoin.rejoin,
        "migrate": migrate_command.migrate,
        "status": status.status,
        "watch": list_commands.watch,
        "unwatch": list_commands.unwatch,
        "lists": list_commands.lists,
        "ban": rule_commands.ban,
        "unban": rule_commands.unban,
        "allow": exemption_commands.allow,
        "disallow": exemption_commands.disallow,
        "match": match.match,
        "why": verdict_commands.why,
    }
