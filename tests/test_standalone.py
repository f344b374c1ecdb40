"""`policybot run` as a process: how it starts, why it refuses, and how it ends."""

import asyncio
import json
import logging
import os
import signal
import socket
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from policybot import standalone
from policybot.bot.client import MatrixClient, open_api
from policybot.config import HomeserverConfig
from policybot.protocol.paths import HEALTH, SIGN
from policybot.standalone import _EntryFormatter
from policybot.store import transaction
from policybot.store.database import close_database, open_database
from policybot.store.settings import Setting, Settings

from .bot.conftest import homeserver
from .bot.fake_homeserver import FakeHomeserver, Fault
from .command import (
    BOT,
    COMMAND,
    DEADLINE_S,
    STRICT,
    Ended,
    policybot,
    running,
    terminated,
    write_config,
)
from .federation.authority import Authority
from .federation.conftest import authority
from .postgres import Postgres
from .store.samples import eventually

__all__ = ["authority", "homeserver"]

NOBODY_THERE = "http://127.0.0.1:1"
VERBOSE = {"logging": {"level": "INFO"}}


def sentence(ended: Ended) -> str:
    """The one line on stderr of a refusal."""
    assert (ended.code, ended.out) == (1, ""), ended.err
    assert ended.err.startswith("policybot: ") and ended.err.count("\n") == 1, ended.err
    return ended.err.removeprefix("policybot: ").rstrip("\n")


async def refusal(directory: Path) -> str:
    return sentence(await policybot("run", directory=directory))


async def stored(directory: Path, name: Setting) -> str | None:
    database = await open_database(f"sqlite://{directory / 'policybot.db'}")
    try:
        return await Settings(database).get(name)
    finally:
        await database.stop()


# -- a good life ---------------------------------------------------------------------------------


async def test_it_answers_while_the_homeserver_is_away_and_stops_when_told(tmp_path: Path) -> None:
    file = write_config(tmp_path, {"url": NOBODY_THERE, "access_token": "t"}, standalone=VERBOSE)
    async with running(file) as (process, url), aiohttp.ClientSession(url) as session:
        await process.wait_for_line("does not answer, trying again", DEADLINE_S)
        async with session.get(HEALTH) as response:
            assert (response.status, await response.text()) == (200, "ok")
        async with session.post(SIGN, json={}) as response:
            assert response.status == 401
            assert response.headers["Policybot-Instance"] == await stored(
                tmp_path, Setting.INSTANCE_ID
            )
        assert await terminated(process) == 0
        assert process.log_tail(1)[0].endswith("Stopping.")


async def test_an_interrupt_ends_it_too(tmp_path: Path) -> None:
    file = write_config(tmp_path, {"url": NOBODY_THERE, "access_token": "t"}, standalone=VERBOSE)
    async with running(file) as (process, _):
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)
        await process.wait_for_end(DEADLINE_S)
        assert process.exit_code == 0


async def test_a_request_under_way_is_answered_before_the_end(tmp_path: Path) -> None:
    file = write_config(tmp_path, {"url": NOBODY_THERE, "access_token": "t"}, standalone=VERBOSE)
    async with running(file) as (process, url), asyncio.timeout(DEADLINE_S):
        address = urlsplit(url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        head = f"POST {SIGN} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n"
        writer.write(f"{head}\r\n".encode())
        # Only now it is known that the request is in the hands of its handler.
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert process.pid is not None
        os.kill(process.pid, signal.SIGTERM)
        await process.wait_for_line("Stopping.", DEADLINE_S)
        writer.write(b"{}")
        assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
        writer.close()
        await writer.wait_closed()
        await process.wait_for_end(DEADLINE_S)
        assert process.exit_code == 0


async def test_a_request_that_never_ends_does_not_keep_it(tmp_path: Path) -> None:
    file = write_config(tmp_path, {"url": NOBODY_THERE, "access_token": "t"}, standalone=VERBOSE)
    async with running(file) as (process, url):
        address = urlsplit(url)
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        await writer.drain()
        assert await terminated(process) == 0
        writer.close()


def command_without(library: str) -> tuple[str, ...]:
    code = (
        f"import sys; sys.modules['{library}'] = None; "
        "from policybot.cli import main; sys.exit(main())"
    )
    return (*STRICT, "-c", code)


@pytest.mark.parametrize("without", [None, "httptools"])
async def test_it_speaks_tls_by_itself(
    tmp_path: Path, authority: Authority, without: str | None
) -> None:
    certificate = authority.server_file("127.0.0.1", until=datetime.now(UTC) + timedelta(99))
    file = write_config(
        tmp_path,
        {"url": NOBODY_THERE, "access_token": "t"},
        standalone=VERBOSE,
        listen={"tls": {"certificate": str(certificate), "key": str(certificate)}},
    )
    command = COMMAND if without is None else command_without(without)
    async with running(file, command=command) as (process, url):
        assert url.startswith("https://")
        connector = aiohttp.TCPConnector(ssl=authority.client_context())
        async with aiohttp.ClientSession(url, connector=connector) as session:
            async with session.get(HEALTH) as response:
                assert (response.status, await response.text()) == (200, "ok")
        assert await terminated(process) == 0


@pytest.mark.parametrize("key", ["certificate", "key"])
async def test_a_certificate_that_is_not_there(
    tmp_path: Path, authority: Authority, key: str
) -> None:
    good = str(authority.server_file("127.0.0.1"))
    write_config(
        tmp_path,
        {"url": NOBODY_THERE, "access_token": "t"},
        listen={"tls": {"certificate": good, "key": good, key: "/no/such.pem"}},
    )
    assert (await refusal(tmp_path)).startswith(
        f"listen.tls.{key}: /no/such.pem cannot be read (No such file or directory)."
    )


@pytest.mark.parametrize("without", ["uvloop", "orjson", "httptools", "asyncpg"])
async def test_it_runs_without_the_optional_libraries(tmp_path: Path, without: str) -> None:
    file = write_config(tmp_path, {"url": NOBODY_THERE, "access_token": "t"}, standalone=VERBOSE)
    async with running(file, command=command_without(without)) as (process, url):
        async with aiohttp.ClientSession(url) as session, session.get(HEALTH) as response:
            assert response.status == 200
        # A stranger can send any number of such requests; the log does not grow by them.
        address = urlsplit(url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n")
        async with asyncio.timeout(DEADLINE_S):
            assert b" 400 " in await reader.readline()
        writer.close()
        assert await terminated(process) == 0
    assert not any("ERROR" in line for line in process.log)


# -- the account ---------------------------------------------------------------------------------


async def test_a_password_is_used_once(homeserver: FakeHomeserver, tmp_path: Path) -> None:
    homeserver.passwords[BOT] = "secret"
    file = write_config(
        tmp_path, {"url": homeserver.url, "password": "secret"}, standalone=VERBOSE
    )
    for _ in range(2):
        homeserver.requests.clear()
        async with running(file) as (process, _):
            await homeserver.wait_for(lambda: homeserver.calls("GET", "sync"))
            assert await terminated(process) == 0
        assert "secret" not in "\n".join(process.log)
    assert not homeserver.calls("POST", "login")

    token = await stored(tmp_path, Setting.ACCESS_TOKEN)
    assert token is not None
    homeserver.revoke(token)
    homeserver.requests.clear()
    async with running(file) as (process, _):
        await homeserver.wait_for(lambda: homeserver.calls("GET", "sync"))
        assert await terminated(process) == 0
    (login,) = homeserver.calls("POST", "login")
    assert login.json["device_id"] == await stored(tmp_path, Setting.DEVICE_ID) == "NEWDEVICE"


async def test_the_most_talkative_log_tells_no_secret(
    homeserver: FakeHomeserver, tmp_path: Path
) -> None:
    homeserver.passwords[BOT] = "secret"
    file = write_config(
        tmp_path,
        {"url": homeserver.url, "password": "secret"},
        standalone={"logging": {"level": "DEBUG"}},
    )
    async with running(file) as (process, _):
        await homeserver.wait_for(lambda: homeserver.calls("GET", "sync"))
        assert await terminated(process) == 0
    log = "\n".join(process.log)
    assert " DEBUG " in log
    for name in (Setting.SIGNING_KEY, Setting.ACCESS_TOKEN):
        value = await stored(tmp_path, name)
        assert value is not None and value not in log
    assert "secret" not in log


def test_text_from_outside_begins_no_line_of_the_log() -> None:
    name = "@x\n2026-01-01 INFO policybot: all is well\x1b[2J\u202e\x9b31m:example.org"
    entry = logging.makeLogRecord({"msg": "Invited by %s", "args": (name,), "levelname": "INFO"})
    try:
        raise ValueError(name)
    except ValueError:
        entry.exc_info = sys.exc_info()
    first, *traceback = _EntryFormatter("%(levelname)s: %(message)s").format(entry).split("\n")
    assert first == (
        r"INFO: Invited by @x\n2026-01-01 INFO policybot: all is well\x1b[2J\u202e\x9b31m"
        ":example.org"
    )
    assert all(line.startswith("    ") and line.isprintable() for line in traceback)


async def test_a_dead_token(homeserver: FakeHomeserver, tmp_path: Path) -> None:
    write_config(tmp_path, {"url": homeserver.url, "access_token": "dead"})
    text = await refusal(tmp_path)
    assert text.startswith("The homeserver does not take the bot's access token")
    assert "standalone.homeserver" in text


async def test_a_dead_token_is_not_replaced_by_the_password(
    homeserver: FakeHomeserver, tmp_path: Path
) -> None:
    homeserver.passwords[BOT] = "secret"
    write_config(tmp_path, {"url": homeserver.url, "access_token": "dead", "password": "secret"})
    assert "access token" in await refusal(tmp_path)
    assert not homeserver.calls("POST", "login")


async def test_a_token_that_dies_ends_it(homeserver: FakeHomeserver, tmp_path: Path) -> None:
    token = homeserver.token(BOT)
    file = write_config(
        tmp_path, {"url": homeserver.url, "access_token": token}, standalone=VERBOSE
    )
    async with running(file) as (process, _):
        await homeserver.wait_for(lambda: homeserver.calls("GET", "sync"))
        homeserver.revoke(token)
        await homeserver.set_state(homeserver.create_room(BOT), BOT, "m.room.topic", {})
        await process.wait_for_end(DEADLINE_S)
        assert process.exit_code == 1
        assert process.log_tail(1)[0].startswith("policybot: The homeserver does not take")


async def test_a_wrong_password(homeserver: FakeHomeserver, tmp_path: Path) -> None:
    write_config(tmp_path, {"url": homeserver.url, "password": "wrong"})
    text = await refusal(tmp_path)
    assert f"refuses the login of {BOT}" in text
    assert "wrong" not in text


async def test_nothing_to_log_in_with(homeserver: FakeHomeserver, tmp_path: Path) -> None:
    write_config(tmp_path, {"url": homeserver.url})
    assert "neither an access token nor a password" in await refusal(tmp_path)


async def test_the_token_of_another_account(homeserver: FakeHomeserver, tmp_path: Path) -> None:
    other = homeserver.token("@other:example.org")
    write_config(tmp_path, {"url": homeserver.url, "access_token": other})
    assert await refusal(tmp_path) == (
        "The login is for @other:example.org, but standalone.homeserver.user_id says "
        f"{BOT}. Make them agree."
    )


async def test_an_account_that_is_closed(homeserver: FakeHomeserver, tmp_path: Path) -> None:
    homeserver.fault("GET", "whoami", Fault(403, "M_USER_DEACTIVATED", times=9))
    write_config(tmp_path, {"url": homeserver.url, "access_token": "t"})
    assert "refuses the bot's account" in await refusal(tmp_path)


# -- what makes a start impossible ----------------------------------------------------------------


async def test_a_port_in_use(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        write_config(tmp_path, {"url": NOBODY_THERE, "access_token": "t"}, listen={"port": port})
        text = await refusal(tmp_path)
    assert text.startswith(f"The endpoint cannot listen on 127.0.0.1, port {port}: ")
    assert "Change `listen`" in text


async def test_an_address_that_is_not_ours(tmp_path: Path) -> None:
    write_config(
        tmp_path, {"url": NOBODY_THERE, "access_token": "t"}, listen={"host": "203.0.113.1"}
    )
    assert "cannot listen on 203.0.113.1" in await refusal(tmp_path)


async def test_a_damaged_database_is_left_as_it_was(tmp_path: Path) -> None:
    write_config(tmp_path, {"url": NOBODY_THERE, "access_token": "t"})
    file = tmp_path / "policybot.db"
    file.write_bytes(b"this is no database" * 1000)
    assert "is damaged or not a database" in await refusal(tmp_path)
    assert file.read_bytes() == b"this is no database" * 1000


async def test_a_database_that_another_process_holds(tmp_path: Path) -> None:
    write_config(tmp_path, {"url": NOBODY_THERE, "access_token": "t"})
    with closing(sqlite3.connect(tmp_path / "policybot.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "is in use by another process" in await refusal(tmp_path)


async def test_a_database_that_cannot_be_written(tmp_path: Path) -> None:
    write_config(tmp_path, {"url": NOBODY_THERE, "access_token": "t"})
    (tmp_path / "policybot.db").mkdir()
    assert "cannot be written (Is a directory)" in await refusal(tmp_path)


async def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    write_config(
        tmp_path,
        {"url": NOBODY_THERE, "access_token": "t"},
        standalone={"database": f"sqlite://{tmp_path / 'no' / 'policybot.db'}"},
    )
    assert "there is no directory" in await refusal(tmp_path)


async def test_rows_that_make_no_sense(tmp_path: Path) -> None:
    database = await open_database(f"sqlite://{tmp_path / 'policybot.db'}")
    try:
        await Settings(database).set(Setting.SIGNING_KEY, "no key")
    finally:
        await database.stop()
    write_config(tmp_path, {"url": NOBODY_THERE, "access_token": "t"})
    text = await refusal(tmp_path)
    assert text.startswith("What is stored in the database cannot be read (InvalidKey")
    assert "no key" not in text
    assert await stored(tmp_path, Setting.SIGNING_KEY) == "no key"


async def test_a_log_level_is_taken(tmp_path: Path) -> None:
    file = write_config(tmp_path, {"url": NOBODY_THERE, "access_token": "t"})
    assert json.loads(file.read_text())["standalone"]["logging"]["level"] == "WARNING"
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        write_config(
            tmp_path,
            {"url": NOBODY_THERE, "access_token": "t"},
            listen={"port": port},
            standalone={"logging": {"level": "DEBUG"}},
        )
        ended = await policybot(directory=tmp_path)
    assert ended.code == 1
    assert " INFO policybot: policybot " in ended.err
    assert ended.err.splitlines()[-1].startswith("policybot: The endpoint cannot listen")


async def test_a_database_that_goes_away_before_the_login_is_waited_for(
    homeserver: FakeHomeserver,
    postgres: Postgres,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(standalone, "DATABASE_RETRY_S", 0.01)
    monkeypatch.setattr(transaction, "PATIENCE_S", 0.01)
    homeserver.passwords[BOT] = "secret"
    config = HomeserverConfig(homeserver.url, BOT, None, "secret")
    client = MatrixClient(open_api(homeserver.url))
    database = await open_database(postgres_url)
    settings = Settings(database)
    await settings.set(Setting.SYNC_POSITION, "s1")
    await asyncio.to_thread(postgres.stop)

    async def load() -> str | None:
        return await settings.get(Setting.SYNC_POSITION)

    login = asyncio.create_task(
        standalone.log_in_patiently(client, config, settings, load), name="login"
    )
    await eventually(lambda: "The database does not answer" in caplog.text)
    assert not login.done()
    await asyncio.to_thread(postgres.start)
    async with asyncio.timeout(DEADLINE_S):
        assert await login == "s1"
    assert len(homeserver.calls("POST", "login")) == 1
    await client.close()
    await close_database(database)
