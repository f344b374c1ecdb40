"""What the database did not take, kept until it does.

A full disk must neither keep a rule from deciding nor a room from being let go: memory counts, and
what is missing in the database is written as soon as that works again.
"""

import logging
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from policybot.policy.records import RoomRecord
from policybot.policy.rule import Rule, RuleKey

from .errors import NotStored

log = logging.getLogger("policybot.rooms")


class RoomTable(Protocol):
    """What is needed of the store for rooms."""

    async def save(self, record: RoomRecord) -> None: ...

    async def remove(self, room_id: str) -> None: ...

    async def load(self) -> list[RoomRecord]: ...


class RuleTable(Protocol):
    """What is needed of the store for rules."""

    async def save(
        self, list_id: str, upserts: Sequence[Rule], removals: Sequence[RuleKey]
    ) -> None: ...

    async def remove_list(self, list_id: str) -> None: ...

    def load(self) -> AsyncIterator[list[Rule]]: ...


class PatientRooms:
    """The table of protected rooms, whose `save` does not fail."""

    def __init__(self, table: RoomTable) -> None:
        self._table = table
        self._unsaved: dict[str, RoomRecord] = {}

    async def load(self) -> list[RoomRecord]:
        """All protected rooms."""
        return await self._table.load()

    async def save(self, record: RoomRecord) -> None:
        """Insert or replace one room, now or later."""
        try:
            await self.save_now(record)
        except NotStored as error:
            self._unsaved[record.room_id] = record
            log.warning("What is known of %s cannot be stored yet: %s", record.room_id, error)

    async def save_now(self, record: RoomRecord) -> None:
        """Insert or replace one room.

        Raises:
            NotStored: the database does not take it.
        """
        try:
            await self._table.save(record)
        except Exception as error:
            raise NotStored(_first_line(error)) from error
        self._unsaved.pop(record.room_id, None)

    async def remove(self, room_id: str) -> None:
        """Remove one room, if it is there."""
        await self._table.remove(room_id)
        self._unsaved.pop(room_id, None)

    def unsaved(self) -> tuple[str, ...]:
        """The rooms that are missing in the database or different there."""
        return tuple(self._unsaved)

    async def save_again(self, room_id: str) -> None:
        """Write what could not be written, if that is still so."""
        if room_id in self._unsaved:
            await self.save(self._unsaved[room_id])


class PatientRules:
    """The table of rules, whose `save` does not fail."""

    def __init__(self, table: RuleTable) -> None:
        self._table = table
        self._unsaved: dict[str, dict[RuleKey, Rule | None]] = {}

    def load(self) -> AsyncIterator[list[Rule]]:
        """All rules, in portions."""
        return self._table.load()

    async def save(
        self, list_id: str, upserts: Sequence[Rule], removals: Sequence[RuleKey]
    ) -> None:
        """Write changes of one list, now or later."""
        changes = self._unsaved.get(list_id, {})
        changes |= dict.fromkeys(removals)
        changes |= {rule.key: rule for rule in upserts}
        try:
            await self._table.save(
                list_id,
                [rule for rule in changes.values() if rule is not None],
                sorted(key for key, rule in changes.items() if rule is None),
            )
        except Exception as error:
            self._unsaved[list_id] = changes
            log.warning("Rules of %s cannot be stored yet: %s", list_id, _first_line(error))
        else:
            self._unsaved.pop(list_id, None)

    async def remove_list(self, list_id: str) -> None:
        """Remove all rules of a list."""
        self._unsaved.pop(list_id, None)
        await self._table.remove_list(list_id)

    def unsaved(self) -> tuple[str, ...]:
        """The lists of which rules are missing in the database."""
        return tuple(self._unsaved)

    async def save_again(self, list_id: str) -> None:
        """Write what could not be written, if that is still so."""
        if list_id in self._unsaved:
            await self.save(list_id, (), ())


def _first_line(error: Exception) -> str:
    """What the error says; after its first line PostgreSQL may repeat the whole row."""
    return str(error).partition("\n")[0] or type(error).__name__
