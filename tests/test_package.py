"""The package as a whole: what importing it costs, and the shape of its modules."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import policybot

PACKAGE = Path(policybot.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 320
# One short method for each call of the client-server API, none of which is worth a module.
LONGER_WITH_REASON = {"bot/client.py": 400}


def name_of(file: Path) -> str:
    return str(file.relative_to(PACKAGE))


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after some code."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{code}; import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(done.stdout.split())


def test_importing_loads_nothing_else() -> None:
    loaded = loaded_by("import policybot")
    assert {name for name in loaded if name.startswith("policybot")} == {"policybot"}
    assert not {"maubot", "mautrix", "aiohttp", "asyncio"} & loaded


def test_the_command_line_loads_what_a_verb_needs() -> None:
    loaded = loaded_by("import policybot.cli")
    assert not {"maubot", "mautrix", "aiohttp", "nacl", "sqlite3", "policybot.demo"} & loaded


def test_nothing_but_the_plugin_loads_maubot() -> None:
    loaded = loaded_by("import policybot.standalone, policybot.hosted, policybot.check")
    assert not {"maubot", "ruamel.yaml", "olm", "policybot.plugin"} & loaded
    assert "policybot.plugin" in loaded_by("from policybot import PolicyBot")


def test_the_class_for_maubot_says_where_it_belongs() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.modules['maubot'] = None; from policybot import PolicyBot",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "ImportError: policybot.PolicyBot is for maubot, which is not installed" in done.stderr
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        policybot.Nonsense  # noqa: B018


def public_definitions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if not node.name.startswith("_"):
                yield prefix + node.name, node
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                if not is_protocol(node):
                    yield from public_definitions(node, f"{node.name}.")


def is_protocol(node: ast.ClassDef) -> bool:
    """The methods of a Protocol say by name and types what is needed of another part."""
    return any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_what_is_public_has_a_docstring(file: Path) -> None:
    tree = ast.parse(file.read_text())
    assert ast.get_docstring(tree), "the module has none"
    missing = [
        name
        for name, node in public_definitions(tree)
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and not ast.get_docstring(node)
    ]
    assert missing == []


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_no_module_grows_too_long(file: Path) -> None:
    lines = file.read_text().count("\n")
    assert lines <= LONGER_WITH_REASON.get(name_of(file), MOST_LINES)
