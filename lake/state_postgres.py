"""The state database in Postgres: our tables in schema `public`, the workflow engine's in `dbos`.

One search path over both lets the same SQL run as on SQLite. Readers use psycopg alone, and only a
Postgres URL imports it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from quantctl.contracts.errors import ConfigError, StateUnreachable
from quantctl.lake.state_faults import TablesMissing, unreachable

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Connection, Engine

SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
CONNECT_SECONDS = 5
SEARCH_PATH = "SET search_path TO public, dbos"
DDL_LOCK = 0x7175616E7463746C  # any constant of ours: one process at a time makes the tables
_REMEDY = "start the server, or check TV_STATE_URL, then repeat the command"
# SQLSTATEs that are no query's fault: connection, log-in, no such database, permission, resources, a lock
# that somebody holds, shutdown, the system below, damage, a standby.
_ENVIRONMENT = ("08", "28", "3D", "42501", "53", "55P03", "57P", "58", "XX", "25006")
CONFLICTS = ("40001", "40P01")  # serialization failure, deadlock
_TOKENS = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|\?")


def engine_url(url: str) -> str:
    """The URL as SQLAlchemy reads it; `STATE_URL_INVALID` (exit 2) for one that libpq can't read."""
    _parts(url)
    return "postgresql+psycopg://" + url.split("://", 1)[1]


def driver_url(url: str) -> str:
    """The URL as libpq reads it."""
    return "postgresql://" + url.split("://", 1)[1]


def _parts(url: str) -> SplitResult:
    """The URL taken apart; what is ambiguous is refused, for half a secret would pass as a host."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    with suppress(ValueError, ProgrammingError):
        parts = urlsplit(driver_url(url))
        ambiguous = parts.netloc.count("@") > 1 or "@" in parts.path or bool(parts.fragment)
        if not ambiguous and (parts.port is None or parts.port > 0):
            conninfo_to_dict(driver_url(url))
            return parts
    raise ConfigError(
        "STATE_URL_INVALID",
        "the URL of the state database can't be read; it is not repeated here, for it may hold a password",
        where="TV_STATE_URL",
        remedy="write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, special characters percent-encoded",
    )


def masked(url: str) -> str:
    """The URL without its secrets: user, host, port and database."""
    parts = _parts(url)
    given = dict(parse_qsl(parts.query))
    user = parts.username or given.get("user", "")
    host = parts.hostname or given.get("host", "")
    port = str(parts.port or given.get("port", ""))
    return f"postgresql://{user and user + '@'}{host}{port and ':' + port}{parts.path}"


def _without_secrets(text: str, url: str) -> str:
    parts = _parts(url)
    for secret in (parts.password, dict(parse_qsl(parts.query)).get("password")):
        for form in (secret, unquote(secret)) if secret else ():
            text = text.replace(form, "***")
    return text


def open_engine(url: str, ddl: Sequence[str]) -> Engine:
    """An engine for writers, our tables made once however many processes start together."""
    import sqlalchemy as sa

    engine = sa.create_engine(
        engine_url(url), pool_pre_ping=True, connect_args={"connect_timeout": CONNECT_SECONDS}
    )
    sa.event.listen(engine, "connect", _prepare)
    try:
        with engine.begin() as connection:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": DDL_LOCK})
            for statement in ddl:
                if _is_missing(connection, statement):
                    connection.execute(sa.text(_dialect(statement)))
    except (sa.exc.DBAPIError, sa.exc.ArgumentError) as problem:
        engine.dispose()
        raise fault(url, getattr(problem, "orig", None) or problem) from None
    return engine


def _prepare(connection: psycopg.Connection[Any], _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(SEARCH_PATH)
    connection.commit()  # the pool rolls back on return, which would undo the setting


def _is_missing(connection: Connection, statement: str) -> bool:
    """Whether a table or index is to be made. One that is there would be locked: a deadlock with writers."""
    import sqlalchemy as sa

    name = statement.partition(" IF NOT EXISTS ")[2].split()[0]
    return connection.execute(sa.text("SELECT to_regclass(:name) IS NULL"), {"name": name}).scalar() is True


def _dialect(statement: str) -> str:
    """Our DDL as Postgres takes it: 64-bit integers, text in byte order, and the `rowid` of SQLite."""
    statement = statement.replace(" INTEGER", " BIGINT").replace(" TEXT", ' TEXT COLLATE "C"')
    if statement.startswith("CREATE TABLE IF NOT EXISTS artifact_index"):
        return statement.replace("(", "(rowid BIGINT GENERATED ALWAYS AS IDENTITY, ", 1)
    return statement


@contextmanager
def reader(url: str) -> Iterator[Reader]:
    """A read-only transaction with one view of all tables; `STATE_UNREACHABLE` without a server."""
    import psycopg

    _parts(url)
    try:
        with psycopg.connect(
            driver_url(url),
            connect_timeout=CONNECT_SECONDS,
            cursor_factory=psycopg.RawCursor,
            row_factory=_rows,
        ) as connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.execute(SEARCH_PATH.encode())
            yield Reader(connection)
    except psycopg.Error as problem:
        raise fault(url, problem) from None


def durability(connection: Reader) -> tuple[str, str]:
    """Version and settings of the server, and the remedy where a commit might be lost."""
    names = ("server_version", "fsync", "synchronous_commit")
    found = {name: str(connection.execute(f"SHOW {name}").fetchone()[0]) for name in names}  # type: ignore[index]
    told = ", ".join(f"{name} {value}" for name, value in found.items())
    lasting = found["fsync"] == "on" and found["synchronous_commit"] not in ("off", "local")
    return f"Postgres, {told}", "" if lasting else "set fsync and synchronous_commit to on in postgresql.conf"


class Reader:
    """Queries with `?` placeholders; rows by index and by name."""

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self._connection = connection

    def execute(self, query: str, parameters: Sequence[Any] = ()) -> psycopg.Cursor[Row]:
        """Rows of a query; `TablesMissing` where the tables are not made yet."""
        import psycopg

        try:
            return self._connection.execute(numbered(query).encode(), parameters)
        except psycopg.Error as problem:
            if tables_missing(problem):
                raise TablesMissing(problem) from None
            raise


class Row(tuple[Any, ...]):
    """A row by index and by name; `dict(row)` works, as with `sqlite3.Row`."""

    names: tuple[str, ...] = ()

    def keys(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self.names

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(self.names.index(key) if isinstance(key, str) else key)


def _rows(cursor: psycopg.Cursor[Any]) -> Any:
    """Rows of one result share a class that knows their names."""
    return type("Row", (Row,), {"names": tuple(column.name for column in cursor.description or ())})


def numbered(query: str) -> str:
    """`?` placeholders as `$1, $2, ...`; those in literals, quoted names and comments stay."""
    count = 0

    def token(found: re.Match[str]) -> str:
        nonlocal count
        if found[0] != "?":
            return found[0]
        count += 1
        return f"${count}"

    return _TOKENS.sub(token, query)


def tables_missing(problem: BaseException) -> bool:
    """Whether a driver's error says that a table is not there."""
    return getattr(problem, "sqlstate", None) in ("42P01", "3F000")


def is_environment(problem: BaseException) -> bool:
    """Whether a driver's error is a fault of server, connection or disk, not of the query."""
    import psycopg

    sqlstate = getattr(problem, "sqlstate", None)
    if sqlstate is None:  # the connection was refused, or broke off
        return isinstance(problem, psycopg.OperationalError | psycopg.InterfaceError)
    return str(sqlstate).startswith(_ENVIRONMENT)


def fault(url: str, problem: BaseException) -> StateUnreachable:
    """`STATE_UNREACHABLE` for a driver's error, without the password."""
    return unreachable(_without_secrets(str(problem), url), masked(url), _REMEDY)
