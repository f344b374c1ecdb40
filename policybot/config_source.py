"""Where the configuration comes from: YAML text and environment variables.

Both become one plain mapping, which `config.parse_config` checks.
"""

import difflib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from .config_value import ConfigError

PREFIX = "POLICYBOT_"
_FILE = "_FILE"
# Read by the demonstration and by the tests.
_NOT_OURS = ("POLICYBOT_DEMO_", "POLICYBOT_TEST_")


class Kind(StrEnum):
    """How the value of an environment variable is read."""

    TEXT = "text"  # as it is, since @, # and ! mean something in YAML; empty = null
    NUMBER = "number"
    LIST = "list"  # words with spaces between, or a YAML list beginning with [


class _Loader(yaml.SafeLoader):
    """Refuses a key that is written twice, of which YAML would silently drop one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            if key_node.value in seen:
                raise ConfigError(
                    f"line {key_node.start_mark.line + 1}: {key_node.value}: is written twice; "
                    "remove one."
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def read_yaml(text: str, name: str) -> dict[str, Any]:
    """Parse the text of a YAML file; ``name`` is used in errors.

    Raises:
        ConfigError: the text is not YAML, a key is there twice, or it is not a mapping.
    """
    try:
        value = yaml.load(text, _Loader)
    except ConfigError as error:
        raise ConfigError(f"{name}, {error}") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(
            f"{name}{line}: not valid YAML: {error.problem}; check indentation and quotes."
        ) from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2026-99-99
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{name}: not valid YAML ({reason}); remove it or quote it.") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: write keys with values, as in config.sample.yaml.")
    return value


def override(
    mapping: Mapping[str, Any], environ: Mapping[str, str], keys: Mapping[str, Kind]
) -> dict[str, Any]:
    """Lay the environment over the mapping; ``keys`` are the dotted paths with their kinds.

    Raises:
        ConfigError: a variable names no key, or its value or file cannot be read.
    """
    names = {variable(path): path for path in keys}
    result = dict(mapping)
    origin: dict[str, str] = {}
    for name in sorted(environ):
        path = names.get(name)
        text = environ[name]
        if path is None:
            path = names.get(name.removesuffix(_FILE))
            if path is None:
                _refuse_unknown(name, names)
                continue
            text = _read_file(name, text)
        if path in origin:
            raise ConfigError(f"{name}: {origin[path]} sets the same key; remove one of them.")
        origin[path] = name
        _put(result, path, _value(name, text, keys[path]))
    return result


def variable(path: str) -> str:
    """The name of the environment variable for a key, given as a dotted path."""
    return PREFIX + path.replace(".", "__").upper()


def _refuse_unknown(name: str, names: Iterable[str]) -> None:
    """Other programs may use our prefix (Kubernetes does): refuse only what looks like a key."""
    if not name.startswith(PREFIX) or name.startswith(_NOT_OURS):
        return
    sections = {known.partition("__")[0] for known in names}
    if "__" in name or any(f"{name}_".startswith(f"{section}_") for section in sections):
        raise ConfigError(f"{name}: no such key; {suggest(name, names)}")


def suggest(name: str, names: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the nearest known one, or all of them."""
    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}."


def _read_file(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"{name}: write the path of a readable file; {path} cannot be read ({reason})."
        ) from None


def _value(name: str, text: str, kind: Kind) -> Any:
    if kind is Kind.LIST and not text.lstrip().startswith("["):
        return text.split()
    if kind is Kind.TEXT:
        return text or None
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError):
        raise ConfigError(f"{name}: write a {kind} as in YAML.") from None


def _put(mapping: dict[str, Any], path: str, value: Any) -> None:
    """Set a key below ``mapping``; mappings on the way are copied, never changed."""
    *sections, key = path.split(".")
    for section in sections:
        below = mapping.get(section)
        if below is not None and not isinstance(below, Mapping):
            return  # not a section: parse_config says so
        mapping[section] = dict(below or {})
        mapping = mapping[section]
    mapping[key] = value
