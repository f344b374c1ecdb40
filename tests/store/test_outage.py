"""When people are told that the database cannot be written."""

import logging
import sqlite3

import pytest

from policybot.store.outage import WriteOutage

FULL = sqlite3.OperationalError("disk full")


class Busy(sqlite3.OperationalError):
    sqlite_errorcode = sqlite3.SQLITE_BUSY


def outage(told: list[str | None], told_after_s: float = 3_600) -> WriteOutage:
    outage = WriteOutage(told_after_s=told_after_s)
    outage.on_change = told.append
    return outage


async def test_what_does_not_pass_is_told_at_once_and_once() -> None:
    told: list[str | None] = []
    value = outage(told)
    assert value.failed(FULL, waiting=1, dropped=0) is True
    assert value.failed(FULL, waiting=2, dropped=0) is False
    assert (value.failing, told) == (True, ["disk full"])
    value.over(waiting=2)
    assert (value.failing, told) == (False, ["disk full", None])
    assert value.failed(FULL, waiting=1, dropped=0) is True


@pytest.mark.parametrize("error", [Busy(), sqlite3.IntegrityError("a row")])
async def test_what_passes_is_not_told(error: Exception) -> None:
    told: list[str | None] = []
    value = outage(told)
    value.failed(error, waiting=1, dropped=0)
    value.failed(error, waiting=1, dropped=0)
    value.over(waiting=0)
    assert told == []


async def test_a_lock_that_lasts_is_told() -> None:
    told: list[str | None] = []
    value = outage(told, told_after_s=0)
    value.failed(Busy(), waiting=1, dropped=0)
    assert told == ["Busy"]


async def test_a_fault_in_telling_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail(error: str | None) -> None:
        raise RuntimeError(error)

    value = WriteOutage()
    value.on_change = fail
    with caplog.at_level(logging.ERROR):
        value.failed(FULL, waiting=1, dropped=0)
    assert "Telling about the database failed" in caplog.text
    assert "1 wait" in caplog.text
