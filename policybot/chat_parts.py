"""What the chat side is built from: the values of the configuration, and its tables."""

from mautrix.util.async_db import Database

from .bot.chat import ChatSettings, Tables
from .bot.moderation_rooms import ModerationRoomSettings
from .bot.reports import ReportTimes
from .config import Config
from .protocol.policy_event import PolicyServer
from .store.commands import CommandTable
from .store.exemptions import ExemptionTable
from .store.report_cursor import ReportCursorTable
from .store.rooms import ModerationRoomTable, RoomTable
from .store.rules import RuleTable
from .store.subscriptions import SubscriptionTable
from .store.verdicts import VerdictStore


def chat_settings(
    config: Config, bot_user_id: str, ours: PolicyServer, former: frozenset[str]
) -> ChatSettings:
    """Who the bot is and how it was configured. ``ours`` is the name and key that rooms should
    carry, ``former`` are names that some still carry."""
    return ChatSettings(
        bot_user_id=bot_user_id,
        prefix=config.command_prefix,
        ours=ours,
        former=former,
        moderation_rooms=[
            ModerationRoomSettings(
                room=room.room,
                reports=room.reports,
                lists=room.lists,
                command_power_level=room.command_power_level,
            )
            for room in config.moderation_rooms
        ],
        report_times=ReportTimes(
            config.reports.first_delay_ms / 1000, config.reports.interval_ms / 1000
        ),
        keep_text_ms=config.reports.keep_text_ms,
    )


def chat_tables(database: Database, verdicts: VerdictStore) -> Tables:
    """What the chat side keeps in the database."""
    return Tables(
        moderation_rooms=ModerationRoomTable(database),
        rooms=RoomTable(database),
        rules=RuleTable(database),
        subscriptions=SubscriptionTable(database),
        exemptions=ExemptionTable(database),
        cursors=ReportCursorTable(database),
        commands=CommandTable(database),
        verdicts=verdicts,
    )
