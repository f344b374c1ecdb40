"""`policybot init` against a small homeserver: what is asked, made and written."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from policybot.config import load_config, parse_config
from policybot.init import LISTEN, Answers, InitFailed, configuration, prepare, questions

from .bot.conftest import homeserver
from .bot.fake_homeserver import FakeHomeserver, Fault
from .command import BOT, policybot

__all__ = ["homeserver"]

ALICE = "@alice:example.org"


def answers(url: str, room: str | None = None) -> Answers:
    return Answers(url, BOT, "secret", "example.org", room, None if room else ALICE)


async def test_from_the_first_question_to_a_file_that_works(
    homeserver: FakeHomeserver, tmp_path: Path
) -> None:
    homeserver.passwords[BOT] = "secret"
    lines = (homeserver.url, BOT, "secret", "yes", "", "", ALICE)
    ended = await policybot("init", directory=tmp_path, stdin="\n".join(lines) + "\n")
    assert (ended.code, ended.err) == (0, "")
    assert "location ^~ /_matrix/policy/ { proxy_pass http://127.0.0.1:8090; }" in ended.out
    assert "policybot check -c config.yaml" in ended.out

    file = tmp_path / "config.yaml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    config = load_config(file, {})
    assert config.policy_server.name == "example.org"
    assert config.standalone is not None
    assert config.standalone.homeserver.url == homeserver.url
    assert config.standalone.homeserver.user_id == BOT
    token = config.standalone.homeserver.access_token
    assert token is not None and token not in ended.out

    (room_id,) = homeserver.rooms
    assert config.moderation_rooms[0].room == room_id
    room = homeserver.rooms[room_id]
    assert room.membership(ALICE) == "invite"
    assert room.content("m.room.join_rules") == {"join_rule": "invite"}
    assert ("m.room.encryption", "") not in room.state
    (made,) = homeserver.calls("POST", "createRoom")
    # Nothing that means one thing in one room version and another in the next.
    assert set(made.json) == {"name", "topic", "preset", "invite"}
    assert made.json["preset"] == "trusted_private_chat"


async def test_a_room_that_there_is_already_is_joined(
    homeserver: FakeHomeserver, tmp_path: Path
) -> None:
    homeserver.passwords[BOT] = "secret"
    room_id = homeserver.create_room(ALICE, alias="#mods:example.org")
    await homeserver.set_membership(room_id, BOT, "invite", ALICE)
    text = await prepare(answers(homeserver.url, "#mods:example.org"))
    assert parse_config(yaml.safe_load(text)).moderation_rooms[0].room == "#mods:example.org"
    assert homeserver.rooms[room_id].membership(BOT) == "join"
    assert not homeserver.calls("POST", "createRoom")


async def test_a_room_that_the_bot_cannot_enter(homeserver: FakeHomeserver) -> None:
    homeserver.passwords[BOT] = "secret"
    room_id = homeserver.create_room(ALICE)
    with pytest.raises(InitFailed, match="you are not invited"):
        await prepare(answers(homeserver.url, room_id))


async def test_an_encrypted_room_is_refused(homeserver: FakeHomeserver) -> None:
    homeserver.passwords[BOT] = "secret"
    room_id = homeserver.create_room(ALICE, members=[BOT])
    await homeserver.set_state(room_id, ALICE, "m.room.encryption", {"algorithm": "x"})
    with pytest.raises(InitFailed, match="is encrypted"):
        await prepare(answers(homeserver.url, room_id))


async def test_a_homeserver_that_encrypts_every_new_room(homeserver: FakeHomeserver) -> None:
    homeserver.passwords[BOT] = "secret"
    homeserver.encrypts_new_rooms = True
    with pytest.raises(InitFailed, match="encrypts every new room"):
        await prepare(answers(homeserver.url))
    (room,) = homeserver.rooms.values()
    assert room.membership(BOT) == "leave"


async def test_a_wrong_password_is_told_and_nothing_is_written(
    homeserver: FakeHomeserver, tmp_path: Path
) -> None:
    lines = (homeserver.url, BOT, "wrong", "yes", "", "", ALICE)
    ended = await policybot("init", directory=tmp_path, stdin="\n".join(lines) + "\n")
    assert ended.code == 1
    assert ended.err.startswith("policybot: The homeserver refused: ")
    assert ended.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    assert not homeserver.rooms


async def test_a_homeserver_that_is_no_homeserver(homeserver: FakeHomeserver) -> None:
    homeserver.fault("POST", "login", Fault.bad_gateway())
    with pytest.raises(InitFailed, match="answered with status 502"):
        await prepare(answers(homeserver.url))


@pytest.mark.parametrize(
    ("user_id", "token", "room", "told"),
    [
        (BOT, "a\nb", "!room:example.org", "the access token: write one line"),
        (BOT, "", "!room:example.org", "the access token: write text that is not empty"),
        (BOT, "t", "!room\n:example.org", "write one line"),
        ("@x:y", "t", "!room:example.org", "The login is for @x:y, not for"),
    ],
)
async def test_odd_things_from_the_homeserver_write_nothing(
    homeserver: FakeHomeserver, user_id: str, token: str, room: str, told: str
) -> None:
    login = {"user_id": user_id, "device_id": "D", "access_token": token}
    homeserver.fault("POST", "login", Fault(200, body=json.dumps(login)))
    homeserver.fault("POST", "createRoom", Fault(200, body=json.dumps({"room_id": room})))
    homeserver.fault("GET", "m.room.encryption", Fault(404, "M_NOT_FOUND"))
    with pytest.raises(InitFailed, match=told):
        await prepare(answers(homeserver.url))


@pytest.mark.parametrize(
    "token",
    ["plain", 'quo"te', "back\\slash", "# no comment", "{a: b}", "é€ 🙂", "'", "null", "1"],
)
def test_whatever_is_in_a_value_it_is_read_as_it_was(token: str) -> None:
    room = "#mö{d}#'\\\"x:example.org"
    given = Answers(
        "https://matrix.example.org/{a}'\"", "@p'{o}:example.org", "", "example.org", room, None
    )
    config = parse_config(yaml.safe_load(configuration(given, room, token)))
    assert config.moderation_rooms[0].room == room
    assert config.standalone is not None
    assert config.standalone.homeserver.access_token == token
    assert config.standalone.homeserver.url == given.url
    assert config.standalone.homeserver.user_id == given.user_id


async def test_an_existing_file_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("precious")
    ended = await policybot("init", "-c", "mine.yaml", directory=tmp_path)
    assert ended.code == 1
    assert ended.err == (
        "policybot: mine.yaml exists already. Move it away, or name another file with -c.\n"
    )
    assert file.read_text() == "precious"


async def test_a_directory_that_is_not_there_is_told_before_the_questions(tmp_path: Path) -> None:
    ended = await policybot("init", "-c", "no/config.yaml", directory=tmp_path)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("policybot: no/config.yaml cannot be written")


async def test_without_anybody_to_answer_it_ends(tmp_path: Path) -> None:
    ended = await policybot("init", directory=tmp_path)
    assert ended.code == 1
    assert ended.err == (
        "policybot: init asks on a terminal, and there was no answer; nothing was written.\n"
    )


def asked(*replies: str) -> Answers:
    left: Iterator[str] = iter(replies)
    found = questions(lambda question, proposal: next(left) or proposal or "", lambda _: "secret")
    assert list(left) == []
    return found


def test_an_answer_that_cannot_be_used_is_asked_for_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = ("matrix.example.org", "https://matrix.example.org/")
    name = ("perhaps", "yes", "https://example.org", "")
    found = asked(*url, "policybot", BOT, *name, "mods", "", "me", ALICE)
    assert found == Answers(
        "https://matrix.example.org", BOT, "secret", "example.org", None, ALICE
    )
    assert not found.own_name
    told = capsys.readouterr().out
    assert told.count(": write ") == 6
    assert "URL of the bot's homeserver: write an http or https URL" in told
    assert "- example.org: its reverse proxy sends a few paths" in told


def test_who_cannot_change_the_proxy_names_a_name_of_its_own() -> None:
    proposals = []

    def ask(question: str, proposal: str | None) -> str:
        proposals.append((question, proposal))
        return next(replies)

    replies = iter(("http://a", BOT, "no", "p.example.net", "!mods:example.org"))
    found = questions(ask, lambda _: "secret")
    assert (found.name, found.own_name) == ("p.example.net", True)
    assert ("Server name of the policy server", None) in proposals


async def test_a_name_of_its_own_is_written_with_what_it_needs(
    homeserver: FakeHomeserver, tmp_path: Path
) -> None:
    homeserver.passwords[BOT] = "secret"
    lines = (homeserver.url, BOT, "secret", "no", "p.example.net", "", ALICE)
    ended = await policybot("init", directory=tmp_path, stdin="\n".join(lines) + "\n")
    assert (ended.code, ended.err) == (0, "")
    file = tmp_path / "config.yaml"
    assert "sends everything of that name here" in file.read_text()
    config = load_config(file, {})
    assert config.policy_server.name == "p.example.net"
    assert config.listen == LISTEN
    assert ended.out.splitlines()[-7:] == [
        "DNS: an A record (and AAAA) of p.example.net with the public address of the machine",
        "Firewall: port 443 (or 8448) must be open for everybody",
        "nginx:   server_name p.example.net; location / { proxy_pass http://127.0.0.1:8090; }",
        "Caddy:   p.example.net { reverse_proxy 127.0.0.1:8090 }",
        "Traefik: Host(`p.example.net`) as the rule of the router to http://127.0.0.1:8090",
        "Where they stand: docs/deploy.md",
        "Then: policybot check -c config.yaml",
    ]


def test_who_names_a_room_is_not_asked_for_himself() -> None:
    found = asked("http://a", BOT, "yes", "", "!mods:example.org")
    assert (found.moderation_room, found.moderator) == ("!mods:example.org", None)


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(answers("http://a"))
