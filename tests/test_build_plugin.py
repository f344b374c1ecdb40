"""The archive for maubot: what is in it, and that it can be built again."""

import shutil
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

import policybot
from policybot.config import parse_config
from scripts.build_plugin import ROOT, base_config, build

SAMPLE = (ROOT / "config.sample.yaml").read_text()


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    first = build(tmp_path)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("LICENSE", "maubot.yaml", "config.sample.yaml"):
        shutil.copyfile(ROOT / name, copy / name)
    shutil.copytree(ROOT / "policybot", copy / "policybot", copy_function=shutil.copyfile)
    (copy / "policybot" / "__pycache__").mkdir(exist_ok=True)
    (copy / "policybot" / "__pycache__" / "left.pyc").touch()
    again = build(tmp_path / "copy", copy)
    assert first.name == again.name == f"org.policybot-v{policybot.__version__}.mbp"
    assert first.read_bytes() == again.read_bytes()


def test_it_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    with ZipFile(build(tmp_path)) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names} == {
        "LICENSE",
        "base-config.yaml",
        "maubot.yaml",
        "policybot",
    }
    assert {"policybot/__init__.py", "policybot/plugin.py", "policybot/bot/client.py"} < set(names)
    assert not [name for name in names if "demo" in name or "test" in name or "pyc" in name]


def test_what_maubot_is_told_is_what_the_package_says() -> None:
    told = yaml.safe_load((ROOT / "maubot.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert told["version"] == policybot.__version__
    # Those that maubot has anyway in versions of its own choice are left to it.
    ours = set(project["dependencies"])
    left_to_maubot = {each for each in ours if each.startswith(("aiohttp", "aiosqlite"))}
    assert set(told["dependencies"]) == ours - left_to_maubot


def test_the_editor_shows_the_whole_sample_but_what_only_standalone_needs() -> None:
    text = base_config(SAMPLE)
    shown = yaml.safe_load(text)
    sample = yaml.safe_load(SAMPLE)
    assert shown == {key: value for key, value in sample.items() if key != "standalone"}
    assert parse_config(shown, standalone=False).standalone is None
    assert "standalone" not in text and "POLICYBOT_" not in text
    # The comments stay.
    common = SAMPLE[SAMPLE.index("# The rooms that") : SAMPLE.index("# The bot's account")]
    assert common.rstrip() in text


def test_a_sample_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="another beginning or end"):
        base_config("a: 1\n")
