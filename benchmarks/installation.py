"""A policybot installation for measuring: a prepared database, a configuration, the process.

The homeserver's address is a port on which nobody listens: the endpoint answers from what is
stored, as it does while a homeserver is away.
"""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from traffic import KEY_ID, Caller

from policybot.app import now_ms
from policybot.policy.records import ModerationRoomRecord, RoomRecord, Subscription
from policybot.policy.room import RoomMode
from policybot.policy.rule import Rule, parse_rule, rule_state_key
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.policy_event import POLICY_EVENT, policy_content
from policybot.protocol.signing import SigningKey, sign_json
from policybot.store.database import open_database
from policybot.store.rooms import ModerationRoomTable, RoomTable
from policybot.store.rules import RuleTable
from policybot.store.server_keys import ServerKeyTable, StoredServerKeys
from policybot.store.settings import Setting, Settings
from policybot.store.subscriptions import SubscriptionTable

NAME = "bench.example"
ROOM = "!protected:bench.example"
MODERATION_ROOM = "!moderation:bench.example"
LIST = "!bans:bench.example"
BOT = f"@policybot:{NAME}"
MODERATOR = f"@moderator:{NAME}"

_YEAR_MS = 365 * 24 * 3600 * 1000
_START_DEADLINE_S = 60.0
_STOP_DEADLINE_S = 30.0
_LISTENING = re.compile(r"Listening on http://([^:/\s]+):(\d+)")

CALLERS = tuple(Caller(f"hs{n}.example.net", SigningKey.generate()) for n in range(50))
"""The servers of ordinary people."""

BANNED_CALLERS = tuple(Caller(f"banned{n}.example.com", SigningKey.generate()) for n in range(10))
"""Servers that a server rule bans, in every installation with rules."""


def rules(count: int) -> list[Rule]:
    """Nine tenths literal, one tenth globs; one tenth are about servers, the others about users.

    The globs ban names by their beginning, as spam waves have them.
    """
    parsed = [parse_rule(LIST, rule_event(number)) for number in range(count)]
    assert all(isinstance(rule, Rule) for rule in parsed)
    return [rule for rule in parsed if isinstance(rule, Rule)]


def banned_user(number: int) -> tuple[str, Caller]:
    """A new sender that is banned where there are at least 1,000 rules: a third by a literal user
    rule (these come again after 800), a third by a glob, a third by a server rule."""
    caller = CALLERS[number % len(CALLERS)]
    if number % 3 == 0:
        literal = number // 3 % 800
        literal_rule = literal + literal // 8 * 2
        return _literal_user(literal_rule), CALLERS[literal_rule % len(CALLERS)]
    if number % 3 == 1:
        return f"@wave{number % 100}x-{number}:{caller.name}", caller
    caller = BANNED_CALLERS[number % len(BANNED_CALLERS)]
    return f"@user{number}:{caller.name}", caller


def _literal_user(number: int) -> str:
    return f"@spammer{number}:{CALLERS[number % len(CALLERS)].name}"


def rule_event(number: int) -> JsonObject:
    """The state event of one rule."""
    tenth, last = divmod(number, 10)
    kind = "user"
    if last == 8:
        kind, entity = "server", f"banned{tenth}.example.com"
    elif last == 9:
        entity = f"@wave{tenth}x*"
    else:
        entity = _literal_user(number)
    return {
        "type": f"m.policy.rule.{kind}",
        "state_key": rule_state_key(entity, "m.ban"),
        "event_id": f"$rule{number:_>39}",
        "sender": MODERATOR,
        "origin_server_ts": now_ms(),
        "content": {"entity": entity, "reason": "spam", "recommendation": "m.ban"},
    }


class Installation:
    """One policybot with so many rules, in a directory of its own.

    ``database`` is the URL of an empty one, by default an SQLite file in the directory;
    ``homeserver`` the URL of one and an access token, by default there is none.
    """

    def __init__(
        self,
        directory: Path,
        rule_count: int,
        environment: Mapping[str, str] | None = None,
        database: str | None = None,
        homeserver: tuple[str, str] | None = None,
        *,
        libraries: str = "",
    ) -> None:
        self.rule_count = rule_count
        self._database = database or f"sqlite:///{directory / 'policybot.db'}"
        self.libraries = libraries
        self._directory = directory
        self._environment = {**os.environ, **(environment or {})}
        self._homeserver = homeserver
        self._nobody = socket.socket()  # bound and not listening, so that nobody else gets it
        self.key = SigningKey.generate()

    def start(self) -> None:
        """Prepare the database and start the process; afterwards it answers at ``address``."""
        self._directory.mkdir(exist_ok=True)
        asyncio.run(self._prepare())
        self._nobody.bind(("127.0.0.1", 0))
        url, token = self._homeserver or (
            f"http://127.0.0.1:{self._nobody.getsockname()[1]}",
            "none",
        )
        self._config.write_text(
            f"""
moderation_rooms: ["{MODERATION_ROOM}"]
policy_server: {{name: {NAME}}}
listen: {{host: 127.0.0.1, port: 0}}
standalone:
  homeserver:
    url: {url}
    user_id: "{BOT}"
    access_token: {token}
  database: {self._database}
"""
        )
        self.start_again()

    def start_again(self) -> None:
        """Start the process once more with what it has."""
        self._log = self._directory / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "policybot", "run", "-c", str(self._config)],
                stderr=log,
                cwd=Path(__file__).parents[1],
                env=self._environment,
            )
        self.address = self._wait_for_address()

    @property
    def _config(self) -> Path:
        return self._directory / "config.yaml"

    async def _prepare(self) -> None:
        now = now_ms()
        db = await open_database(self._database)
        try:
            await Settings(db).set(Setting.SIGNING_KEY, self.key.seed)
            await RoomTable(db).save(
                RoomRecord(
                    room_id=ROOM,
                    moderation_room=MODERATION_ROOM,
                    mode=RoomMode.ENABLED,
                    enabled_ts=now,
                    disabled_ts=None,
                    settled=True,
                    state=tuple(_state(self.key.public_key)),
                )
            )
            await ModerationRoomTable(db).save(
                ModerationRoomRecord(MODERATION_ROOM, "invite", (BOT, MODERATOR))
            )
            if self.rule_count or self._homeserver is None:
                subscription = Subscription(MODERATION_ROOM, LIST, 0, "bans", True)
                await SubscriptionTable(db).save(subscription)
            await RuleTable(db).save(LIST, rules(self.rule_count))
            for caller in (*CALLERS, *BANNED_CALLERS):
                await ServerKeyTable(db).save(_server_keys(caller, now))
        finally:
            await db.stop()

    def _wait_for_address(self) -> tuple[str, int]:
        deadline = time.monotonic() + _START_DEADLINE_S
        while time.monotonic() < deadline and self._process.poll() is None:
            found = _LISTENING.search(self._log.read_text())
            if found is not None:
                return found[1], int(found[2])
            time.sleep(0.05)
        raise RuntimeError(f"policybot did not start:\n{self._log.read_text()}")

    def cpu_seconds(self) -> float:
        """Processor time of the process so far, all its threads."""
        # The number that clock_getcpuclockid(3) gives; exact where /proc/…/stat has 10 ms ticks.
        return time.clock_gettime(~self._process.pid << 3 | 2)

    def memory_mib(self) -> float:
        """Resident memory of the process."""
        return self._memory_mib("VmRSS")

    def peak_mib(self) -> float:
        """The most resident memory since the start or since `forget_peak`."""
        return self._memory_mib("VmHWM")

    def forget_peak(self) -> None:
        """Let the present memory be the most there was."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")

    def _memory_mib(self, name: str) -> float:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(rf"{name}:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / 1024

    def stop(self) -> None:
        """End the process; it may be none."""
        process = getattr(self, "_process", None)
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._nobody.close()


def _state(public_key: str) -> list[JsonObject]:
    contents: dict[str, JsonObject] = {
        "m.room.create": {"room_version": "11"},
        "m.room.power_levels": {"users": {MODERATOR: 100}},
        "m.room.join_rules": {"join_rule": "public"},
        POLICY_EVENT: policy_content(NAME, public_key),
    }
    return [
        {"type": type_, "state_key": "", "sender": MODERATOR, "content": content}
        for type_, content in contents.items()
    ]


def _server_keys(caller: Caller, now: int) -> StoredServerKeys:
    document = sign_json(
        {
            "server_name": caller.name,
            "valid_until_ts": now + _YEAR_MS,
            "verify_keys": {KEY_ID: {"key": caller.key.public_key}},
            "old_verify_keys": {},
        },
        caller.name,
        KEY_ID,
        caller.key,
    )
    return StoredServerKeys(caller.name, document, now, now + _YEAR_MS)
