"""The state database: where it is, how it is opened, and our tables in it.

One file (SQLite) holds the workflow engine's tables and ours, so that a stage's records and its
checkpoint can't be separated by a power cut. Writers go through SQLAlchemy, because the engine's
datasource does; readers use sqlite3 alone, because start-up time is theirs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantctl.contracts.errors import ConfigError, StateUnreachable

if TYPE_CHECKING:
    from sqlalchemy import Engine

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
        worker TEXT PRIMARY KEY, started TEXT NOT NULL, ended TEXT)""",
    "CREATE INDEX IF NOT EXISTS runs_by_time ON runs (created_at)",
    "CREATE INDEX IF NOT EXISTS ledger_by_type ON run_ledger (type, run_id)",
)


_booking: ContextVar[Path | None] = ContextVar("booking", default=None)
_ENVIRONMENT = ("disk is full", "disk I/O error", "readonly database", "unable to open")


def default_url(data_dir: Path) -> str:
    """The embedded database below the data directory, as an absolute URL."""
    return f"sqlite:///{(data_dir / 'state' / 'quantctl.sqlite').resolve()}"


def sqlite_path(url: str) -> Path:
    """File of a `sqlite:///` URL; any other URL is `STATE_URL_UNSUPPORTED` (exit 2)."""
    prefix = "sqlite:///"
    if not url.startswith(prefix):
        raise ConfigError(
            "STATE_URL_UNSUPPORTED",
            f"this version keeps its state in SQLite, not in {url.split(':', 1)[0]!r}",
            where="TV_STATE_URL",
            remedy="unset TV_STATE_URL to use the embedded database",
        )
    return Path(url[len(prefix) :])


def open_engine(url: str) -> Engine:
    """Open the database for writing: WAL, `synchronous=FULL`, immediate transactions, our tables made.

    Raises `STATE_UNREACHABLE` (exit 5) when the file can't be opened or is not a database.
    """
    import sqlalchemy as sa

    path = sqlite_path(url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(url)
        sa.event.listen(engine, "connect", _prepare)
        sa.event.listen(engine, "handle_error", _unrecorded)
        with engine.begin() as connection:
            for statement in DDL:
                connection.execute(sa.text(statement))
    except (sa.exc.DBAPIError, OSError) as problem:
        raise _unreachable(path, problem) from None
    return engine


def _prepare(connection: Any, _record: Any) -> None:
    # DBOS leaves SQLite in rollback-journal mode, which costs several times more per step.
    connection.isolation_level = "IMMEDIATE"
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


@contextmanager
def booking(url: str) -> Iterator[None]:
    """Inside, a fault of the disk below the database is `STATE_UNREACHABLE` at once, also at commit.

    As an ordinary exception the workflow engine would checkpoint it, and every resume would replay it.
    """
    token = _booking.set(sqlite_path(url))
    try:
        yield
    finally:
        _booking.reset(token)


def _unrecorded(context: Any) -> None:
    path, problem = _booking.get(), context.original_exception
    if path is not None and any(words in str(problem) for words in _ENVIRONMENT):
        raise _unreachable(path, problem)


@contextmanager
def reader(url: str) -> Iterator[sqlite3.Connection | None]:
    """A read-only connection, or null where no database exists yet. Takes no lock on writers."""
    path = sqlite_path(url)
    if not path.exists():
        yield None
        return
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)
    except sqlite3.Error as problem:
        raise _unreachable(path, problem) from None
    connection.row_factory = sqlite3.Row
    try:
        yield connection
    except sqlite3.DatabaseError as problem:
        raise _unreachable(path, problem) from None
    finally:
        connection.close()


def _unreachable(path: Path, problem: Exception) -> StateUnreachable:
    return StateUnreachable(
        "STATE_UNREACHABLE",
        f"the state database can't be used: {problem}",
        where=str(path),
        remedy="check the file and its permissions, or restore it, then repeat the command",
    )
