"""`policybot init`: asks a few questions, checks the login, makes the moderation room and writes
a commented configuration."""

import getpass
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from . import config_value
from .bot.client import HomeserverAway, MatrixClient, Refused, open_api
from .config import ConfigError, ListenConfig, parse_config
from .outside import dns_line, firewall_line, own_name_lines, proxy_lines
from .protocol.identifier import server_of
from .protocol.paths import POLICY_PATHS

NEW = "new"
LISTEN = ListenConfig("127.0.0.1", 8090)

Ask = Callable[[str, str | None], str]
"""Asks a question with a proposal for the answer."""

Check = Callable[[str, str], str]
"""Takes an answer and its question; raises ConfigError if the answer cannot be used."""


class InitFailed(Exception):
    """No configuration was written. The text is one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What was asked for. ``name`` is the policy server's. ``moderation_room`` None makes a new
    room and invites ``moderator``."""

    url: str
    user_id: str
    password: str = field(repr=False)
    name: str
    moderation_room: str | None
    moderator: str | None

    @property
    def own_name(self) -> bool:
        """Whether the policy server gets a name of its own, and not that of the homeserver."""
        return self.name != server_of(self.user_id)


def check_target(path: Path) -> None:
    """Look before anything is asked or made whether the file can be written.

    Raises:
        InitFailed: it exists, or its directory does not or is not writable.
    """
    if path.exists() or path.is_symlink():
        raise InitFailed(f"{path} exists already. Move it away, or name another file with -c.")
    if not os.access(path.absolute().parent, os.W_OK | os.X_OK):
        raise InitFailed(f"{path} cannot be written: is there a directory, and is it yours?")


def ask_on_terminal(question: str, proposal: str | None = None) -> str:
    """Ask a person; an empty answer takes the proposal."""
    while True:
        hint = f" [{proposal}]" if proposal else ""
        answer = input(f"{question}{hint}: ").strip() or (proposal or "")
        if answer:
            return answer


def ask_secret_on_terminal(question: str) -> str:
    """Ask without showing the answer; from a pipe read a line."""
    return getpass.getpass(question) if sys.stdin.isatty() else input(question)


def questions(
    ask: Ask = ask_on_terminal, ask_secret: Callable[[str], str] = ask_secret_on_terminal
) -> Answers:
    """Ask for all that is needed, again where an answer cannot be used."""
    url = _asked(ask, "URL of the bot's homeserver", None, config_value.http_url)
    user_id = _asked(ask, "User ID of the bot's account", None, config_value.user_id)
    password = ask_secret("Password (used once; the access token is written to the file): ")
    name = _name(ask, server_of(user_id))
    room = _asked(ask, "Moderation room (ID or alias), or 'new' to make one", NEW, _room_or_new)
    if room != NEW:
        return Answers(url, user_id, password, name, room, None)
    moderator = _asked(ask, "Your own user ID, to be invited there", None, config_value.user_id)
    return Answers(url, user_id, password, name, None, moderator)


def _name(ask: Ask, homeserver: str) -> str:
    """The policy server's name: whoever cannot change the homeserver's proxy needs another."""
    print(
        "The policy server needs a server name, one of these:\n"
        f"- {homeserver}: its reverse proxy sends a few paths to policybot. Its own users are"
        " checked by all other servers, but not by itself.\n"
        "- a name of its own, such as policy.example.org: everybody is checked, and nothing is"
        " changed at the homeserver. It needs an entry in DNS and a certificate."
    )
    question = f"Do you administer the reverse proxy of {homeserver}? yes or no"
    administers = _asked(ask, question, None, config_value.choice(("yes", "no"))) == "yes"
    proposal = homeserver if administers else None
    return _asked(ask, "Server name of the policy server", proposal, config_value.server_name)


def _asked(ask: Ask, question: str, proposal: str | None, check: Check) -> str:
    while True:
        try:
            return check(ask(question, proposal), question)
        except ConfigError as error:
            print(error)


def _room_or_new(answer: str, question: str) -> str:
    return answer if answer == NEW else config_value.room(answer, question)


async def prepare(answers: Answers) -> str:
    """Log in, see to the moderation room, and return the text of the configuration.

    Raises:
        InitFailed: the homeserver refused or does not answer, or the room is encrypted.
    """
    client = MatrixClient(open_api(answers.url))
    try:
        login = await client.login(answers.user_id, answers.password)
        if login.user_id != answers.user_id:
            raise InitFailed(f"The login is for {login.user_id}, not for {answers.user_id}.")
        client.use_token(config_value.line(login.access_token, "the access token"))
        room = await _moderation_room(client, answers)
    except Refused as error:
        raise InitFailed(f"The homeserver refused: {error.message or error.errcode}.") from None
    except HomeserverAway as error:
        raise InitFailed(f"The homeserver at {answers.url}: {error}.") from None
    except ConfigError as error:
        raise InitFailed(f"The homeserver gave something odd. {error}") from None
    finally:
        await client.close()
    return configuration(answers, room, login.access_token)


async def _moderation_room(client: MatrixClient, answers: Answers) -> str:
    """The room that was named, joined; or a new one that can be entered by invitation alone."""
    if answers.moderation_room is not None:
        room_id = await client.join(answers.moderation_room)
    else:
        room_id = await client.create_room(
            name="Moderation",
            topic="Commands to policybot: !policy help",
            # Whoever is invited gets the creator's power, in the way of the room's version.
            preset="trusted_private_chat",
            invite=[answers.moderator] if answers.moderator else [],
        )
    if await client.state_event(room_id, "m.room.encryption") is None:
        return answers.moderation_room or room_id
    if answers.moderation_room is None:
        await client.leave(room_id)
        raise InitFailed(
            "The homeserver encrypts every new room, and policybot cannot read encrypted rooms: "
            "make the moderation room with encryption off, invite the bot, and name that room."
        )
    raise InitFailed(
        f"{answers.moderation_room} is encrypted, and policybot cannot read encrypted rooms. "
        "Encryption cannot be switched off again: name another room."
    )


def configuration(answers: Answers, room: str, access_token: str) -> str:
    """The commented YAML, with every answer quoted.

    Raises:
        InitFailed: what the homeserver gave makes no configuration.
    """

    def quoted(value: str) -> str:
        return yaml.safe_dump(value, default_style='"', allow_unicode=True, width=10_000).strip()

    what = "everything of that name" if answers.own_name else "the policy server's paths"
    text = f"""\
# Configuration of policybot. Every key with its meaning and default: config.sample.yaml.

# The rooms that the bot obeys and reports to.
moderation_rooms:
  - room: {quoted(room)}

policy_server:
  # The server name that protected rooms name in m.room.policy.
  name: {quoted(answers.name)}
  # Shown to people who are refused, for instance an address or a room alias.
  contact: null

# Where the endpoint listens; the reverse proxy sends {what} here.
listen: {{host: {LISTEN.host}, port: {LISTEN.port}}}

standalone:
  homeserver:
    url: {quoted(answers.url)}
    user_id: {quoted(answers.user_id)}
    # Keep this file to yourself: the token is as good as the password.
    access_token: {quoted(access_token)}
  # Keep a backup: it holds the key that protected rooms name.
  database: "sqlite:policybot.db"
"""
    try:
        parse_config(yaml.safe_load(text))
    except ConfigError as error:
        raise InitFailed(f"The homeserver gave something odd. {error}") from None
    return text


def write(path: Path, text: str) -> None:
    """Write the file, readable by its owner alone since it holds the access token.

    Raises:
        InitFailed: it exists meanwhile, or the disk is full.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise InitFailed(f"{path} cannot be written: {error.strerror}.") from None


def next_steps(answers: Answers, path: Path) -> str:
    """What is to be set outside of policybot, and what to do then."""
    name = answers.name
    if answers.own_name:
        lines = (dns_line(name), firewall_line(name), *own_name_lines(name, LISTEN))
    else:
        what = f"The reverse proxy of {name} must send this path to policybot, and for tools"
        lines = (
            f"{what} {' and '.join(POLICY_PATHS[1:])} as well:",
            *proxy_lines(POLICY_PATHS[0], LISTEN.host, LISTEN.port),
        )
    return "\n".join((*lines, f"Then: policybot check -c {path}"))
