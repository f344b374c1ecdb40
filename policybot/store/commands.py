"""The commands that are being carried out: a handful at most, kept as one value."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from mautrix.util.async_db import Database

from policybot.policy.records import CommandRecord

from .settings import Setting, Settings


class CommandTable:
    """Read and replaced whole."""

    def __init__(self, db: Database) -> None:
        self._settings = Settings(db)

    async def load(self) -> list[CommandRecord]:
        """All commands, in the order in which they came."""
        value = await self._settings.get(Setting.COMMANDS)
        return [CommandRecord(**fields) for fields in json.loads(value or "[]")]

    async def save(self, records: Sequence[CommandRecord]) -> None:
        """Replace them."""
        # Escaped to ASCII, so that every database takes it.
        value = json.dumps([asdict(record) for record in records])
        await self._settings.set(Setting.COMMANDS, value)
