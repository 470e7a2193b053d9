"""The state database: where it is, how it is opened, and our tables in it.

One database holds the workflow engine's tables and ours, so that a stage's records and its checkpoint
can't be separated by a power cut. Its URL says which kind: a SQLite file (`state_sqlite`) or Postgres
(`state_postgres`). Writers go through SQLAlchemy, because the engine's datasource does; readers use
the driver alone, because start-up time is theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from quantctl.contracts.errors import ConfigError, StateUnreachable
from quantctl.lake import state_postgres, state_sqlite
from quantctl.lake.state_faults import TablesMissing

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.orm import Session

__all__ = [
    "DDL", "Reader", "Row", "TablesMissing", "default_url", "display", "durability", "each", "fault_of",
    "faults", "is_conflict", "is_postgres", "normal", "open_engine", "reader", "rows", "sqlite_path",
    "tables_missing",
]  # fmt: skip

# Plain SQL for both kinds; `state_postgres` widens the types.
DDL = (
    """CREATE TABLE IF NOT EXISTS runs (
        run_id TEXT PRIMARY KEY, profile TEXT NOT NULL, pipeline TEXT NOT NULL,
        trace_id TEXT NOT NULL, as_of TEXT, snapshot TEXT, created_at TEXT NOT NULL,
        state TEXT NOT NULL, stage TEXT, attempt INTEGER NOT NULL, exit_code INTEGER, code TEXT,
        message TEXT, head_seq INTEGER NOT NULL, head_hash TEXT NOT NULL, head_ts TEXT NOT NULL,
        closed_at TEXT)""",
    """CREATE TABLE IF NOT EXISTS run_ledger (
        run_id TEXT NOT NULL, seq INTEGER NOT NULL, ts TEXT NOT NULL, type TEXT NOT NULL,
        step TEXT, attempt INTEGER NOT NULL, status TEXT NOT NULL, code TEXT,
        body_hash TEXT NOT NULL, hash TEXT NOT NULL, record TEXT NOT NULL,
        PRIMARY KEY (run_id, seq))""",
    """CREATE TABLE IF NOT EXISTS run_lives (
        run_id TEXT NOT NULL, life INTEGER NOT NULL, worker TEXT NOT NULL, started TEXT NOT NULL,
        ended TEXT, reason TEXT, PRIMARY KEY (run_id, life))""",
    """CREATE TABLE IF NOT EXISTS artifact_index (
        run_id TEXT NOT NULL, path TEXT NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL,
        rows INTEGER, bytes INTEGER NOT NULL, contract TEXT NOT NULL, step TEXT NOT NULL,
        attempt INTEGER NOT NULL, PRIMARY KEY (run_id, path))""",
    """CREATE TABLE IF NOT EXISTS workers (
        worker TEXT PRIMARY KEY, started TEXT NOT NULL, ended TEXT,
        epoch INTEGER, heartbeat INTEGER, expires INTEGER)""",  # milliseconds of the database's clock
    """CREATE TABLE IF NOT EXISTS cancellations (
        run_id TEXT NOT NULL, attempt INTEGER NOT NULL, reason TEXT NOT NULL,
        PRIMARY KEY (run_id, attempt))""",
    """CREATE TABLE IF NOT EXISTS schedules (
        profile TEXT PRIMARY KEY, pipeline TEXT NOT NULL, cron TEXT, leader TEXT, timezone TEXT NOT NULL,
        enabled INTEGER NOT NULL, misfire TEXT NOT NULL, late_seconds REAL NOT NULL,
        applied_at TEXT NOT NULL, noticed_until TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS schedule_times (
        profile TEXT NOT NULL, fire TEXT NOT NULL, run_id TEXT NOT NULL, state TEXT NOT NULL,
        code TEXT, reason TEXT, decided_at TEXT, PRIMARY KEY (profile, fire))""",
    """CREATE TABLE IF NOT EXISTS notices (
        run_id TEXT NOT NULL, seq INTEGER NOT NULL, channel TEXT NOT NULL, facts TEXT NOT NULL,
        means TEXT NOT NULL, state TEXT NOT NULL, tries INTEGER NOT NULL, due TEXT NOT NULL,
        sent_at TEXT, problem TEXT, PRIMARY KEY (run_id, seq, channel))""",
    """CREATE TABLE IF NOT EXISTS installation (
        one INTEGER PRIMARY KEY, id TEXT NOT NULL, since TEXT NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS runs_by_time ON runs (created_at)",
    "CREATE INDEX IF NOT EXISTS ledger_by_type ON run_ledger (type, run_id)",
)

_telling: ContextVar[str | None] = ContextVar("telling", default=None)


class Row(Protocol):
    """A row by index and by name; `dict(row)` has its columns."""

    def __getitem__(self, key: Any, /) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...
    def keys(self) -> Any:
        """Names of the columns."""


class Rows(Protocol):
    """What a query gives back."""

    def __iter__(self) -> Iterator[Row]: ...
    def fetchone(self) -> Any:
        """The next row, or null."""

    def fetchall(self) -> list[Any]:
        """The rows that are left."""


class Reader(Protocol):
    """A read-only connection, the same for both kinds of database."""

    def execute(self, query: str, parameters: Sequence[Any] = (), /) -> Rows:
        """Rows of a query with `?` placeholders; `TablesMissing` before our tables are made."""


def default_url(data_dir: Path) -> str:
    """The embedded database below the data directory, as an absolute URL."""
    return f"{state_sqlite.PREFIX}{(data_dir / 'state' / 'quantctl.sqlite').resolve()}"


def is_postgres(url: str) -> bool:
    """Whether the state is kept in Postgres; else it is a SQLite file.

    A URL that is neither is `STATE_URL_UNSUPPORTED` (exit 2).
    """
    scheme = url.split("://", 1)[0]
    if "://" in url and scheme in state_postgres.SCHEMES:
        return True
    if url.startswith(state_sqlite.PREFIX):
        return False
    raise ConfigError(
        "STATE_URL_UNSUPPORTED",
        f"the state is kept in SQLite or Postgres, not in {scheme if '://' in url else 'this'!r}",
        where="TV_STATE_URL",
        remedy="give sqlite:////absolute/path or postgresql://..., or unset it for the embedded database",
    )


def sqlite_path(url: str) -> Path | None:
    """File of the SQLite database; null for Postgres."""
    return None if is_postgres(url) else state_sqlite.path_of(url)


def display(url: str) -> str:
    """The URL as messages may show it: without password."""
    return state_postgres.masked(url) if is_postgres(url) else url


def normal(url: str) -> str:
    """The URL in the one form that drivers, the engine and its command line take."""
    return state_postgres.driver_url(url) if "://" in url and is_postgres(url) else url


def durability(url: str, connection: Reader) -> tuple[str, str]:
    """What the database says of its own durability, and the remedy where a commit might be lost."""
    found: tuple[str, str] = _kind(url).durability(connection)
    return found


def open_engine(url: str) -> Engine:
    """Open the database for writing, with our tables made.

    Raises `STATE_UNREACHABLE` (exit 5) when file or server can't be used.
    """
    import sqlalchemy as sa

    engine: Engine = _kind(url).open_engine(url, DDL)
    sa.event.listen(engine, "handle_error", _at_once)
    return engine


@contextmanager
def faults(url: str) -> Iterator[None]:
    """Inside, a fault of disk or server below the database is `STATE_UNREACHABLE` at once, also at commit.

    As an ordinary exception the workflow engine would checkpoint it, and every resume would replay it; or
    it would wait for the database, however long. Its own threads do, for they run outside.
    """
    token = _telling.set(url)
    try:
        yield
    finally:
        _telling.reset(token)


def _at_once(context: Any) -> None:
    problem = fault_of(context.original_exception)
    if problem is not None:
        raise problem


def each(sql: Connection | Session, statement: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Execute a statement for each of `rows`, one after another.

    A list given at once would be pipelined by the driver of Postgres, and after a pipeline Postgres 15 ends
    no idle transaction: a worker that sleeps in one would keep its run locked, and nobody could adopt it.
    """
    from sqlalchemy import text

    prepared = text(statement)
    for row in rows:
        sql.execute(prepared, row)


def fault_of(problem: BaseException) -> StateUnreachable | None:
    """`STATE_UNREACHABLE` for a driver's error inside `faults` that the environment caused, else null."""
    url = _telling.get()
    if url is None or not _kind(url).is_environment(problem):
        return None
    found: StateUnreachable = _kind(url).fault(url, problem)
    return found


def rows(url: str, query: str, given: Sequence[Any] = ()) -> list[Row]:
    """The rows of one query; none where there is no database yet, or no table of its."""
    with reader(url) as connection:
        if connection is None:
            return []
        try:
            return connection.execute(query, given).fetchall()
        except TablesMissing:
            return []


def reader(url: str) -> AbstractContextManager[Reader | None]:
    """A read-only connection with one view of all tables; null where no SQLite file exists yet.

    Takes no lock on writers. Raises `STATE_UNREACHABLE` (exit 5).
    """
    found: AbstractContextManager[Reader | None] = _kind(url).reader(url)
    return found


def tables_missing(problem: BaseException) -> bool:
    """Whether an error of a driver, or of SQLAlchemy over it, says that a table is not there."""
    cause = getattr(problem, "orig", None) or problem
    return state_postgres.tables_missing(cause) or state_sqlite.tables_missing(cause)


def is_conflict(problem: BaseException) -> bool:
    """Whether concurrent transactions of Postgres got in each other's way, so that one is run again."""
    cause = getattr(problem, "orig", None) or problem
    return getattr(cause, "sqlstate", None) in state_postgres.CONFLICTS


def _kind(url: str) -> ModuleType:
    return state_postgres if is_postgres(url) else state_sqlite
