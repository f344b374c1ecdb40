"""The file: what it looks like, and that nothing but a whole one is taken."""

import gzip
import json
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest

from policybot.store.archive_file import (
    ArchiveHeader,
    ArchiveReader,
    ArchiveUnusable,
    ArchiveWriter,
    Piece,
)
from policybot.store.transaction import ROWS_AT_ONCE

HEADER = ArchiveHeader(3, "0.2.0", "2026-01-02T03:04:05+00:00", "@policybot:example.org")
FRUIT: list[list[object]] = [["apple", 1], ["pear \N{SNOWMAN}\n", None]]


def written(rows: list[list[object]] | None = None) -> bytes:
    file = BytesIO()
    writer = ArchiveWriter(file, HEADER)
    writer.begin_table("fruit", ["name", "count"])
    writer.add(FRUIT if rows is None else rows)
    writer.begin_table("tree", ["name"])
    assert writer.finish() == {"fruit": 2 if rows is None else len(rows), "tree": 0}
    return file.getvalue()


def read(data: bytes) -> list[Piece]:
    return list(ArchiveReader(BytesIO(data)).pieces())


def refusal(data: bytes) -> str:
    with pytest.raises(ArchiveUnusable) as refused:
        read(data)
    return str(refused.value)


def test_what_was_written_is_read() -> None:
    assert ArchiveReader(BytesIO(written())).header == HEADER
    assert read(written()) == [Piece("fruit", ["name", "count"], FRUIT)]


def test_it_is_lines_of_json() -> None:
    header, fruit, apple, pear, tree, end = gzip.decompress(written()).splitlines()
    assert json.loads(header) == {
        "format": "policybot export",
        "format_version": 1,
        "schema": 3,
        "policybot": "0.2.0",
        "written": "2026-01-02T03:04:05+00:00",
        "account": "@policybot:example.org",
    }
    assert json.loads(fruit) == {"table": "fruit", "columns": ["name", "count"]}
    assert [json.loads(apple), json.loads(pear)] == FRUIT
    assert json.loads(tree) == {"table": "tree", "columns": ["name"]}
    assert json.loads(end)["end"] == {"fruit": 2, "tree": 0}


def test_rows_come_in_pieces() -> None:
    rows: list[list[object]] = [[str(number), number] for number in range(2 * ROWS_AT_ONCE + 1)]
    pieces = read(written(rows))
    assert [len(piece.rows) for piece in pieces] == [ROWS_AT_ONCE, ROWS_AT_ONCE, 1]
    assert [row for piece in pieces for row in piece.rows] == rows


def test_every_end_before_the_end_is_noticed() -> None:
    data = written()
    refusals = {refusal(data[:length]) for length in range(2, len(data))}
    assert refusals == {"is cut off: export or copy it again."}


def test_every_changed_byte_is_noticed() -> None:
    data = written()
    unchecked = set(range(2, 10))  # gzip's own header: time, name and the like
    for place in set(range(len(data))) - unchecked:
        assert refusal(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])


def test_what_comes_after_the_end_is_noticed() -> None:
    assert "damaged" in refusal(written() + gzip.compress(b"more\n"))
    assert "damaged" in refusal(written() + b"more")


@pytest.mark.parametrize(
    "data",
    [
        b"SQLite format 3\0",
        gzip.decompress(written()),
        gzip.compress(b"moderation_rooms: []\n"),
        gzip.compress(b'{"format": "another"}\n'),
        gzip.compress(b"[]\n"),
        gzip.compress(b"[" * 200_000 + b"\n"),
        gzip.compress(b"\xff\n"),
    ],
)
def test_a_file_of_another_kind(data: bytes) -> None:
    assert refusal(data) == "was not written by `policybot export`."


def edited(edit: Callable[[list[Any]], None]) -> bytes:
    lines = [json.loads(line) for line in gzip.decompress(written()).splitlines()]
    edit(lines)
    text = "".join(
        json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines
    )
    return gzip.compress(text.encode())


def test_unpacked_and_packed_again_it_is_the_same() -> None:
    assert read(edited(lambda lines: None)) == read(written())


def _swap(lines: list[Any]) -> None:
    lines[2], lines[3] = lines[3], lines[2]


@pytest.mark.parametrize(
    "edit",
    [
        lambda lines: lines.pop(2),
        lambda lines: lines.insert(2, lines[2]),
        lambda lines: lines.pop(4),
        lambda lines: lines[2].append(5),
        lambda lines: lines.insert(1, ["apple", 1]),
        lambda lines: lines.insert(4, lines[1]),
        lambda lines: lines.insert(4, {"table": 5, "columns": []}),
        lambda lines: lines.insert(4, "text"),
        lambda lines: lines[-1].update(end={"fruit": 3, "tree": 0}),
        lambda lines: lines[-1].update(sha256=None),
        lambda lines: lines[0].pop("schema"),
        lambda lines: lines[0].update(schema=0),
        lambda lines: lines[0].pop("policybot"),
        lambda lines: lines[0].update(format_version="1"),
        lambda lines: lines[0].update(account="@another:example.org"),
        _swap,
    ],
)
def test_an_edited_file(edit: Callable[[list[Any]], None]) -> None:
    assert refusal(edited(edit)) == "is damaged or was changed: export or copy it again."


def test_a_newer_format() -> None:
    assert refusal(edited(lambda lines: lines[0].update(format_version=2, policybot="9.0"))) == (
        "was written by policybot 9.0, which is newer: install that."
    )


def test_a_file_that_cannot_be_written() -> None:
    class Full(BytesIO):
        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(ArchiveUnusable, match="cannot be written \\(No space left on device\\)"):
        ArchiveWriter(Full(), HEADER).finish()
