"""One section of the configuration: a mapping whose keys are read by name."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from .config_source import suggest
from .config_value import ConfigError

T = TypeVar("T")


class Section:
    """A mapping of the file with its path; unknown keys are refused at once."""

    def __init__(self, value: Any, path: str, known: Iterable[str]) -> None:
        names = sorted(known)
        if value is None:
            value = {}
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path or 'configuration'}: write keys with values below it.")
        for key in value:
            if key not in names:
                raise ConfigError(f"{_join(path, key)}: unknown key; {suggest(str(key), names)}")
        self._value = value
        self._path = path

    def required(self, key: str, parse: Callable[[Any, str], T]) -> T:
        """The value of a key that must be there."""
        path = _join(self._path, key)
        if key not in self._value:
            raise ConfigError(f"{path}: missing; add it (config.sample.yaml shows how).")
        return parse(self._value[key], path)

    def optional(self, key: str, parse: Callable[[Any, str], T], default: T) -> T:
        """The value of a key, or what counts without it."""
        return self.required(key, parse) if key in self._value else default

    def nullable(self, key: str, parse: Callable[[Any, str], T]) -> T | None:
        """The value of a key, or None if it is null or not there."""
        return None if self._value.get(key) is None else self.required(key, parse)


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)
