"""Every key wrong once, with a message that names it; the sample; the environment."""

import copy
import ipaddress
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policybot.config import (
    Config,
    ConfigError,
    ListenConfig,
    OnFailure,
    TlsConfig,
    load_config,
    parse_config,
)

SAMPLE = Path(__file__).parent.parent / "config.sample.yaml"
KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
SMALLEST: Mapping[str, Any] = {
    "moderation_rooms": ["#mods:example.org"],
    "policy_server": {"name": "example.org"},
    "standalone": {
        "homeserver": {"url": "https://matrix.example.org", "user_id": "@policybot:example.org"}
    },
}


def with_key(path: str, value: Any) -> dict[str, Any]:
    """The smallest configuration with one key changed; `[0]` goes into a list."""
    changed: dict[str, Any] = _put(SMALLEST, path.replace("[0]", ".0").split("."), value)
    return changed


def _put(below: Any, keys: list[str], value: Any) -> Any:
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if key.isdigit():
        entry = below[0] if isinstance(below, list) else {"room": "#mods:example.org"}
        entry = {"room": entry} if isinstance(entry, str) and rest else entry
        return [_put(entry, rest, value)]
    return {**(below or {}), key: _put((below or {}).get(key), rest, value)}


def without_key(path: str) -> dict[str, Any]:
    *sections, key = path.split(".")
    result = with_key(path, None)
    below: Any = result
    for section in sections:
        below = below[section]
    del below[key]
    return result


def error_of(mapping: Any, *, standalone: bool = True) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(mapping, standalone=standalone)
    return str(caught.value)


def test_the_sample_equals_the_defaults() -> None:
    assert load_config(SAMPLE, {}) == parse_config(SMALLEST)


def test_the_sample_has_every_key() -> None:
    text = SAMPLE.read_text()
    for key in _leaves(_as_dict(load_config(SAMPLE, {}))):
        name = key.removesuffix("_ms")
        assert f"{name}:" in text, key


def _as_dict(value: Any) -> Any:
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is not None:
        return {name: _as_dict(getattr(value, name)) for name in fields}
    return [_as_dict(v) for v in value] if isinstance(value, tuple) else value


def _leaves(value: Any) -> list[str]:
    if isinstance(value, list):
        return [leaf for entry in value for leaf in _leaves(entry)]
    if not isinstance(value, dict):
        return []
    return [leaf for key, below in value.items() for leaf in (key, *_leaves(below))]


def test_defaults() -> None:
    config = parse_config(SMALLEST)
    room = config.moderation_rooms[0]
    assert (room.room, room.reports, room.lists, room.command_power_level) == (
        "#mods:example.org",
        None,
        (),
        0,
    )
    assert config.command_prefix == "!policy"
    assert config.policy_server.on_failure is OnFailure.SIGN
    assert (config.reports.first_delay_ms, config.reports.interval_ms) == (2_000, 30_000)
    assert config.reports.keep_text_ms == 604_800_000
    assert config.listen == ListenConfig("127.0.0.1", 8090)
    assert config.standalone is not None
    assert config.standalone.database == "sqlite:policybot.db"
    assert config.standalone.logging.level == "INFO"


@pytest.mark.parametrize(
    ("path", "value", "parsed"),
    [
        ("moderation_rooms", ["!" + "a" * 43], "!" + "a" * 43),
        ("moderation_rooms[0].reports", "!abc:example.org", "!abc:example.org"),
        ("moderation_rooms[0].lists", ["#bans:[::1]:8448"], "#bans:[::1]:8448"),
        ("moderation_rooms[0].command_power_level", -1, "-1"),
        ("command_prefix", "!ps", "!ps"),
        ("policy_server.name", "127.0.0.1:18448", "127.0.0.1:18448"),
        ("policy_server.public_url", "https://policy.example.org/", "https://policy.example.org"),
        ("policy_server.contact", "#help:example.org", "#help:example.org"),
        ("policy_server.on_failure", "refuse", "refuse"),
        ("reports.first_delay", 0, "first_delay_ms=0"),
        ("reports.first_delay", "0", "first_delay_ms=0"),
        ("reports.interval", "5m", "interval_ms=300000"),
        ("reports.keep_text", "36h", "keep_text_ms=129600000"),
        ("listen.port", 0, "port=0"),
        ("listen", {"host": "::1", "port": 65535}, "port=65535"),
        ("listen.tls", None, "tls=None"),
        ("listen.tls", {"certificate": None, "key": None}, "tls=None"),
        ("listen.tls", {"certificate": "a.pem", "key": "b"}, "certificate='a.pem', key='b'"),
        ("reports", None, "interval_ms=30000"),
        ("federation.allow_networks", ["10.0.0.0/8", "fd00::/8"], "fd00::/8"),
        ("federation.allow_networks", ["127.0.0.1"], "127.0.0.1/32"),
        ("standalone.homeserver.url", "http://localhost:8008", "http://localhost:8008"),
        ("standalone.homeserver.user_id", "@b/o=t:localhost:8448", "@b/o=t:localhost:8448"),
        ("standalone.logging.level", "debug", "DEBUG"),
    ],
)
def test_good_values(path: str, value: Any, parsed: str) -> None:
    assert parsed in repr(parse_config(with_key(path, value)))


WRONG: list[tuple[str, Any, str]] = [
    ("moderation_rooms", [], "at least one"),
    ("moderation_rooms", "#mods:example.org", "list"),
    ("moderation_rooms", None, "list"),
    ("moderation_rooms[0]", 5, "quotes"),
    ("moderation_rooms[0].room", None, "in quotes"),
    ("moderation_rooms[0].room", "mods", "#mods:example.org"),
    ("moderation_rooms[0].room", "#mods", "#mods:example.org"),
    ("moderation_rooms[0].room", "#mods:https://example.org", "#mods:example.org"),
    ("moderation_rooms[0].room", "!", "#mods:example.org"),
    ("moderation_rooms[0].room", "#mo ds:example.org", "#mods:example.org"),
    ("moderation_rooms[0].room", "#" + "a" * 255 + ":example.org", "#mods:example.org"),
    ("moderation_rooms[0].reports", "https://matrix.to/#/#a:b", "#mods:example.org"),
    ("moderation_rooms[0].lists", "#bans:example.org", "list"),
    ("moderation_rooms[0].lists", ["@a:b"], "#mods:example.org"),
    ("moderation_rooms[0].command_power_level", "50", "whole number"),
    ("moderation_rooms[0].command_power_level", True, "whole number"),
    ("moderation_rooms[0].command_power_level", 2**53, "whole number"),
    ("command_prefix", "", "not empty"),
    ("command_prefix", "! policy", "one word"),
    ("command_prefix", 5, "quotes"),
    ("policy_server", "example.org", "keys"),
    ("policy_server.name", None, "quotes"),
    ("policy_server.name", "https://example.org", "example.org:8448"),
    ("policy_server.name", "example.org/", "example.org:8448"),
    ("policy_server.public_url", "policy.example.org", "https://"),
    ("policy_server.public_url", "ftp://policy.example.org", "https://"),
    ("policy_server.public_url", "https://", "https://"),
    ("policy_server.public_url", "https://a:99999", "https://"),
    ("policy_server.public_url", "https://user:pw@example.org", "without a user name"),
    ("policy_server.public_url", "https://example.org/?a=b", "without"),
    ("policy_server.signing_key", "abc", "keygen"),
    ("policy_server.federation_key", "abc", "keygen"),
    ("policy_server.signing_key", KEY + "=", "keygen"),
    ("policy_server.signing_key", KEY[:-1] + "B", "keygen"),
    ("policy_server.signing_key", 5, "keygen"),
    ("policy_server.signing_key", "ä" * 43, "keygen"),
    ("policy_server.contact", "a" * 201, "200"),
    ("policy_server.contact", "a\nb", "one line"),
    ("policy_server.contact", "a\u202eb", "one line"),
    ("policy_server.contact", ["a"], "quotes"),
    ("policy_server.on_failure", "allow", "sign, refuse"),
    ("policy_server.on_failure", False, "sign, refuse"),
    ("policy_server.on_failure", [], "sign, refuse"),
    ("reports", [], "keys"),
    ("reports.first_delay", 2, "30s"),
    ("reports.first_delay", None, "30s"),
    ("reports.first_delay", False, "30s"),
    ("reports.interval", "30", "30s"),
    ("reports.interval", "-3s", "30s"),
    ("reports.interval", "1.5m", "30s"),
    ("reports.interval", "1m30s", "30s"),
    ("reports.interval", "٣s", "30s"),
    ("reports.keep_text", "1w", "30s"),
    ("reports.keep_text", "999999999d", "30s"),
    ("listen", None, "host and port"),
    ("listen", "127.0.0.1:8090", "keys"),
    ("listen.host", 127, "quotes"),
    ("listen.host", " ", "not empty"),
    ("listen.port", 65_536, "0 to 65535"),
    ("listen.port", -1, "0 to 65535"),
    ("listen.port", "8090", "0 to 65535"),
    ("listen.port", 8090.0, "0 to 65535"),
    ("listen.tls", "/cert.pem", "keys"),
    ("listen.tls", {"certificate": "/cert.pem"}, "tls.key: missing"),
    ("listen.tls", {"key": "/key.pem", "certificate": None}, "tls.certificate: missing"),
    ("listen.tls", {"key": "/key.pem", "certificate": 5}, "quotes"),
    ("federation", 5, "keys"),
    ("federation.allow_networks", "10.0.0.0/8", "list"),
    ("federation.allow_networks", ["10.0.0.1/8"], "host bits"),
    ("federation.allow_networks", ["example.org"], "10.0.0.0/8"),
    ("federation.allow_networks", [167772160], "quotes"),
    ("standalone", "x", "keys"),
    ("standalone.homeserver", "https://matrix.example.org", "keys"),
    ("standalone.homeserver.url", "matrix.example.org", "https://"),
    ("standalone.homeserver.url", "https://[::1", "https://"),
    ("standalone.homeserver.url", "https://a b", "without spaces"),
    ("standalone.homeserver.user_id", "policybot", "@policybot:example.org"),
    ("standalone.homeserver.user_id", "@policybot", "@policybot:example.org"),
    ("standalone.homeserver.user_id", "@:example.org", "@policybot:example.org"),
    ("standalone.homeserver.access_token", "", "not empty"),
    ("standalone.homeserver.access_token", 5, "quotes"),
    ("standalone.homeserver.password", 1234, "quotes"),
    ("standalone.homeserver.password", "", "quotes"),
    ("standalone.database", "policybot.db", "sqlite:policybot.db"),
    ("standalone.database", "sqlite:", "sqlite:policybot.db"),
    ("standalone.database", "mysql://a/b", "postgres://"),
    ("standalone.logging", "INFO", "keys"),
    ("standalone.logging.level", "LOUD", "WARNING"),
    ("standalone.logging.level", True, "WARNING"),
]


@pytest.mark.parametrize(("path", "value", "advice"), WRONG)
def test_wrong_values_are_named(path: str, value: Any, advice: str) -> None:
    message = error_of(with_key(path, value))
    assert message.startswith(path)
    assert advice in message
    assert "\n" not in message


def test_every_key_is_wrong_once() -> None:
    keys = {path.rpartition(".")[2].partition("[")[0] for path, _, _ in WRONG}
    missing = {leaf.removesuffix("_ms") for leaf in _leaves(_as_dict(parse_config(SMALLEST)))}
    assert missing - keys == set()


@pytest.mark.parametrize(
    "path",
    [
        "moderation_rooms",
        "policy_server",
        "policy_server.name",
        "standalone",
        "standalone.homeserver",
        "standalone.homeserver.url",
        "standalone.homeserver.user_id",
    ],
)
def test_missing_keys_are_named(path: str) -> None:
    assert error_of(without_key(path)).startswith(f"{path}: missing")


@pytest.mark.parametrize(
    ("path", "suggestion"),
    [
        ("moderation_room", "moderation_rooms"),
        ("comand_prefix", "command_prefix"),
        ("moderation_rooms[0].list", "lists"),
        ("policy_server.via", "known are contact, federation_key"),
        ("policy_server.signing_keys", "signing_key"),
        ("reports.delay", "first_delay"),
        ("listen.ports", "port"),
        ("federation.allow_network", "allow_networks"),
        ("standalone.home_server", "homeserver"),
        ("standalone.homeserver.userid", "user_id"),
        ("standalone.logging.levels", "level"),
    ],
)
def test_unknown_keys_get_a_suggestion(path: str, suggestion: str) -> None:
    message = error_of(with_key(path, "x"))
    assert message.startswith(f"{path}: unknown key")
    assert suggestion in message


def test_a_key_that_is_no_text() -> None:
    assert error_of({**SMALLEST, 5: "x"}).startswith("5: unknown key")


def test_a_room_named_twice() -> None:
    rooms = ["#mods:example.org", {"room": "#mods:example.org"}]
    assert error_of(with_key("moderation_rooms", rooms)).startswith("moderation_rooms[1].room")


@pytest.mark.parametrize("value", [["hush-hush"], {"hush-hush": 1}, "hush-hush\n"])
@pytest.mark.parametrize(
    "path",
    [
        "policy_server.signing_key",
        "policy_server.federation_key",
        "standalone.homeserver.access_token",
        "standalone.database",
    ],
)
def test_secrets_are_not_repeated(path: str, value: Any) -> None:
    assert "hush-hush" not in error_of(with_key(path, value))


@pytest.mark.parametrize("value", [["hush-hush"], {"hush-hush": 1}])
def test_passwords_are_not_repeated(value: Any) -> None:
    assert "hush-hush" not in error_of(with_key("standalone.homeserver.password", value))


def test_secrets_do_not_show_in_the_repr() -> None:
    mapping = copy.deepcopy(with_key("policy_server.signing_key", KEY))
    mapping["policy_server"]["federation_key"] = KEY
    mapping["standalone"]["homeserver"] |= {"access_token": "hush1", "password": "hush2"}
    mapping["standalone"]["database"] = "postgres://a:hush3@b/c"
    config = parse_config(mapping)
    assert config.policy_server.signing_key == KEY
    assert KEY not in repr(config)
    assert "hush" not in repr(config)


def test_inside_maubot() -> None:
    mapping = {**SMALLEST, "listen": None, "standalone": {"homeserver": "whatever"}}
    config = parse_config(mapping, standalone=False)
    assert config.listen is None
    assert config.standalone is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3),
    max_leaves=8,
)


@given(path=st.sampled_from([path for path, _, _ in WRONG]), value=json_values)
def test_whatever_stands_there_is_parsed_or_refused(path: str, value: Any) -> None:
    try:
        assert isinstance(parse_config(with_key(path, value)), Config)
    except ConfigError as error:
        assert str(error).startswith(path)


# --- the file ---


def load(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load_config(path, environ or {})


def load_error(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, environ)
    return str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no.yaml: cannot be read .*policybot init"):
        load_config(tmp_path / "no.yaml", {})


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(tmp_path / "config.yaml", {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "line 1: not valid YAML"),
        ("a: b: c", "line 1: not valid YAML"),
        ("command_prefix: !policy", "line 1: not valid YAML"),
        ("user_id: @a:b", "line 1: not valid YAML"),
        ("a: \x00", "not valid YAML"),
        ("a: 2026-99-99", "not valid YAML"),
        ("- a", "keys with values"),
        ("policy_server:\n  name: a\n  name: b\n", "line 3: name: is written twice"),
        ("listen: {port: 1}\nlisten: {port: 2}", "line 2: listen: is written twice"),
        ("? [a]\n: b", "not valid YAML"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, message: str) -> None:
    error = load_error(tmp_path, text)
    assert message in error
    assert "config.yaml" in error


def test_an_empty_file_misses_the_first_key(tmp_path: Path) -> None:
    assert load_error(tmp_path, "").startswith("moderation_rooms: missing")


# --- the environment ---

SMALL_FILE = """
moderation_rooms: ["#mods:example.org"]
policy_server: {name: example.org}
standalone:
  homeserver: {url: "https://matrix.example.org", user_id: "@policybot:example.org"}
"""


def test_the_environment_alone_is_enough(tmp_path: Path) -> None:
    environ = {
        "POLICYBOT_MODERATION_ROOMS": "#mods:example.org  !abc:example.org",
        "POLICYBOT_POLICY_SERVER__NAME": "example.org",
        "POLICYBOT_STANDALONE__HOMESERVER__URL": "https://matrix.example.org",
        "POLICYBOT_STANDALONE__HOMESERVER__USER_ID": "@policybot:example.org",
    }
    config = load(tmp_path, "", environ)
    assert [room.room for room in config.moderation_rooms] == [
        "#mods:example.org",
        "!abc:example.org",
    ]


def test_the_environment_beats_the_file(tmp_path: Path) -> None:
    environ = {
        "POLICYBOT_COMMAND_PREFIX": "#ps",
        "POLICYBOT_POLICY_SERVER__CONTACT": "#help:example.org",
        "POLICYBOT_POLICY_SERVER__PUBLIC_URL": "",
        "POLICYBOT_REPORTS__KEEP_TEXT": "0",
        "POLICYBOT_LISTEN__PORT": "0",
        "POLICYBOT_LISTEN__TLS__CERTIFICATE": "/cert.pem",
        "POLICYBOT_LISTEN__TLS__KEY": "/key.pem",
        "POLICYBOT_FEDERATION__ALLOW_NETWORKS": "10.0.0.0/8 127.0.0.0/8",
        "POLICYBOT_STANDALONE__HOMESERVER__PASSWORD": " null: {@#! ",
        "POLICYBOT_MODERATION_ROOMS": '[{room: "#a:b", lists: ["#c:d"]}]',
    }
    text = SMALL_FILE + "listen: {host: '::1', port: 99}\n"
    text = text.replace("{name:", "{public_url: https://a, name:")
    config = load(tmp_path, text, environ)
    assert config.command_prefix == "#ps"
    assert config.policy_server.contact == "#help:example.org"
    assert config.policy_server.public_url is None
    assert config.reports.keep_text_ms == 0
    assert config.listen == ListenConfig("::1", 0, TlsConfig("/cert.pem", "/key.pem"))
    assert config.federation.allow_networks[1] == ipaddress.ip_network("127.0.0.0/8")
    assert config.standalone is not None
    assert config.standalone.homeserver.password == " null: {@#! "
    assert config.moderation_rooms[0].lists == ("#c:d",)


def test_a_secret_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("sy#t_abc\n")
    name = "POLICYBOT_STANDALONE__HOMESERVER__ACCESS_TOKEN"
    config = load(tmp_path, SMALL_FILE, {f"{name}_FILE": str(secret)})
    assert config.standalone is not None
    assert config.standalone.homeserver.access_token == "sy#t_abc"
    error = load_error(tmp_path, SMALL_FILE, {f"{name}_FILE": str(secret), name: "x"})
    assert name in error
    assert "remove one" in error
    error = load_error(tmp_path, SMALL_FILE, {f"{name}_FILE": str(tmp_path / "no")})
    assert error.startswith(f"{name}_FILE: write the path of a readable file")


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("POLICYBOT_STANDALONE__HOMESERVER__TOKEN", "did you mean POLICYBOT_STANDALONE__"),
        ("POLICYBOT_STANDALONE_DATABASE", "did you mean POLICYBOT_STANDALONE__DATABASE?"),
        ("POLICYBOT_LISTEN", "did you mean POLICYBOT_LISTEN__"),
        ("POLICYBOT_POLICYSERVER__NAME", "did you mean POLICYBOT_POLICY_SERVER__NAME?"),
        ("POLICYBOT_MODERATION_ROOMS__ROOM", "did you mean POLICYBOT_MODERATION_ROOMS?"),
        ("POLICYBOT_REPORTS__XYZ_FILE", "did you mean POLICYBOT_REPORTS__"),
    ],
)
def test_unknown_variables(tmp_path: Path, name: str, suggestion: str) -> None:
    error = load_error(tmp_path, SMALL_FILE, {name: "x"})
    assert error.startswith(f"{name}: no such key")
    assert suggestion in error


@pytest.mark.parametrize(
    "name",
    [
        "POLICYBOT_DEMO_LISTEN__X",
        "POLICYBOT_TEST_POSTGRES__URL",
        "POLICYBOT_SERVICE_HOST",
        "POLICYBOT_PORT",
        "POLICYBOT",
        "HOME__X",
    ],
)
def test_other_variables_are_left_alone(tmp_path: Path, name: str) -> None:
    assert load(tmp_path, SMALL_FILE, {name: "x"}) == parse_config(SMALLEST)


@pytest.mark.parametrize(
    ("name", "value", "start"),
    [
        ("POLICYBOT_LISTEN__PORT", "http", "listen.port: write a whole number"),
        ("POLICYBOT_LISTEN__PORT", "[", "POLICYBOT_LISTEN__PORT: write a number"),
        ("POLICYBOT_LISTEN__PORT", "{a: 1, a: 2}", "POLICYBOT_LISTEN__PORT: write a number"),
        ("POLICYBOT_MODERATION_ROOMS", "", "moderation_rooms: name at least one"),
        ("POLICYBOT_MODERATION_ROOMS", "[a", "POLICYBOT_MODERATION_ROOMS: write a list"),
        ("POLICYBOT_POLICY_SERVER__NAME", "", "policy_server.name: write text"),
        ("POLICYBOT_REPORTS__INTERVAL", "30", "reports.interval: write a whole number with"),
    ],
)
def test_wrong_variables(tmp_path: Path, name: str, value: str, start: str) -> None:
    assert load_error(tmp_path, SMALL_FILE, {name: value}).startswith(start)


def test_a_section_that_is_none_in_the_file(tmp_path: Path) -> None:
    text = SMALL_FILE + "reports: 5\n"
    error = load_error(tmp_path, text, {"POLICYBOT_REPORTS__INTERVAL": "30s"})
    assert error.startswith("reports: write keys")


def test_levels_are_those_of_the_standard_library() -> None:
    for level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        config = parse_config(with_key("standalone.logging.level", level))
        assert config.standalone is not None
        assert config.standalone.logging.level in logging.getLevelNamesMapping()
