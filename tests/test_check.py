"""`policybot check` against a small homeserver: each line it prints, and each fault it finds."""

from pathlib import Path

import pytest

from policybot.demo.ports import free_ports
from policybot.store.database import open_database
from policybot.store.settings import Setting, Settings

from .bot.conftest import homeserver
from .bot.fake_homeserver import FakeHomeserver, Fault
from .command import BOT, Ended, policybot, running, write_config

__all__ = ["homeserver"]

NOBODY_THERE = "http://127.0.0.1:1"
KEYS = "The homeserver delivers keys."
DATABASE = "The database can be used."
LOGIN = f"The login of {BOT} is valid."


async def check(directory: Path) -> Ended:
    return await policybot("check", directory=directory)


async def test_before_the_first_run_it_answers_for_itself(
    homeserver: FakeHomeserver, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    write_config(
        tmp_path,
        {"url": homeserver.url, "access_token": homeserver.token(BOT)},
        policy_server={"public_url": url},
        listen={"port": port},
    )
    ended = await check(tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "The configuration is complete.",
        KEYS,
        DATABASE,
        LOGIN,
        f"The endpoint answers at {url}/_matrix/policy/v1/sign.",
    ]


async def test_a_bot_that_runs_answers(homeserver: FakeHomeserver, tmp_path: Path) -> None:
    account = {"url": homeserver.url, "access_token": homeserver.token(BOT)}
    file = write_config(tmp_path, account, standalone={"logging": {"level": "INFO"}})
    async with running(file) as (_, url):
        port = int(url.rpartition(":")[2])
        # The port is in use, by the bot itself.
        write_config(tmp_path, account, policy_server={"public_url": url}, listen={"port": port})
        ended = await check(tmp_path)
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.splitlines()[-1].startswith(f"The endpoint answers at {url}/")

        (tmp_path / "other").mkdir()
        write_config(tmp_path / "other", account, policy_server={"public_url": url})
        ended = await check(tmp_path / "other")
        assert ended.code == 1
        assert "another installation of policybot answers here" in ended.err
        assert ended.err.count("\n") == 1


async def test_the_homeserver_under_the_public_name_means_a_missing_proxy_line(
    homeserver: FakeHomeserver, tmp_path: Path
) -> None:
    write_config(
        tmp_path,
        {"url": homeserver.url, "access_token": homeserver.token(BOT)},
        policy_server={"public_url": homeserver.url},
    )
    ended = await check(tmp_path)
    assert ended.code == 1
    assert ended.out.splitlines()[1:] == [KEYS, DATABASE, LOGIN]
    assert ended.err.startswith("policybot: The endpoint does not answer under its public name.")
    assert "does not send /_matrix/policy/ to policybot" in ended.err


async def test_a_password_is_used_and_its_token_kept(
    homeserver: FakeHomeserver, tmp_path: Path
) -> None:
    homeserver.passwords[BOT] = "secret"
    write_config(
        tmp_path,
        {"url": homeserver.url, "password": "secret"},
        policy_server={"public_url": homeserver.url},
    )
    for _ in range(2):
        assert LOGIN in (await check(tmp_path)).out
    assert len(homeserver.calls("POST", "login")) == 1
    database = await open_database(f"sqlite://{tmp_path / 'policybot.db'}")
    try:
        assert await Settings(database).get(Setting.ACCESS_TOKEN) is not None
    finally:
        await database.stop()


async def test_every_fault_has_a_line_of_its_own(tmp_path: Path) -> None:
    write_config(
        tmp_path,
        {"url": NOBODY_THERE, "access_token": "t"},
        policy_server={"name": "other.example.org", "public_url": NOBODY_THERE},
    )
    ended = await check(tmp_path)
    assert (ended.code, ended.out) == (1, DATABASE + "\n")
    name, keys, login, endpoint = ended.err.splitlines()
    assert "policy_server.name is other.example.org" in name
    assert "does not deliver keys" in keys
    assert f"The homeserver at {NOBODY_THERE}: cannot be reached" in login
    assert "The endpoint does not answer under its public name" in endpoint
    assert all(line.startswith("policybot: ") for line in ended.err.splitlines())


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault(401, "M_UNKNOWN_TOKEN", times=9), "does not take the bot's access token"),
        (Fault(403, "M_USER_DEACTIVATED", times=9), "refuses the bot's account"),
        (Fault.bad_gateway(times=9), "answered with status 502"),
    ],
)
async def test_a_login_that_does_not_work(
    homeserver: FakeHomeserver, tmp_path: Path, fault: Fault, told: str
) -> None:
    homeserver.fault("GET", "whoami", fault)
    write_config(
        tmp_path,
        {"url": homeserver.url, "access_token": homeserver.token(BOT)},
        policy_server={"public_url": homeserver.url},
    )
    ended = await check(tmp_path)
    assert ended.code == 1
    assert told in ended.err.splitlines()[0]


async def test_a_homeserver_without_keys(homeserver: FakeHomeserver, tmp_path: Path) -> None:
    homeserver.fault("GET", "/key/v2/server", Fault(404, "M_UNRECOGNIZED", times=9))
    write_config(
        tmp_path,
        {"url": homeserver.url, "access_token": homeserver.token(BOT)},
        policy_server={"public_url": homeserver.url},
    )
    ended = await check(tmp_path)
    assert ended.code == 1
    assert "listener needs the resource `keys`" in ended.err.splitlines()[0]


async def test_an_address_that_cannot_be_listened_on(
    homeserver: FakeHomeserver, tmp_path: Path
) -> None:
    write_config(
        tmp_path,
        {"url": homeserver.url, "access_token": homeserver.token(BOT)},
        listen={"host": "203.0.113.1"},
    )
    ended = await check(tmp_path)
    assert ended.code == 1
    assert "The endpoint cannot listen on 203.0.113.1" in ended.err


async def test_a_damaged_database_ends_the_check(
    homeserver: FakeHomeserver, tmp_path: Path
) -> None:
    (tmp_path / "policybot.db").write_bytes(b"no database" * 1000)
    write_config(tmp_path, {"url": homeserver.url, "access_token": homeserver.token(BOT)})
    ended = await check(tmp_path)
    assert (ended.code, ended.out.splitlines()[-1]) == (1, KEYS)
    assert "damaged" in ended.err
    assert ended.err.count("\n") == 1
