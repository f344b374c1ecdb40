"""The command line as it is typed: exit codes, and what stands on which stream."""

import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from policybot import __version__
from policybot.cli import main
from policybot.config import load_config
from policybot.protocol.signing import SigningKey

from .command import policybot, write_config

VERBS = ("run", "demo", "init", "check", "keygen", "export", "import")


async def test_the_version(tmp_path: Path) -> None:
    ended = await policybot("--version", directory=tmp_path)
    assert (ended.code, ended.out, ended.err) == (0, f"policybot {__version__}\n", "")


@pytest.mark.parametrize("word", ["--help", "-h"])
async def test_the_help_names_every_verb(tmp_path: Path, word: str) -> None:
    ended = await policybot(word, directory=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert all(verb in ended.out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([verb, "--help"])
    assert end.value.code == 0
    assert f"usage: policybot {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["run", "nonsense"],
        ["--nonsense"],
        ["run", "-c"],
        ["keygen", "-c", "x.yaml"],
        ["check", "--keep"],
        [""],
    ],
)
async def test_wrong_usage_exits_with_2(tmp_path: Path, arguments: list[str]) -> None:
    ended = await policybot(*arguments, directory=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("usage: policybot")
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("arguments", [[], ["run"], ["check"], ["-c", "config.yaml"]])
async def test_without_a_configuration_it_says_how_to_get_one(
    tmp_path: Path, arguments: list[str]
) -> None:
    ended = await policybot(*arguments, directory=tmp_path)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        "policybot: config.yaml: cannot be read (No such file or directory); `policybot init` "
        "writes a new file.\n"
    )


@pytest.mark.parametrize("verb", ["run", "check"])
async def test_a_wrong_key_is_named(tmp_path: Path, verb: str) -> None:
    write_config(tmp_path, {"url": "http://127.0.0.1:1", "acces_token": "x"})
    ended = await policybot(verb, directory=tmp_path)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        "policybot: standalone.homeserver.acces_token: unknown key; did you mean access_token?\n"
    )
    assert list(tmp_path.iterdir()) == [tmp_path / "config.yaml"]


async def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    write_config(tmp_path, {"url": "http://127.0.0.1:1"})
    ended = await policybot(directory=tmp_path, POLICYBOT_LISTEN__PORTS="1")
    assert ended.code == 1
    assert ended.err.startswith("policybot: POLICYBOT_LISTEN__PORTS: no such key;")
    assert ended.err.count("\n") == 1


async def test_new_keys_go_into_the_configuration_as_they_are_printed(tmp_path: Path) -> None:
    ended = await policybot("keygen", directory=tmp_path)
    assert ended.code == 0
    keys = dict(line.split(": ") for line in ended.out.splitlines())
    assert list(keys) == ["signing_key", "federation_key"]
    seed = keys["signing_key"]
    assert seed != keys["federation_key"]
    assert SigningKey.from_base64(seed).public_key in ended.err
    assert not any(secret in ended.err for secret in keys.values())

    file = write_config(tmp_path, {"url": "http://127.0.0.1:1"}, policy_server=keys)
    server = load_config(file, {}).policy_server
    assert (server.signing_key, server.federation_key) == tuple(keys.values())
    file = write_config(
        tmp_path, {"url": "http://127.0.0.1:1"}, policy_server={"signing_key": seed}
    )
    (tmp_path / "key").write_text(seed + "\n")
    variable = {"POLICYBOT_POLICY_SERVER__SIGNING_KEY_FILE": str(tmp_path / "key")}
    assert load_config(write_config(tmp_path, {"url": "http://a"}), variable).policy_server == (
        load_config(file, variable).policy_server
    )
    assert (await policybot("keygen", directory=tmp_path)).out != ended.out


def test_the_installed_command_is_this_one() -> None:
    (command,) = entry_points(group="console_scripts", name="policybot")
    assert command.load() is main


def test_an_interrupt_is_no_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Interrupted:
        def __getattr__(self, name: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Interrupted())
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 130
