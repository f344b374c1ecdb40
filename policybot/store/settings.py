"""Single values that must survive a restart, by name: keys, tokens, positions."""

import secrets
from enum import StrEnum

from mautrix.util.async_db import Connection, Database

from policybot.protocol.signing import SigningKey

from .transaction import transact


class Setting(StrEnum):
    """The names in use."""

    SIGNING_KEY = "signing key"  # unpadded base64 of the seed
    FEDERATION_KEYS = "federation keys"  # JSON, see own_keys; with a name of its own
    ACCESS_TOKEN = "access token"
    DEVICE_ID = "device ID"
    SYNC_POSITION = "sync position"
    INSTANCE_ID = "instance ID"
    COMMANDS = "commands"  # JSON, see commands
    NAMES = "names"  # JSON, see own_names
    CONFIGURATION = "configuration"  # inside maubot: JSON of the last one that could be used


class Settings:
    """Texts by name."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def get(self, name: str) -> str | None:
        """The value, or None if it was never set or was removed."""

        async def read(conn: Connection) -> str | None:
            value: str | None = await conn.fetchval(
                "SELECT value FROM setting WHERE name = $1", name
            )
            return value

        return await transact(self._db, read)

    async def set(self, name: str, value: str) -> None:
        """Set the value, whatever it was."""

        async def write(conn: Connection) -> None:
            await conn.execute(
                """INSERT INTO setting (name, value) VALUES ($1, $2)
                ON CONFLICT (name) DO UPDATE SET value = excluded.value""",
                name,
                value,
            )

        await transact(self._db, write)

    async def get_or_set(self, name: str, value: str) -> str:
        """Set the value if there is none, and return the one that stands."""

        async def write(conn: Connection) -> str:
            await conn.execute(
                "INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
                name,
                value,
            )
            return str(await conn.fetchval("SELECT value FROM setting WHERE name = $1", name))

        return await transact(self._db, write)

    async def signing_key(self) -> SigningKey:
        """The policy key, made when it is first asked for."""
        stored = await self.get(Setting.SIGNING_KEY)
        if stored is None:
            stored = await self.get_or_set(Setting.SIGNING_KEY, SigningKey.generate().seed)
        return SigningKey.from_base64(stored)

    async def instance_id(self) -> str:
        """The random ID of this installation, made when it is first asked for."""
        return await self.get_or_set(Setting.INSTANCE_ID, secrets.token_hex(16))

    async def remove(self, name: str) -> None:
        """Forget the value."""

        async def write(conn: Connection) -> None:
            await conn.execute("DELETE FROM setting WHERE name = $1", name)

        await transact(self._db, write)
