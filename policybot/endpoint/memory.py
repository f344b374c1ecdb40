"""A bounded memory of verdicts that stand, so that a repeated ask costs no database and no
signing."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Remembered:
    """A verdict that stands, and the signature (unpadded base64) if one was made already."""

    signed: bool
    signature: str | None = None


class VerdictMemory:
    """The latest verdicts by the event's reference hash (32 bytes).

    The oldest entry goes when ``size`` entries are held: what is forgotten is asked of the store
    again, so losing an entry costs time and never changes an answer.
    """

    def __init__(self, size: int = 20_000) -> None:
        self._size = size
        self._entries: dict[bytes, Remembered] = {}

    def get(self, key: bytes) -> Remembered | None:
        """What is remembered of an event, by its reference hash."""
        return self._entries.get(key)

    def put(self, key: bytes, remembered: Remembered) -> None:
        """Remember an event; the oldest one is forgotten for it."""
        entries = self._entries
        if key not in entries and len(entries) >= self._size:
            del entries[next(iter(entries))]
        entries[key] = remembered

    def __len__(self) -> int:
        return len(self._entries)
