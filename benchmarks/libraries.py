"""Servers which lack some of the faster libraries, for comparing."""

from pathlib import Path

from installation import Installation

LEFT_OUT = (
    (),
    ("httptools",),
    ("orjson",),
    ("uvloop",),
    ("httptools", "orjson", "uvloop"),
)
"""What policybot runs without as well."""


def with_libraries_left_out(directory: Path) -> list[Installation]:
    """A server for each choice, without rules; all below this directory."""
    servers: list[Installation] = []
    for names in LEFT_OUT:
        text = "without " + ", ".join(names) if names else "with all"
        missing = directory / f"missing{len(servers)}"
        missing.mkdir()
        for name in names:
            (missing / f"{name}.py").write_text("raise ImportError('left out')\n")
        place = directory / str(len(servers))
        servers.append(Installation(place, 0, {"PYTHONPATH": str(missing)}, libraries=text))
    return servers
