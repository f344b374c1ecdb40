"""The moderation rooms: who is in them, who may command, and what they leave unused.

The endpoint reads ``values``; this module is the only one that writes it.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from policybot.policy.records import ModerationRoomRecord
from policybot.policy.room import ModerationRoom, may_send_state
from policybot.policy.rule import Recommendation, Rule
from policybot.policy.rule_store import RuleStore
from policybot.protocol.policy_event import POLICY_EVENT

from .client import MatrixClient, Refused, TokenRejected
from .errors import CommandError

BY_INVITATION = frozenset({"invite", "private", "knock"})
"""The join rules of rooms that nobody enters without an invitation."""

log = logging.getLogger("policybot.rooms")


class OpenRoom(CommandError):
    """Commands are not taken in a room that anybody can enter without an invitation."""


@dataclass(frozen=True, slots=True)
class ModerationRoomSettings:
    """A moderation room as configured; rooms are IDs or aliases, ``reports`` None = the same."""

    room: str
    reports: str | None = None
    lists: tuple[str, ...] = ()
    command_power_level: int = 0


class ModerationRoomTable(Protocol):
    """What is needed of the store."""

    async def save(self, record: ModerationRoomRecord) -> None: ...

    async def remove(self, room_id: str) -> None: ...

    async def load(self) -> list[ModerationRoomRecord]: ...


class ModerationRooms:
    """The configured rooms that the bot obeys.

    ``values`` is shared with the endpoint, ``rules`` is asked which rules would hit a moderator.
    """

    def __init__(
        self,
        client: MatrixClient,
        table: ModerationRoomTable,
        rules: RuleStore,
        *,
        configured: Sequence[ModerationRoomSettings],
        values: dict[str, ModerationRoom],
        bot_user_id: str,
        policy_user: str | None,
        on_encrypted: Callable[[str], None],
    ) -> None:
        self._client = client
        self._table = table
        self._rules = rules
        self._configured = tuple(configured)
        self._values = values
        self._bot_user_id = bot_user_id
        self._own_users = frozenset({bot_user_id, policy_user or bot_user_id})
        self._on_encrypted = on_encrypted
        self._settings: dict[str, ModerationRoomSettings] = {}
        self._reports: dict[str, str] = {}
        self._lists: dict[str, tuple[str, ...]] = {}
        self._allowed: dict[str, frozenset[str]] = {}

    async def load(self) -> None:
        """Read the saved members, so that exemptions hold while the homeserver is away."""
        known = {settings.room for settings in self._configured}
        only_ids = all(room.startswith("!") for room in known)
        for record in await self._table.load():
            if only_ids and record.room_id not in known:
                continue
            self._take(record)

    # -- asking ----------------------------------------------------------------------------------

    def ids(self) -> tuple[str, ...]:
        """The room IDs found so far, in the order of the configuration."""
        return tuple(self._settings)

    def is_ours(self, room_id: str) -> bool:
        """Whether this is a moderation or a reports room."""
        return room_id in self._settings or room_id in self._reports.values()

    def get(self, room_id: str) -> ModerationRoom | None:
        """The room as the endpoint sees it, or None if it is no moderation room."""
        return self._values.get(room_id) if room_id in self._settings else None

    def settings(self, room_id: str) -> ModerationRoomSettings:
        """What the configuration says about a moderation room."""
        return self._settings[room_id]

    def reports_room(self, moderation_room: str) -> str:
        """Where reports go; the moderation room itself while the other is not found."""
        return self._reports.get(moderation_room, moderation_room)

    def several(self) -> bool:
        """Whether more than one moderation room is configured."""
        return len(self._configured) > 1

    def is_member(self, user_id: str) -> bool:
        """Whether somebody is a member of any moderation room."""
        values = (self._values.get(room_id) for room_id in self._settings)
        return any(value is not None and user_id in value.members for value in values)

    def all_found(self) -> bool:
        """Whether every configured moderation room was found."""
        return len(self._settings) == len(self._configured)

    async def check(self, room_id: str, sender: str, *, changes: bool) -> None:
        """Check by the room's present state whether somebody may command.

        Raises:
            OpenRoom: nobody may in a room that anybody can enter.
            CommandError: he may not; the text says why.
            Refused, HomeserverAway: the room could not be read.
        """
        value = await self.refresh(room_id)
        if sender not in value.members:
            raise CommandError("Only members of this room may command me.")
        if not value.invite_only:
            raise OpenRoom(
                "Anybody can enter this room without an invitation, so I take no commands here. "
                "Make the room invite-only (in Element: room settings, Security & Privacy)."
            )
        if not changes:
            return
        needed = self._settings[room_id].command_power_level
        state = {}
        for key in (("m.room.create", ""), ("m.room.power_levels", "")):
            event = await self._client.state_event(room_id, *key)
            if event is not None:
                state[key] = event
        level = may_send_state(state, sender, POLICY_EVENT).has
        if level is not None and level < needed:
            raise CommandError(
                f"This command needs power level {needed} in this room; yours is {level}."
            )

    # -- following -------------------------------------------------------------------------------

    async def find(self) -> None:
        """Find and join the configured rooms.

        A room that cannot be entered yet is waited for: its invitation is accepted when it comes.

        Raises:
            HomeserverAway: the homeserver does not answer.
        """
        for settings in self._configured:
            await self._find(settings)
        if self.all_found():
            for room_id in self._values.keys() - self._settings.keys():
                del self._values[room_id]
                await self._table.remove(room_id)

    async def find_missing(self) -> None:
        """Look again for configured rooms that could not be found before."""
        found = set(self._settings.values())
        for settings in self._configured:
            if settings not in found:
                await self._find(settings)

    async def _find(self, settings: ModerationRoomSettings) -> None:
        for room in (settings.room, settings.reports):
            if room is None:
                continue
            try:
                room_id = await self._resolve(room)
                if room == settings.room:
                    self._settings[room_id] = settings
                else:
                    moderation_room = await self._resolve(settings.room)
                    self._reports[moderation_room] = room_id
                await self._client.join(room_id)
                if room == settings.room:
                    await self.refresh(room_id)
            except TokenRejected:
                raise
            except Refused as error:
                log.warning(
                    "The room %s cannot be entered yet (%s). Invite %s to it.",
                    room,
                    error.message,
                    self._bot_user_id,
                )

    async def _resolve(self, room: str) -> str:
        if room.startswith("!"):
            return room
        room_id, _ = await self._client.resolve_alias(room)
        return room_id

    async def refresh(self, room_id: str) -> ModerationRoom:
        """Read join rule and members of a moderation room again.

        Raises:
            Refused, HomeserverAway: the room could not be read; what was known stays.
        """
        join_rules = await self._client.state_event(room_id, "m.room.join_rules")
        rule = join_rules["content"].get("join_rule") if join_rules is not None else None
        members = await self._client.joined_members(room_id)
        record = ModerationRoomRecord(
            room_id, rule if isinstance(rule, str) else "invite", tuple(sorted(members))
        )
        before = self._values.get(room_id)
        value = self._take(record)
        if before != value:
            await self._table.save(record)
        if self._client.decrypted is None:
            if await self._client.state_event(room_id, "m.room.encryption") is not None:
                self._on_encrypted(room_id)
        return value

    def _take(self, record: ModerationRoomRecord) -> ModerationRoom:
        lists = self._lists.get(record.room_id, ())
        members = frozenset(record.members)
        value = self._values[record.room_id] = ModerationRoom(
            room_id=record.room_id,
            members=members,
            invite_only=record.join_rule in BY_INVITATION,
            lists=lists,
            unused=frozenset(rule.key for rule in self._guarded(members, lists)),
            allowed=self._allowed.get(record.room_id, frozenset()),
        )
        return value

    def set_lists(self, room_id: str, lists: tuple[str, ...]) -> None:
        """The lists that a moderation room watches, in their order."""
        self._lists[room_id] = lists
        self._rebuild(room_id)

    def set_allowed(self, room_id: str, allowed: frozenset[str]) -> None:
        """The users whom no list decides about in the rooms of a moderation room."""
        self._allowed[room_id] = allowed
        if room_id in self._values:
            self._values[room_id] = replace(self._values[room_id], allowed=allowed)

    def rules_changed(self, list_id: str) -> None:
        """A list changed: work out again which of its rules would hit a moderator or the bot."""
        for room_id, lists in self._lists.items():
            if list_id in lists:
                self._rebuild(room_id)

    def _rebuild(self, room_id: str) -> None:
        value = self._values.get(room_id)
        if value is None:
            value = ModerationRoom(
                room_id=room_id,
                members=frozenset(),
                invite_only=False,
                lists=(),
                unused=frozenset(),
                allowed=frozenset(),
            )
        lists = self._lists.get(room_id, ())
        self._values[room_id] = ModerationRoom(
            room_id=room_id,
            members=value.members,
            invite_only=value.invite_only,
            lists=lists,
            unused=frozenset(rule.key for rule in self._guarded(value.members, lists)),
            allowed=self._allowed.get(room_id, frozenset()),
        )

    def unused_rules(self, room_id: str) -> list[Rule]:
        """The ban rules of a moderation room's lists that would hit the bot, the policy user, the
        server of one of them or a member, and are therefore left unused."""
        value = self._values.get(room_id)
        return self._guarded(value.members, value.lists) if value is not None else []

    def _guarded(self, members: frozenset[str], lists: tuple[str, ...]) -> list[Rule]:
        found: dict[object, Rule] = {}
        for user_id in sorted(self._own_users | members):
            for rule in self._rules.matches_sender(user_id, lists):
                if rule.recommendation is not Recommendation.ALLOW:
                    found[rule.key] = rule
        return list(found.values())
