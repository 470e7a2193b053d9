"""The state database as one SQLite file: WAL, `synchronous=FULL`, one writer at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantctl.contracts.errors import StateUnreachable
from quantctl.lake.state_faults import TablesMissing, unreachable

if TYPE_CHECKING:
    from sqlalchemy import Engine

PREFIX = "sqlite:///"
_REMEDY = "check the file and its permissions, or restore it, then repeat the command"
BUSY_SECONDS = 30.0  # how long a writer waits for another one
# Result codes that are no query's fault: permission, another writer, memory, disk, damage.
_ENVIRONMENT = (
    sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOLFS, sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_NOTADB,
)  # fmt: skip


def path_of(url: str) -> Path:
    """File of a `sqlite:///` URL."""
    return Path(url[len(PREFIX) :])


def open_engine(url: str, ddl: Sequence[str]) -> Engine:
    """An engine for writers, with immediate transactions and our tables made."""
    import sqlalchemy as sa

    path = path_of(url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(url)
        sa.event.listen(engine, "connect", _prepare)
        with engine.begin() as connection:
            for statement in ddl:
                connection.execute(sa.text(statement))
    except (sa.exc.DBAPIError, OSError) as problem:
        raise fault(url, problem) from None
    return engine


def _prepare(connection: Any, _record: Any) -> None:
    # DBOS leaves SQLite in rollback-journal mode, which costs several times more per step.
    connection.isolation_level = "IMMEDIATE"
    wait = f"busy_timeout={int(BUSY_SECONDS * 1000)}"
    for pragma in (wait, "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


@contextmanager
def reader(url: str) -> Iterator[Reader | None]:
    """A read-only connection, or null where no file exists yet. Takes no lock on writers."""
    path = path_of(url)
    try:
        there = path.exists()
    except OSError as problem:  # a directory that may not be entered
        raise fault(url, problem) from None
    if not there:
        yield None
        return
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)
    except sqlite3.Error as problem:
        raise fault(url, problem) from None
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("BEGIN")  # one view of all tables, from the first query on
        yield Reader(connection)
    except sqlite3.DatabaseError as problem:
        raise fault(url, problem) from None
    finally:
        connection.close()


def durability(connection: Reader) -> tuple[str, str]:
    """The journal mode, and the remedy where it is not ours."""
    mode = str(connection.execute("PRAGMA journal_mode").fetchone()[0])
    return ("WAL", "") if mode.lower() == "wal" else (f"journal mode {mode}", "quantctl doctor --fix")


class Reader:
    """Queries with `?` placeholders; rows by index and by name."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, query: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Rows of a query; `TablesMissing` where the tables are not made yet."""
        try:
            return self._connection.execute(query, parameters)
        except sqlite3.OperationalError as problem:
            if tables_missing(problem):
                raise TablesMissing(problem) from None
            raise


def tables_missing(problem: BaseException) -> bool:
    """Whether a driver's error says that a table is not there."""
    return "no such table" in str(problem)


def is_environment(problem: BaseException) -> bool:
    """Whether a driver's error is a fault of file or disk, or of another writer, not of the query."""
    return getattr(problem, "sqlite_errorcode", 0) & 0xFF in _ENVIRONMENT  # the rest says more exactly which


def fault(url: str, problem: BaseException) -> StateUnreachable:
    """`STATE_UNREACHABLE` for a driver's error."""
    return unreachable(str(problem), str(path_of(url)), _REMEDY)
