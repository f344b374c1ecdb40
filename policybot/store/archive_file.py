"""The file that `policybot export` writes: gzip of lines of JSON, readable with ``zcat``.

The first line says what the file is. Then comes each table: an object with its name and columns,
and a list for each row. The last line has the number of rows of each table and the SHA-256 of all
lines before it, so that a file which was cut off or changed is noticed.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from .transaction import ROWS_AT_ONCE

FORMAT = "policybot export"
FORMAT_VERSION = 1

_COMPRESSION = 6
_GZIP = 16 + zlib.MAX_WBITS
_MAX_LINE = 64 << 20

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class ArchiveUnusable(Exception):
    """The file cannot be used. The text is a sentence without its subject, which is the file."""


class ArchiveDamaged(ArchiveUnusable):
    """The file is not as it was written."""

    def __init__(self) -> None:
        super().__init__("is damaged or was changed: export or copy it again.")


class ArchiveCutOff(ArchiveUnusable):
    """The file has no end."""

    def __init__(self) -> None:
        super().__init__("is cut off: export or copy it again.")


class ArchiveNewer(ArchiveUnusable):
    """A newer policybot has written the file."""

    def __init__(self, writer: str) -> None:
        super().__init__(f"was written by policybot {writer}, which is newer: install that.")


@dataclass(frozen=True, slots=True)
class ArchiveHeader:
    """What the first line says: the version of the database's schema, the version of policybot
    that wrote the file, when (ISO 8601), and whose login is in it, or None."""

    schema: int
    policybot: str
    written: str
    account: str | None


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of one table, as JSON has them, each in the order of the columns."""

    table: str
    columns: list[Any]
    rows: list[list[Any]]


class ArchiveWriter:
    """Writes to an open file. Without `finish` the file counts as cut off.

    Every method raises `ArchiveUnusable` when the file cannot be written.
    """

    def __init__(self, file: BinaryIO, header: ArchiveHeader) -> None:
        self._file = file
        # Not a GzipFile, which would write an end when it is thrown away.
        self._zip = zlib.compressobj(_COMPRESSION, wbits=_GZIP)
        self._digest = hashlib.sha256()
        self._counts: dict[str, int] = {}
        self._table = ""
        self._write(
            {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "schema": header.schema,
                "policybot": header.policybot,
                "written": header.written,
                "account": header.account,
            }
        )

    def begin_table(self, name: str, columns: Sequence[str]) -> None:
        """Begin a table; the rows that follow belong to it."""
        self._table = name
        self._counts[name] = 0
        self._write({"table": name, "columns": list(columns)})

    def add(self, rows: Sequence[Sequence[object]]) -> None:
        """Add rows of what JSON takes, each in the order of the columns."""
        self._counts[self._table] += len(rows)
        self._write(*rows)

    def finish(self) -> dict[str, int]:
        """Write the end, and return the number of rows by table."""
        self._write({"end": self._counts, "sha256": self._digest.hexdigest()})
        self._put(self._zip.flush())
        return self._counts

    def _write(self, *values: object) -> None:
        lines = "".join(_to_json(value) + "\n" for value in values).encode()
        self._digest.update(lines)
        self._put(self._zip.compress(lines))

    def _put(self, data: bytes) -> None:
        try:
            if data:
                self._file.write(data)
        except OSError as error:
            raise ArchiveUnusable(f"cannot be written ({error.strerror or error}).") from None


class ArchiveReader:
    """Reads from an open file.

    Raises:
        ArchiveUnusable: it is none of ours, or a newer policybot has written it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._zip = gzip.GzipFile("", "rb", fileobj=file)
        self._digest = hashlib.sha256()
        self._latest_line = b""
        self.header = self._header()

    def _header(self) -> ArchiveHeader:
        try:
            first = self._line()
        except ArchiveDamaged:
            first = None
        if not isinstance(first, dict) or first.get("format") != FORMAT:
            raise ArchiveUnusable("was not written by `policybot export`.")
        match first:
            case {"format_version": int(version), "policybot": str(writer)}:
                if version > FORMAT_VERSION:
                    raise ArchiveNewer(writer)
            case _:
                raise ArchiveDamaged
        match first:
            case {"schema": int(schema), "written": str(written), "account": account}:
                if schema > 0:
                    return ArchiveHeader(schema, writer, written, account)
        raise ArchiveDamaged

    def pieces(self) -> Iterator[Piece]:
        """All rows, some hundred of a table at a time. Only when this has come to its end, they
        are known to be whole.

        Raises:
            ArchiveUnusable: the file is cut off or was changed.
        """
        counts: dict[str, int] = {}
        line = self._line()
        while isinstance(line, dict) and "table" in line:
            match line:
                case {"table": str(name), "columns": list(columns)} if name not in counts:
                    counts[name] = 0
                case _:
                    raise ArchiveDamaged
            line = self._line()
            while isinstance(line, list):
                rows = [line]
                while isinstance(line := self._line(), list) and len(rows) < ROWS_AT_ONCE:
                    rows.append(line)
                counts[name] += len(rows)
                yield Piece(name, columns, rows)
        if line != {"end": counts, "sha256": self._digest.hexdigest()} or self._read(1):
            raise ArchiveDamaged

    def _line(self) -> Any:
        """The next line; the digest is then about those before it."""
        self._digest.update(self._latest_line)
        self._latest_line = self._read(_MAX_LINE)
        if not self._latest_line.endswith(b"\n"):
            raise ArchiveCutOff
        try:
            return json.loads(self._latest_line)
        except (ValueError, RecursionError):
            raise ArchiveDamaged from None

    def _read(self, limit: int) -> bytes:
        try:
            return self._zip.readline(limit)
        except EOFError:
            raise ArchiveCutOff from None
        except (gzip.BadGzipFile, zlib.error):
            raise ArchiveDamaged from None
        except OSError as error:
            raise ArchiveUnusable(f"cannot be read ({error.strerror or error}).") from None
