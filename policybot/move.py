"""`policybot export` and `policybot import`: everything in the database into a file and back.

A database that is named by a configuration is the one of a policybot on its own, and its login
goes with it; one that is named by its URL may be that of a maubot instance, where the login is
maubot's.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self, TextIO

from .config import Config
from .store.archive import export_database
from .store.archive_file import ArchiveReader, ArchiveUnusable
from .store.archive_import import import_archive
from .store.bare_database import bare_database
from .store.database import DatabaseUnusable, sqlite_path
from .store.settings import Setting, Settings

STREAM = "-"
"""The file name that stands for standard output or input."""

_KEY_ELSEWHERE = (
    "The policy key is not in the file, since it is in the configuration there "
    "(policy_server.signing_key). Take it along: with another key every room is closed."
)
_OTHER_KEY = (
    "policy_server.signing_key in the configuration is not the imported key, and it is the one "
    "that counts: rooms that name the imported key are closed."
)


@dataclass(frozen=True, slots=True)
class Place:
    """A database that is moved from or to: its URL, the user ID of the bot whose login is in it
    (None: no login belongs there), and the policy key in the configuration."""

    url: str
    account: str | None = None
    configured_key: str | None = None

    @classmethod
    def of(cls, config: Config) -> Self:
        """The place that a configuration names."""
        assert config.standalone is not None
        return cls(
            config.standalone.database,
            config.standalone.homeserver.user_id,
            config.policy_server.signing_key,
        )


def export_to(name: str, place: Place) -> int:
    """Write everything in the database into a new file, or to standard output, and say what.

    The exit code, after one line on stderr if it is not 0: then no file was left.
    """
    report = sys.stderr if name == STREAM else sys.stdout
    try:
        with _new_file(name) as file:
            asyncio.run(_export(file, place, report))
    except DatabaseUnusable as error:
        return _refuse(str(error))
    except ArchiveUnusable as error:
        return _refuse(f"{_subject(name, 'output')} {error}")
    return 0


async def _export(file: BinaryIO, place: Place, report: TextIO) -> None:
    _check_exists(place.url)
    async with bare_database(place.url) as db:
        counts = await export_database(db, file, place.account)
        key = await Settings(db).get(Setting.SIGNING_KEY)
    print(f"Exported: {_summary(counts)}.", file=report)
    if key is None or place.configured_key not in (None, key):
        print(_KEY_ELSEWHERE, file=report)


def _check_exists(url: str) -> None:
    """Opening it would make it."""
    if url.startswith("sqlite:") and not Path(sqlite_path(url)).exists():
        raise DatabaseUnusable(f"There is no database {sqlite_path(url)}.")


@contextmanager
def _new_file(name: str) -> Iterator[BinaryIO]:
    """A file that its owner alone can read, since it holds keys; removed if writing it fails."""
    if name == STREAM:
        if sys.stdout.isatty():
            raise ArchiveUnusable("is a terminal here: name a file, or redirect the output.")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        number = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ArchiveUnusable("is there already: name a new file.") from None
    except OSError as error:
        raise ArchiveUnusable(f"cannot be written ({error.strerror}).") from None
    try:
        with os.fdopen(number, "wb", buffering=0) as file:
            yield file
    except BaseException:
        os.unlink(name)
        raise


def import_from(name: str, place: Place) -> int:
    """Read everything in a file, or on standard input, into an empty database, and say what.

    The exit code, after one line on stderr if it is not 0: then nothing was changed.
    """
    try:
        with _open_file(name) as file, _made_file_removed(place.url):
            asyncio.run(_import(ArchiveReader(file), place))
    except DatabaseUnusable as error:
        return _refuse(str(error))
    except ArchiveUnusable as error:
        return _refuse(f"{_subject(name, 'input')} {error}")
    return 0


async def _import(archive: ArchiveReader, place: Place) -> None:
    async with bare_database(place.url) as db:
        counts = await import_archive(archive, db, place.account)
        key = await Settings(db).get(Setting.SIGNING_KEY)
    print(f"Imported, as of {archive.header.written}: {_summary(counts)}.")
    if place.configured_key is None:
        if key is None:
            print(_KEY_ELSEWHERE)
    elif key not in (None, place.configured_key):
        print(_OTHER_KEY)


@contextmanager
def _open_file(name: str) -> Iterator[BinaryIO]:
    if name == STREAM:
        yield sys.stdin.buffer
        return
    try:
        file = open(name, "rb")
    except OSError as error:
        raise ArchiveUnusable(f"cannot be read ({error.strerror}).") from None
    with file:
        yield file


@contextmanager
def _made_file_removed(url: str) -> Iterator[None]:
    """Leave no SQLite file behind, if there was none, when the import fails."""
    path = Path(sqlite_path(url)) if url.startswith("sqlite:") else None
    if path is None or path.exists():
        yield
        return
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _subject(name: str, stream: str) -> str:
    return f"Standard {stream}" if name == STREAM else name


def _summary(counts: dict[str, int]) -> str:
    parts = [f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items() if count]
    return ", ".join(parts) or "nothing"


def _refuse(sentence: str) -> int:
    print(f"policybot: {sentence}", file=sys.stderr)
    return 1
