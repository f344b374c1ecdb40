"""Who may import whom, read from the import statements of every module.

protocol <- policy <- (federation, endpoint, bot, store) <- app <- standalone, check, init, move
The command (cli) imports these and little else.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import policybot

PACKAGE = Path(policybot.__file__).parent

PURE = ("protocol", "policy")
PARTS = ("federation", "endpoint", "bot", "store")
SHARED = ("check_rooms", "listening", "login", "outside", "stand_in")
"""What entries have in common."""

ENTRIES = (*SHARED, "standalone", "check", "init", "move", "cli", "hosted", "plugin")
"""What runs the application, in one way or another."""

PIECES = ("chat_parts", "federation_member", "own_faults", "room_checks")
"""What the application is put together from."""

CONFIG = ("config", "config_section", "config_source", "config_value")

ALLOWED = {
    "protocol": {"protocol"},
    "policy": {"policy", "protocol"},
    **{part: {part, *PURE} for part in PARTS},
    **dict.fromkeys(CONFIG, set(CONFIG)),
    "account": {"config", "protocol"},
    "app": {*PIECES, "account", "app", "config", *PARTS, *PURE},
    "chat_parts": {"config", "bot", "store", "protocol"},
    "federation_member": {"account", "bot", "endpoint", "federation", "store", "protocol"},
    "room_checks": {"bot", "federation"},
    "own_faults": {"bot"},
    **dict.fromkeys(ENTRIES, {*SHARED, "account", "app", *CONFIG, *PARTS, *PURE}),
    "plugin": {"account", "hosted", *PARTS, *PURE},
    "cli": {"standalone", "check", "init", "move", "demo", "config", "protocol"},
    # The demonstration is a user of the command, and of the words of the protocol.
    "demo": {"demo", *PURE},
    "__main__": {"cli"},
    # For maubot, which looks the class up there; never imported before it is asked for.
    "__init__": {"plugin"},
}
"""For each part of the package the parts that it may import. Everyone may ask for the version."""

LAZY = {"standalone", "check", "init", "move", "demo", "protocol"}
"""What cli imports only when it is needed."""

IMPURE = {
    "asyncio", "aiohttp", "mautrix", "aiosqlite", "asyncpg", "sqlite3", "socket", "ssl", "http",
    "urllib.request", "subprocess", "threading", "yaml", "os", "pathlib", "logging", "time",
}  # fmt: skip
"""What is about a network, a database, a process, a file or a clock."""


@dataclass(frozen=True, slots=True)
class Import:
    """One import of a module: the full name, and whether it stands outside of functions."""

    module: str
    name: str
    eager: bool

    @property
    def part(self) -> str | None:
        """The part of policybot that is imported, or None."""
        package, _, rest = self.name.partition(".")
        if package != "policybot":
            return None
        return rest.partition(".")[0]


def part_of(module: str) -> str:
    """`policybot.bot.client` is in `bot`, `policybot.app` is `app`."""
    return module.split(".")[1] if "." in module else "__init__"


def modules() -> dict[str, ast.Module]:
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(file.read_text())
    return found


def is_package(module: str) -> bool:
    return (PACKAGE.parent / module.replace(".", "/")).is_dir()


def imports_in(module: str, tree: ast.Module) -> Iterator[Import]:
    eager = {id(node) for node in _outside_of_functions(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, id(node) in eager)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")
                above = above[: len(above) - node.level + is_package(module)]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                name = f"{base}.{alias.name}" if base in MODULES else base
                inside = name in MODULES or base not in MODULES
                yield Import(module, name if inside else base, id(node) in eager)


def _outside_of_functions(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        yield child
        yield from _outside_of_functions(child)


MODULES = modules()
IMPORTS = [found for name, tree in MODULES.items() for found in imports_in(name, tree)]


def broken(imports: list[Import]) -> list[str]:
    """The imports that break a rule, as sentences."""
    faults = []
    for each in imports:
        here, there = part_of(each.module), each.part
        if there is not None and there not in ("", here) and there not in ALLOWED.get(here, ()):
            faults.append(f"{each.module} imports {each.name}")
        if here in PURE and _is(each.name, IMPURE):
            faults.append(f"{each.module} is pure and imports {each.name}")
        if here == "cli" and there in LAZY and each.eager:
            faults.append(f"{each.module} imports {each.name} before it is needed")
        if here != "plugin" and _is(each.name, {"maubot"}):
            faults.append(f"{each.module} imports {each.name}")
    return faults


def _is(name: str, wanted: set[str]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in wanted)


def test_the_layers_hold() -> None:
    assert broken(IMPORTS) == []


def test_every_part_has_its_rules() -> None:
    assert {part_of(module) for module in MODULES} <= set(ALLOWED)


def test_every_module_was_read() -> None:
    names = {each.name for each in IMPORTS}
    for module in (
        "policybot.protocol.pdu",
        "policybot.policy.evaluator",
        "policybot.store.database",
        "policybot.endpoint.sign",
        "policybot.app",
        "policybot.demo.story",
        "policybot.config_value",
    ):
        assert module in names


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("policybot.protocol.pdu", "from policybot.policy import rule"),
        ("policybot.protocol.pdu", "from ..policy.rule import Rule"),
        ("policybot.protocol.pdu", "import asyncio"),
        ("policybot.policy.rule", "def f():\n    from aiohttp import web"),
        ("policybot.policy.rule", "import mautrix.util.async_db"),
        ("policybot.policy.rule", "from policybot.store import rules"),
        ("policybot.bot.client", "from policybot.store.settings import Settings"),
        ("policybot.bot.client", "from ..federation.client import HttpClient"),
        ("policybot.endpoint.sign", "import policybot.bot.reply"),
        ("policybot.store.rules", "from ..config import Config"),
        ("policybot.federation.client", "from policybot.app import App"),
        ("policybot.config", "from .protocol.identifier import server_of"),
        ("policybot.room_checks", "from .app import App"),
        ("policybot.app", "from .standalone import run"),
        ("policybot.app", "from .demo import ports"),
        ("policybot.check", "from .demo.ports import free_ports"),
        ("policybot.cli", "from .demo.story import main"),
        ("policybot.demo.user", "from ..endpoint.sign import SignUseCase"),
        ("policybot.demo.user", "from ..bot.client import MatrixClient"),
        ("policybot.bot.client", "import maubot"),
        ("policybot", "from .app import App"),
        ("policybot.app", "from .hosted import Host"),
        ("policybot.standalone", "from .plugin import PolicyBot"),
        ("policybot.hosted", "from maubot import Plugin"),
    ],
)
def test_a_broken_layer_is_seen(module: str, source: str) -> None:
    assert len(broken(list(imports_in(module, ast.parse(source))))) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("policybot.cli", "def f():\n    from .demo.story import main"),
        ("policybot.bot.client", "from policybot import __version__"),
        ("policybot.bot.client", "from . import raw_event"),
        ("policybot.app", "from . import __version__"),
        ("policybot.protocol.pdu", "import json, nacl.bindings"),
    ],
)
def test_what_is_allowed_is_not_complained_about(module: str, source: str) -> None:
    assert broken(list(imports_in(module, ast.parse(source)))) == []
