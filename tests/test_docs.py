"""What is written for people agrees with the code."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from policybot.bot.command_forms import COMMAND_FORMS
from policybot.config import _KEYS, _MODERATION_ROOM_KEYS, ListenConfig, parse_config
from policybot.outside import own_name_lines, proxy_lines
from policybot.policy.evaluator import _ALWAYS_SIGNED_STATE
from policybot.protocol.paths import HEALTH, POLICY_PATHS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
DEPLOY = (ROOT / "docs" / "deploy.md").read_text()


def title_of(path: Path) -> str:
    return path.name


def blocks(text: str, language: str) -> list[str]:
    """The code blocks in a language, without their indentation in a list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, re.M | re.S)
    return ["".join(line[len(i) :] for line in body.splitlines(True)) for i, body in found]


def extras() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project: dict[str, Any] = tomllib.load(file)["project"]
    return project


# -- proxies -------------------------------------------------------------------------------------


def section(title: str) -> str:
    """A section of docs/deploy.md."""
    return DEPLOY.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def locations(config: str) -> dict[str, str]:
    """Each `location` of an nginx configuration, and where it sends requests."""
    found = re.findall(r"location (?:\^~ )?([^{]+?) \{.*?proxy_pass ([^;]+);", config, re.S)
    return dict(found)


def test_nginx_sends_exactly_the_policy_paths() -> None:
    (config,) = blocks(section("nginx, for the homeserver's name"), "nginx")
    found = locations(config)
    assert found.pop("/") == "http://127.0.0.1:8008"
    assert found == dict.fromkeys(POLICY_PATHS, "http://127.0.0.1:8090")


def test_caddy_sends_exactly_the_policy_paths() -> None:
    (config,) = blocks(section("Caddy, for the homeserver's name"), "caddyfile")
    lines = re.findall(r"^ +reverse_proxy (?:(/\S+) )?(\S+)(?: \{)?$", config, re.M)
    found = {path.removesuffix("*"): target for path, target in lines}
    assert found.pop("") == "127.0.0.1:8008"
    assert found == dict.fromkeys(POLICY_PATHS, "127.0.0.1:8090")


def test_traefik_sends_exactly_the_policy_paths() -> None:
    _, config = map(yaml.safe_load, blocks(section("Traefik, for the homeserver's name"), "yaml"))
    routers, services = config["http"]["routers"], config["http"]["services"]
    rule = routers["policybot"]["rule"]
    assert tuple(re.findall(r"PathPrefix\(`([^`]+)`\)", rule)) == POLICY_PATHS
    assert routers["homeserver"]["rule"] in rule
    for name, url in (
        ("policybot", "http://127.0.0.1:8090"),
        ("homeserver", "http://127.0.0.1:8008"),
    ):
        assert routers[name]["service"] == name
        assert services[name] == {"loadBalancer": {"servers": [{"url": url}]}}


@pytest.mark.parametrize("path", POLICY_PATHS)
def test_check_prints_the_lines_that_stand_here(path: str) -> None:
    nginx, caddy, traefik, _ = proxy_lines(path, "127.0.0.1", 8090)
    assert nginx.removeprefix("nginx:").strip() in section("nginx, for the homeserver's name")
    assert caddy.removeprefix("Caddy:").strip() in section("Caddy, for the homeserver's name")
    prefix, _, url = traefik.removeprefix("Traefik:").strip().partition(" in the rule of the ")
    assert prefix in section("Traefik, for the homeserver's name")
    assert url.removeprefix("router to ") in section("Traefik, for the homeserver's name")


def test_the_lines_for_a_name_of_its_own_stand_here() -> None:
    lines = own_name_lines("policy.example.org", ListenConfig("127.0.0.1", 8090))
    text = re.sub(r"\s+", " ", section("A name of its own"))
    for line in lines[:2]:
        for part in re.split(r"[;{}]", line.partition(":")[2]):
            assert part.strip() in text
    assert "Host(`policy.example.org`)" in lines[2]
    assert "rule: Host(`policy.example.org`)" in text and "url: http://127.0.0.1:8090" in text


def test_a_name_of_its_own_is_sent_whole() -> None:
    (config,) = blocks(section("A name of its own"), "nginx")
    assert locations(config) == {"/": "http://127.0.0.1:8090"}
    (short,) = blocks(README, "caddyfile")
    assert "policy.example.org {\n    reverse_proxy 127.0.0.1:8090\n}" in short


def test_the_table_of_paths_is_complete() -> None:
    assert re.findall(r"^\| `(/[^`]+)` \|", DEPLOY, re.M) == list(POLICY_PATHS)
    assert f"`{HEALTH}`" in DEPLOY


def test_the_short_snippet_matches_the_same_paths() -> None:
    (config,) = blocks(README, "nginx")
    ((location, target),) = locations(config).items()
    assert target == "http://127.0.0.1:8090"
    pattern = re.compile(location.removeprefix("~ "))
    for path in POLICY_PATHS:
        assert pattern.search(path)
    for other in ("/_matrix/federation/", "/.well-known/matrix/server", "/_matrix/client/", "/"):
        assert not pattern.search(other)


def test_no_proxy_rewrites_the_path() -> None:
    for page in PAGES:
        if page.name == "maubot.md":  # behind maubot's web server it has to
            continue
        for target in re.findall(r"proxy_pass ([^;`]+);", page.read_text()):
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+", target)


def test_the_port_is_the_default() -> None:
    section = parse_config(yaml.safe_load((ROOT / "config.sample.yaml").read_text())).listen
    assert section is not None
    assert f"{section.host}:{section.port}" == "127.0.0.1:8090"


# -- commands ------------------------------------------------------------------------------------


def test_the_table_of_commands_is_that_of_the_code() -> None:
    section = README.partition("## Commands")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(.+?)` \| (.+?) \|$", section, re.M)
    assert [usage.replace("\\|", "|") for usage, _ in rows] == [
        form.usage for form in COMMAND_FORMS.values()
    ]


def test_each_command_has_its_section() -> None:
    text = (ROOT / "docs" / "commands.md").read_text()
    assert re.findall(r"^## (.+)$", text, re.M) == [form.usage for form in COMMAND_FORMS.values()]
    for form in COMMAND_FORMS.values():
        section = text.partition(f"## {form.usage}\n")[2].partition("\n## ")[0]
        assert section.strip()
        for flag in form.flags:
            assert f"`--{flag}`" in section


@pytest.mark.parametrize("page", PAGES, ids=title_of)
def test_every_command_that_is_mentioned_exists(page: Path) -> None:
    for name in re.findall(r"!policy ([a-z]+)", page.read_text()):
        assert name in COMMAND_FORMS


@pytest.mark.parametrize("page", PAGES, ids=title_of)
def test_every_verb_that_is_mentioned_exists(page: Path) -> None:
    for name in re.findall(r"(?:`|bin/)policybot ([a-z]+)", page.read_text()):
        assert name in ("run", "demo", "init", "check", "keygen", "export", "import")


def test_the_verdict_page_names_every_type_that_is_always_signed() -> None:
    text = (ROOT / "docs" / "verdict.md").read_text()
    for event_type in (*_ALWAYS_SIGNED_STATE, "m.room.third_party_invite", "m.room.redaction"):
        assert f"`{event_type}`" in text


# -- configuration -------------------------------------------------------------------------------


def keys_of(value: Any, path: str = "") -> set[str]:
    if not isinstance(value, dict) or path == "moderation_rooms":
        return {path}
    return {
        key
        for name, below in value.items()
        for key in keys_of(below, f"{path}.{name}" if path else name)
    }


def test_the_sample_has_every_key() -> None:
    sample = yaml.safe_load((ROOT / "config.sample.yaml").read_text())
    assert keys_of(sample) == set(_KEYS)
    (room,) = sample["moderation_rooms"]
    assert set(room) == set(_MODERATION_ROOM_KEYS)


@pytest.mark.parametrize("page", PAGES, ids=title_of)
def test_every_key_that_is_mentioned_exists(page: Path) -> None:
    sections = "policy_server|reports|listen|federation|standalone"
    known = set(_KEYS) | {key.rpartition(".")[0] for key in _KEYS}
    for key in re.findall(rf"`((?:{sections})\.[a-z_.]+)", page.read_text()):
        assert key in known
    variables = {"POLICYBOT_" + key.replace(".", "__").upper() for key in _KEYS}
    for variable in re.findall(r"POLICYBOT_[A-Z_]+", page.read_text()):
        assert variable.removesuffix("_FILE") in variables


# -- the two commands ----------------------------------------------------------------------------


@pytest.mark.parametrize(("extra", "command"), [("demo", "policybot demo"), ("test", "pytest")])
def test_a_fresh_clone_needs_one_line(extra: str, command: str) -> None:
    line = (
        f"python3 -m venv .venv && .venv/bin/pip install -e '.[{extra}]' && .venv/bin/{command}\n"
    )
    assert line in blocks(README, "sh")
    project = extras()
    assert extra in project["optional-dependencies"]
    assert project["scripts"] == {"policybot": "policybot.cli:main"}
    assert project["requires-python"] == ">=3.11"
    assert "Python 3.11 or newer" in README


def test_every_extra_that_is_mentioned_exists() -> None:
    known = extras()["optional-dependencies"]
    for page in PAGES:
        for extra in re.findall(r"\.\[([a-z]+)\]", page.read_text()):
            assert extra in known
    assert "postgres" in known


def test_the_readme_is_in_order() -> None:
    assert re.findall(r"^## (.+)$", README, re.M) == [
        "Demo",
        "Install",
        "First room in five minutes",
        "Commands",
        "Limits",
        "Development",
    ]


def test_the_changelog_has_this_version() -> None:
    from policybot import __version__

    text = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## (.+)$", text, re.M)
    assert headings[headings[0] == "Unreleased"] == __version__


# -- security ------------------------------------------------------------------------------------


def test_every_claim_of_safety_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) > 50
    for file, test in named:
        source = (ROOT / file).read_text()
        assert re.search(rf"^(?:async )?def {test}\(", source, re.M), f"{file}::{test}"
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    claims = [row for row in rows if not row.endswith("| shown by |")]
    assert all("::test_" in row.rsplit(" | ", 1)[1] for row in claims)


# -- links ---------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", PAGES, ids=title_of)
def test_internal_links_resolve(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.is_file(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=title_of)
def test_code_names_files_that_exist(page: Path) -> None:
    for name in re.findall(r"`((?:policybot|docs|tests|\.ci)/[\w/.-]+)`", page.read_text()):
        assert (ROOT / name).exists(), name


# -- maubot --------------------------------------------------------------------------------------

MAUBOT = (ROOT / "docs" / "maubot.md").read_text()
IN_THE_IMAGE = ("mautrix", "unpaddedbase64")


def test_the_derived_image_has_what_the_plugin_needs() -> None:
    (lines,) = blocks(MAUBOT, "dockerfile")
    needed = yaml.safe_load((ROOT / "maubot.yaml").read_text())["dependencies"]
    missing = [each for each in needed if not each.startswith(IN_THE_IMAGE)]
    assert re.findall(r'"([^"]+)"', lines) == missing


def test_the_proxy_changes_exactly_the_policy_paths_for_maubot() -> None:
    (config,) = blocks(MAUBOT, "nginx")
    base = "http://127.0.0.1:29316/_matrix/maubot/plugin/policybot"
    assert locations(config) == {path: base + path for path in POLICY_PATHS}


def test_the_plugin_has_the_documented_name() -> None:
    about = yaml.safe_load((ROOT / "maubot.yaml").read_text())
    assert f"`{about['id']}-v{about['version']}.mbp`" in MAUBOT
