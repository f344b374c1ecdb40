"""Makes the archive for maubot's "Upload plugin": `python scripts/build_plugin.py [DIRECTORY]`.

The same sources give the same bytes: names in order, one time stamp, the same rights for all.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import yaml

ROOT = Path(__file__).resolve().parent.parent
_LEFT_OUT = "demo"
_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can hold
_HEAD = """\
# The configuration of policybot: every key with its meaning, unit and default.
#
# Needed are moderation_rooms and policy_server.name; what stands there is an example. All else
# may be left out: the value shown is the default. Unknown keys are refused.
"""
_STANDALONE = "# The bot's account, database and log.\nstandalone:\n"


def base_config(sample: str) -> str:
    """The configuration as maubot shows it: the sample without what only the bot on its own needs.

    Raises:
        ValueError: the sample does not look as it should.
    """
    common, mark, _ = sample.partition(_STANDALONE)
    _, blank, keys = common.partition("\n\n")
    if not mark or not blank:
        raise ValueError("config.sample.yaml has another beginning or end than expected")
    return f"{_HEAD}\n{keys.rstrip()}\n"


def contents(root: Path) -> Iterator[tuple[str, bytes]]:
    """The names and bytes of all files of the archive, in order."""
    files = {name: (root / name).read_bytes() for name in ("LICENSE", "maubot.yaml")}
    sample = (root / "config.sample.yaml").read_text(encoding="utf-8")
    files["base-config.yaml"] = base_config(sample).encode()
    package = root / "policybot"
    for file in package.rglob("*.py"):
        if file.relative_to(package).parts[0] != _LEFT_OUT:
            files[file.relative_to(root).as_posix()] = file.read_bytes()
    yield from sorted(files.items())


def build(directory: Path, root: Path = ROOT) -> Path:
    """Write the archive into the directory and return its path."""
    about = yaml.safe_load((root / "maubot.yaml").read_text(encoding="utf-8"))
    archive = directory / f"{about['id']}-v{about['version']}.mbp"
    with ZipFile(archive, "w", ZIP_DEFLATED) as file:
        for name, content in contents(root):
            info = ZipInfo(name, _TIME)
            info.compress_type = ZIP_DEFLATED
            info.create_system = 3  # Unix, wherever it is built
            info.external_attr = 0o644 << 16
            file.writestr(info, content)
    return archive


if __name__ == "__main__":
    print(build(Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
