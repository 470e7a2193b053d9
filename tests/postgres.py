"""A Postgres of the machine's own binaries for tests: temporary directory, spare port, gone afterwards.

As root it runs as another user, because Postgres refuses root. A keeper process ends it and removes
its directory even when the tests are killed.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

SETTINGS = {
    "fsync": "on", "synchronous_commit": "on", "listen_addresses": "127.0.0.1", "max_connections": "200",
    "shared_buffers": "32MB", "log_min_messages": "fatal",
}  # fmt: skip
_KEEPER = """
import os, shutil, signal, sys
os.setsid()
sys.stdin.read()  # ends when the tests have ended, however
try:
    os.kill(int(open(sys.argv[1] + "/data/postmaster.pid").readline()), signal.SIGQUIT)
except (OSError, ValueError):
    pass
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""


def binaries() -> Path | None:
    """Directory of `initdb`, `pg_ctl` and `postgres`; null where there are none."""
    places = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    needed = ("initdb", "pg_ctl", "postgres")
    return next((place for place in places if all((place / name).exists() for name in needed)), None)


def why_not() -> str | None:
    """Why no server can be started here; null where one can."""
    if binaries() is None:
        return "no Postgres: neither initdb on the path nor /usr/lib/postgresql/*/bin"
    if os.geteuid() == 0 and _owner() is None:
        return "no Postgres: it refuses root, and there is neither a user postgres nor nobody"
    return None


def _owner() -> pwd.struct_passwd | None:
    """The user that runs the server: ourselves, or another one when we are root."""
    for name in ("postgres", "nobody") if os.geteuid() == 0 else (getpass.getuser(),):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None


class Server:
    """One cluster; `database()` makes a fresh database in it, `stop` and `start` its bad days."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="pg-"))
        self._keeper = subprocess.Popen(
            [sys.executable, "-S", "-c", _KEEPER, str(self.root)], stdin=subprocess.PIPE
        )
        owner = _owner()
        assert owner is not None
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._as = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
            os.chown(self.root, owner.pw_uid, owner.pw_gid)
        self._names = (f"test_{number}" for number in count())
        self._template: str | None = None
        self._making = threading.Lock()
        data = str(self.root / "data")
        self._command("initdb", "-D", data, "-U", "tests", "-A", "trust", "-E", "UTF8", "--no-sync",
                      "--locale=C.UTF-8")  # fmt: skip
        self.port = _spare_port()
        self.start()

    def start(self) -> None:
        """Start the server, again on the same port."""
        given = SETTINGS | {"port": str(self.port), "unix_socket_directories": str(self.root)}
        options = " ".join(f"-c {name}={value}" for name, value in given.items())
        self._pg_ctl("start", "-w", "-l", str(self.root / "log"), "-o", options)

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; `immediate` is a crash: no checkpoint, connections torn."""
        self._pg_ctl("stop", "-w", "-m", mode)

    def close(self) -> None:
        """End the server and remove its directory."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait(timeout=30)

    def url(self, database: str, *, password: str = "", socket_directory: bool = False) -> str:
        """URL of a database, over TCP or the socket."""
        if socket_directory:
            return f"postgresql://tests@/{database}?host={self.root}&port={self.port}"
        return f"postgresql://tests{password and ':' + password}@127.0.0.1:{self.port}/{database}"

    def empty(self) -> str:
        """URL of a database without any table."""
        return self._create("template0")

    def database(self) -> str:
        """URL of a database with all tables made and no run: a copy of a template, made once."""
        with self._making:
            if self._template is None:
                self._template = _with_tables(self.empty())
                self.execute("DELETE FROM workers", self._template)
                self.execute("DELETE FROM installation", self._template)
        return self._create(self._template)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """One statement as superuser, outside a transaction."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _create(self, template: str) -> str:
        name = next(self._names)
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def _pg_ctl(self, *words: str) -> None:
        self._command("pg_ctl", "-D", str(self.root / "data"), "-s", *words)

    def _command(self, name: str, *words: str) -> None:
        place = binaries()
        assert place is not None
        # Output goes to a file: the server that pg_ctl leaves behind would hold a pipe open.
        with (self.root / f"{name}.out").open("a+") as out:
            done = subprocess.run(
                [str(place / name), *words], stdout=out, stderr=out, cwd=self.root, **self._as
            )
            out.seek(0)
            assert done.returncode == 0, f"{name}: {out.read()}"


def _spare_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _with_tables(url: str) -> str:
    """Make our tables and the engine's in a database, as a first command does; returns its name."""
    from quantctl.workflows.runtime import Places
    from quantctl.workflows.worker import Limits, Worker

    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        worker = Worker(
            Places(root, root, root, root, url), "run-template", Limits(), threading.Event(), listen=False
        )
        assert worker.start()
        worker.stop()
    return url.rsplit("/", 1)[1]


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server for the time of a block, for harnesses outside pytest."""
    server = Server()
    try:
        yield server
    finally:
        server.close()
