"""A bounded memory of verdicts that stand, so that a repeated ask costs no database and no
signing."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Remembered:
    """A verdict that stands: the signature made for it (unpadded base64), or None if refused."""

    signature: str | None


class VerdictMemory:
    """The latest verdicts by the event's reference hash (32 bytes).

    The oldest entry goes when ``size`` entries are held: what is forgotten is asked of the store
    again, so losing an entry costs time and never changes an answer.
    """

    def __init__(self, size: int = 20_000) -> None:
        self._size = size
        self._entries: dict[bytes, Remembered] = {}

    def get(self, key: bytes) -> Remembered | None:
        return self._entries.get(key)

    def put(self, key: bytes, remembered: Remembered) -> None:
        entries = self._entries
        if key not in entries and len(entries) >= self._size:
            del entries[next(iter(entries))]
        entries[key] = remembered

    def __len__(self) -> int:
        return len(self._entries)
