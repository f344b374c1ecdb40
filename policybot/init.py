"""`policybot init`: asks a few questions, checks the login, makes the moderation room and writes
a commented configuration."""

import getpass
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from .bot.client import HomeserverAway, MatrixClient, Refused, open_api
from .config import ConfigError, parse_config
from .protocol.identifier import InvalidIdentifier, is_user_id, server_of

Ask = Callable[[str, str | None], str]
"""Asks a question with a proposal for the answer."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What was asked for. ``moderation_room`` None makes a new room and invites ``moderator``."""

    url: str
    user_id: str
    password: str = field(repr=False)
    name: str
    moderation_room: str | None
    moderator: str | None


def ask_on_terminal(question: str, proposal: str | None = None) -> str:
    """Ask a person; an empty answer takes the proposal."""
    while True:
        hint = f" [{proposal}]" if proposal else ""
        answer = input(f"{question}{hint}: ").strip() or (proposal or "")
        if answer:
            return answer


async def init(
    path: Path, ask: Ask = ask_on_terminal, ask_secret: Callable[[str], str] = getpass.getpass
) -> int:
    """Ask, check and write the configuration to ``path``, which must not exist; the exit code."""
    if path.exists():
        return _refuse(f"{path} exists already. Move it away, or name another file with -c.")
    answers = _ask(ask, ask_secret)
    if isinstance(answers, str):
        return _refuse(answers)
    client = MatrixClient(open_api(answers.url))
    try:
        login = await client.login(answers.user_id, answers.password)
        client.use_token(login.access_token)
        room = answers.moderation_room or await _moderation_room(client, answers)
    except Refused as error:
        return _refuse(f"The homeserver refused: {error.message}.")
    except HomeserverAway as error:
        return _refuse(f"The homeserver at {answers.url} does not answer: {error}.")
    finally:
        await client.close()
    text = configuration(answers, room, login.access_token)
    try:
        parse_config(yaml.safe_load(text))
    except ConfigError as error:
        return _refuse(str(error))
    # Readable by its owner alone: it holds the access token.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    print(f"Written: {path}. Moderation room: {room}.")
    print(f"Next: let the reverse proxy of {answers.name} send /_matrix/policy/ to")
    print("http://127.0.0.1:8090 (docs/deploy.md), then: policybot run -c " + str(path))
    return 0


def _ask(ask: Ask, ask_secret: Callable[[str], str]) -> Answers | str:
    url = ask("URL of the bot's homeserver", "https://matrix.example.org")
    user_id = ask("User ID of the bot's account", "@policybot:example.org")
    try:
        server = server_of(user_id)
    except InvalidIdentifier:
        return f"{user_id} is not a user ID, which looks like @policybot:example.org."
    password = ask_secret("Password (used once; the access token is written to the file): ")
    name = ask("Server name that rooms will name as their policy server", server)
    room: str | None = ask("Moderation room (ID or alias), or 'new' to make one", "new")
    moderator = None
    if room == "new":
        room = None
        moderator = ask("Your own user ID, to be invited there", f"@you:{server}")
        if not is_user_id(moderator):
            return f"{moderator} is not a user ID, which looks like @name:example.org."
    return Answers(url, user_id, password, name, room, moderator)


async def _moderation_room(client: MatrixClient, answers: Answers) -> str:
    """An invite-only room without encryption, which the bot could not read."""
    invite = [answers.moderator] if answers.moderator else []
    room_version = None
    power = {"users": {answers.user_id: 100, **dict.fromkeys(invite, 100)}}
    return await client.create_room(
        name="Moderation",
        topic="Commands to policybot: !policy help",
        preset="private_chat",
        invite=invite,
        room_version=room_version or "11",
        power_level_content_override=power,
    )


def configuration(answers: Answers, room: str, access_token: str) -> str:
    """The commented YAML. Values are written as JSON strings, which YAML reads as they are."""

    def quoted(value: str) -> str:
        return yaml.safe_dump(value, default_style='"', allow_unicode=True, width=1000).strip()

    return f"""\
# Configuration of policybot. Every key with its meaning and default: config.sample.yaml.

# The rooms that the bot obeys and reports to.
moderation_rooms:
  - room: {quoted(room)}

policy_server:
  # The server name that protected rooms name in m.room.policy.
  name: {quoted(answers.name)}
  # Shown to people who are refused, for instance an address or a room alias.
  contact: null

# Where the endpoint listens; the reverse proxy sends /_matrix/policy/ here.
listen: {{host: 127.0.0.1, port: 8090}}

standalone:
  homeserver:
    url: {quoted(answers.url)}
    user_id: {quoted(answers.user_id)}
    # Keep this file to yourself: the token is as good as the password.
    access_token: {quoted(access_token)}
  # Keep a backup: it holds the key that protected rooms name.
  database: "sqlite:policybot.db"
"""


def _refuse(sentence: str) -> int:
    print(f"policybot: {sentence}", file=sys.stderr)
    return 1
