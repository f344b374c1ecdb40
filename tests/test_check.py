"""`policybot check` against a small homeserver: each line it prints, and each fault it finds."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from policybot.config import ListenConfig, TlsConfig
from policybot.demo.ports import free_ports
from policybot.federation.probe import Cure
from policybot.outside import cure_lines, proxy_lines
from policybot.protocol.paths import (
    FEDERATION_VERSION,
    SERVER_KEYS,
    SIGN,
    UNSTABLE_SIGN,
    UNSTABLE_WELL_KNOWN,
    WELL_KNOWN,
)
from policybot.store.database import open_database
from policybot.store.settings import Setting, Settings

from .bot.conftest import homeserver
from .bot.fake_homeserver import FakeHomeserver, Fault
from .bot.public_front import PublicFront
from .command import BOT, Ended, policybot, running, write_config
from .federation.authority import Authority
from .federation.conftest import authority
from .postgres import Postgres

__all__ = ["authority", "homeserver"]

SEED = "A" * 43
NOBODY_THERE = "http://127.0.0.1:1"
KEYS = "The homeserver delivers keys."
DATABASE = "The database can be used."
LOGIN = f"The login of {BOT} is valid."


async def check(directory: Path) -> Ended:
    return await policybot("check", directory=directory)


def answers(url: str) -> list[str]:
    """What is printed when every path is answered by the right one."""
    return [
        f"The endpoint answers at {url}{SIGN}.",
        f"The endpoint answers at {url}{UNSTABLE_SIGN}.",
        f"The homeserver answers at {url}/_matrix/key/v2/server.",
        f"The endpoint answers at {url}{WELL_KNOWN}.",
        f"The endpoint answers at {url}{UNSTABLE_WELL_KNOWN}.",
    ]


@pytest.fixture
async def front(homeserver: FakeHomeserver) -> AsyncIterator[PublicFront]:
    """The reverse proxy, without what is behind it for policybot."""
    async with PublicFront() as front:
        front.homeserver = homeserver.url
        yield front


async def test_before_the_first_run_it_answers_for_itself(
    homeserver: FakeHomeserver, front: PublicFront, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    front.behind = f"http://127.0.0.1:{port}"
    file = write_config(
        tmp_path,
        {"url": homeserver.url, "access_token": homeserver.token(BOT)},
        policy_server={"public_url": front.url},
        listen={"port": port},
    )
    file.chmod(0o644)
    ended = await check(tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "The configuration is complete.",
        KEYS,
        "Careful: config.yaml may be read by every user of this machine: chmod o-r config.yaml",
        DATABASE,
        LOGIN,
        *answers(front.url),
    ]


async def test_a_bot_that_runs_answers(
    homeserver: FakeHomeserver, front: PublicFront, tmp_path: Path
) -> None:
    account = {"url": homeserver.url, "access_token": homeserver.token(BOT)}
    file = write_config(tmp_path, account, standalone={"logging": {"level": "INFO"}})
    async with running(file) as (_, url):
        front.behind, port = url, int(url.rpartition(":")[2])
        # The port is in use, by the bot itself.
        write_config(
            tmp_path, account, policy_server={"public_url": front.url}, listen={"port": port}
        )
        ended = await check(tmp_path)
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.splitlines()[-5:] == answers(front.url)

        (tmp_path / "other").mkdir()
        write_config(tmp_path / "other", account, policy_server={"public_url": front.url})
        ended = await check(tmp_path / "other")
        assert ended.code == 1
        assert ended.err.count("another installation of policybot answers here") == 4
        assert ended.err.count("\n") == 4


async def test_the_homeserver_under_the_public_name_means_missing_proxy_lines(
    homeserver: FakeHomeserver, front: PublicFront, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    front.behind, front.prefixes = f"http://127.0.0.1:{port}", (WELL_KNOWN,)
    write_config(
        tmp_path,
        {"url": homeserver.url, "access_token": homeserver.token(BOT)},
        policy_server={"public_url": front.url},
        listen={"port": port},
    )
    ended = await check(tmp_path)
    assert ended.code == 1
    well = answers(front.url)
    assert ended.out.splitlines()[1:] == [KEYS, DATABASE, LOGIN, well[2], well[3]]
    lines = ended.err.splitlines()
    assert [line for line in lines if line.startswith("policybot: ")] == [
        f"policybot: {front.url}{path}: a homeserver answers (404 M_UNRECOGNIZED): the "
        f"reverse proxy does not send {prefix} to policybot."
        for path, prefix in (
            (SIGN, "/_matrix/policy/"),
            (UNSTABLE_SIGN, "/_matrix/policy/"),
            (UNSTABLE_WELL_KNOWN, UNSTABLE_WELL_KNOWN),
        )
    ]
    # The lines for one prefix are printed once.
    address = f"127.0.0.1:{port}"
    assert [line for line in lines if not line.startswith("policybot: ")] == [
        f"    {line}"
        for prefix, pattern in (
            ("/_matrix/policy/", "/_matrix/policy/*"),
            (UNSTABLE_WELL_KNOWN, UNSTABLE_WELL_KNOWN),
        )
        for line in (
            f"nginx:   location ^~ {prefix} {{ proxy_pass http://{address}; }}",
            f"Caddy:   reverse_proxy {pattern} {address}",
            f"Traefik: PathPrefix(`{prefix}`) in the rule of the router to http://{address}",
            "Where they stand: docs/deploy.md",
        )
    ]


# -- a name of its own ---------------------------------------------------------------------------


def write_own_name(
    directory: Path, homeserver: FakeHomeserver, authority: Authority, *names: str
) -> str:
    """A configuration for a name of our own on loopback, with TLS by itself; gives the name."""
    (port,) = free_ports(1)
    name = f"127.0.0.1:{port}"
    certificate = str(authority.server_file(*names, until=datetime.now(UTC) + timedelta(99)))
    write_config(
        directory,
        {"url": homeserver.url, "access_token": homeserver.token(BOT)},
        policy_server={"name": name},
        listen={"port": port, "tls": {"certificate": certificate, "key": certificate}},
        federation={"allow_networks": ["127.0.0.0/8"]},
        standalone={"logging": {"level": "INFO"}},
    )
    return name


def own_name_answers(name: str) -> list[str]:
    return [
        f"The endpoint answers at https://{name}{path}."
        for path in (
            SIGN,
            UNSTABLE_SIGN,
            SERVER_KEYS,
            FEDERATION_VERSION,
            f"/_matrix/federation/v1/user/devices/%40policy%2F%3A{name.replace(':', '%3A')}",
        )
    ]


async def test_a_name_of_its_own_is_asked_as_others_ask(
    homeserver: FakeHomeserver, authority: Authority, tmp_path: Path
) -> None:
    name = write_own_name(tmp_path, homeserver, authority, "127.0.0.1")
    trust = {"SSL_CERT_FILE": str(authority.file)}

    async def all_is_well() -> None:
        ended = await policybot("check", directory=tmp_path, **trust)
        assert (ended.code, ended.err) == (0, "")
        lines = ended.out.splitlines()
        assert KEYS in lines
        assert lines[lines.index(DATABASE) :] == [DATABASE, LOGIN, *own_name_answers(name)]

    # The key that was made for the first check is the one of the first run.
    await all_is_well()
    async with running(tmp_path / "config.yaml"):
        await all_is_well()

    ended = await policybot("check", directory=tmp_path)
    assert ended.code == 1
    assert f"the TLS certificate of {name} is not good" in ended.err
    assert "    listen.tls needs a certificate for 127.0.0.1 that other servers" in ended.err


async def test_anothers_homeserver_may_deliver_no_keys(
    homeserver: FakeHomeserver, authority: Authority, tmp_path: Path
) -> None:
    homeserver.fault("GET", "/key/v2/server", Fault(404, "M_UNRECOGNIZED", times=9))
    write_own_name(tmp_path, homeserver, authority, "127.0.0.1")
    ended = await policybot("check", directory=tmp_path, SSL_CERT_FILE=str(authority.file))
    assert (ended.code, ended.err) == (0, "")
    assert "to it. Policybot asks other servers for their keys itself." in ended.out


async def test_a_certificate_that_cannot_be_used(
    homeserver: FakeHomeserver, authority: Authority, tmp_path: Path
) -> None:
    write_own_name(tmp_path, homeserver, authority, "127.0.0.1")
    certificate = {"POLICYBOT_LISTEN__TLS__CERTIFICATE": "/no/such.pem"}
    ended = await policybot("check", directory=tmp_path, **certificate)
    assert ended.code == 1
    assert "policybot: listen.tls.certificate: /no/such.pem cannot be read" in ended.err


@pytest.mark.parametrize(
    ("cure", "words"),
    [
        (Cure.DNS, "A record (and AAAA) of policy.example.org"),
        (Cure.FIREWALL, "port 443 (or 8448) must be open"),
        (Cure.CERTIFICATE, "The reverse proxy needs a certificate for policy.example.org"),
        (Cure.PROXY, "server_name policy.example.org; location / { proxy_pass http://127"),
    ],
)
def test_what_is_to_be_set_right(cure: Cure, words: str) -> None:
    listen = ListenConfig("0.0.0.0", 8090)
    assert words in "\n".join(cure_lines(cure, "policy.example.org", listen))


def test_with_tls_by_itself_there_is_no_proxy() -> None:
    listen = ListenConfig("0.0.0.0", 8448, TlsConfig("c", "k"))
    lines = "\n".join(cure_lines(Cure.PROXY, "policy.example.org:8448", listen))
    assert "port 8448, with TLS: port 8448" in lines


@pytest.mark.parametrize(
    ("host", "address"),
    [("0.0.0.0", "127.0.0.1:80"), ("::", "[::1]:80"), ("10.0.0.1", "10.0.0.1:80")],
)
def test_the_lines_name_an_address_that_can_be_reached(host: str, address: str) -> None:
    nginx, caddy, traefik, _ = proxy_lines("/x", host, 80)
    assert f"http://{address};" in nginx
    assert caddy.endswith(f" {address}")
    assert traefik.endswith(f"http://{address}")


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
        policy_server={"signing_key": SEED, "federation_key": SEED, "public_url": NOBODY_THERE},
    )
    ended = await check(tmp_path)
    assert (ended.code, ended.out) == (1, DATABASE + "\n")
    name, keys, login, endpoint = ended.err.splitlines()
    assert "policy_server.federation_key is the same" in name
    assert "does not deliver keys" in keys
    assert f"The homeserver at {NOBODY_THERE}: cannot be reached" in login
    assert "refuses the connection" in endpoint
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


async def test_a_postgresql_database(
    homeserver: FakeHomeserver, tmp_path: Path, postgres: Postgres, postgres_url: str
) -> None:
    account = {"url": homeserver.url, "access_token": homeserver.token(BOT)}
    for url, told in (
        (postgres_url, None),
        (postgres.url("elsewhere"), "is not there"),
        ("postgres://policybot:secret@127.0.0.1:1/policybot", "cannot be reached"),
    ):
        write_config(
            tmp_path,
            account,
            policy_server={"public_url": homeserver.url},
            standalone={"homeserver": {"user_id": BOT, **account}, "database": url},
        )
        ended = await check(tmp_path)
        assert (DATABASE in ended.out) is (told is None)
        assert "secret" not in ended.out + ended.err
        if told is not None:
            assert ended.code == 1
            assert told in ended.err and ended.err.count("\n") == 1
