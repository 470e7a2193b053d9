"""SQL over runs as of now: immutable parts for what was projected, the state database for the rest."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from quantctl.contracts.errors import ConfigError
from quantctl.lake import catalog, ledger_index, state
from quantctl.lake.ledger_index import Index
from quantctl.lake.ledger_tables import COLUMNS, SOURCES, rows, stamps

CHUNK = 5_000  # rows that are handed to DuckDB at a time
# Words of queries that ask for the list of views; for others only the views they name are made.
_ASKS_FOR_ALL = re.compile(
    r"^\s*desc\b|\b(show|describe|information_schema|pragma\w*|duckdb_\w+|sqlite_\w+)\b"
)


@dataclass(frozen=True)
class Surface:
    """Where the rows come from.

    parts : directory of the parts
    definitions : the views of `sql/`; lake_views : gives those of the newest snapshot
    made : the rows of one run that are made from artifacts, per table
    allowed : directories that a query may read
    """

    parts: Path
    state_url: str
    definitions: Mapping[str, str]
    lake_views: Callable[[], Mapping[str, str]]
    made: Callable[[state.Reader, str], Mapping[str, list[tuple[Any, ...]]]]
    allowed: Sequence[Path]


def answer(surface: Surface, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Columns and rows of one query, current to the last commit of a live worker.

    Takes no lock, writes nothing, and reads no file outside `allowed`. Anything but a query is
    `SQL_READ_ONLY` (exit 2); raises `SQL_PATH_FORBIDDEN` for a file outside the lake and `SQL_INVALID` for
    what does not parse.
    """
    import duckdb

    with duckdb.connect() as connection:
        with _typed():
            _only_query(connection, query)
        views = _Views(connection, surface)
        named = _named(query)
        views.define(named)
        if len(named) == len(catalog.VIEWS):
            views.define_lake()
        _fence(connection, surface.allowed)
        with _typed():
            try:
                return _rows(connection, query)
            except duckdb.CatalogException:  # a table of the lake, or misspelt: then all names are suggested
                views.define(catalog.VIEWS)
                views.define_lake()
                return _rows(connection, query)


def _named(query: str) -> Collection[str]:
    """The views that a query names; all of them where it names none or asks for the list."""
    words = set(re.findall(r"\w+", query.lower()))
    if _ASKS_FOR_ALL.search(query.lower()) or words.isdisjoint(catalog.VIEWS):
        return catalog.VIEWS
    return words.intersection(catalog.VIEWS)


def _rows(connection: Any, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    cursor = connection.execute(query)
    return [column[0] for column in cursor.description], cursor.fetchall()


def _only_query(connection: Any, query: str) -> None:
    statements = connection.extract_statements(query)
    if len(statements) != 1 or statements[0].type.name not in ("SELECT", "EXPLAIN"):
        raise ConfigError(
            "SQL_READ_ONLY", "only one query is answered; the ledger is not written by SQL",
            remedy="begin with SELECT, WITH, DESCRIBE, SHOW or EXPLAIN",
        )  # fmt: skip


@contextmanager
def _typed() -> Iterator[None]:
    """DuckDB's errors as ours."""
    import duckdb

    try:
        yield
    except duckdb.PermissionException as problem:
        message = str(problem).splitlines()[0]
        raise ConfigError("SQL_PATH_FORBIDDEN", message, remedy="query the views") from None
    except duckdb.Error as problem:
        message = str(problem).splitlines()[0]
        raise ConfigError("SQL_INVALID", message, remedy="quantctl sql 'SHOW TABLES'") from None


class _Views:
    """The views of one connection, made when they are needed: reading every source costs more than most
    queries do."""

    def __init__(self, connection: Any, surface: Surface) -> None:
        self.connection = connection
        self.surface = surface
        self._made: set[str] = set()
        self._tables = self._lake = False

    def define(self, names: Collection[str]) -> None:
        """Make those of these views that are not there yet, and what they read."""
        wanted = catalog.with_grounds([view for view in catalog.VIEWS if view in names])
        if wanted and not self._tables:
            self._define_tables()
        for view in wanted:
            if view not in self._made:
                self.connection.execute(f"CREATE VIEW {view} AS {self.surface.definitions[view]}")
                self._made.add(view)

    def define_lake(self) -> None:
        """Make the views of the newest snapshot's tables, if they are not there yet."""
        if not self._lake:
            for name, query in self.surface.lake_views().items():
                self.connection.execute(f"CREATE VIEW {name} AS {query}")
            self._lake = True

    def _define_tables(self) -> None:
        """Tables of parts, without the runs that moved on since; theirs come from the state database."""
        surface, self._tables = self.surface, True
        with state.reader(surface.state_url) as ledger:
            index = ledger_index.load(surface.parts) or Index()
            if ledger is None:
                index = Index()
            fresh, gone = _behind(self.connection, surface.parts, index, ledger)
            self.connection.execute("CREATE SCHEMA live")
            self.connection.execute("CREATE SCHEMA parts")
            live = _live_tables(self.connection, surface, ledger, fresh)
        for table in COLUMNS:
            projected = catalog.rows_of(table, surface.parts, index, {*fresh, *gone})
            more = f" UNION ALL SELECT * FROM live.{table}" if table in live else ""
            self.connection.execute(f"CREATE VIEW parts.{table} AS {projected}{more}")


def _behind(
    connection: Any, root: Path, index: Index, ledger: state.Reader | None
) -> tuple[list[str], list[str]]:
    """Runs that the parts do not have as they are now, and those that only the parts have."""
    try:
        now = stamps(ledger) if ledger is not None else {}
    except state.TablesMissing:
        now = {}
    held = dict(
        connection.execute(f"SELECT run_id, stamp FROM ({catalog.rows_of('runs', root, index)})").fetchall()
    )
    fresh = [run_id for run_id, stamp in now.items() if held.get(run_id) != stamp]
    return sorted(fresh), sorted(held.keys() - now.keys())


def _live_tables(
    connection: Any, surface: Surface, ledger: state.Reader | None, fresh: Sequence[str]
) -> set[str]:
    """Make `live.<table>` for every table that has rows of these runs; returns the tables."""
    if ledger is None:
        return set()
    live = set()
    for table, columns in COLUMNS.items():
        found = _dump(surface, ledger, table, fresh)
        while chunk := list(islice(found, CHUNK)):
            if table not in live:
                kinds = ", ".join(f"{name} {kind}" for name, kind in columns.items())
                connection.execute(f"CREATE TABLE live.{table} ({kinds})")
                live.add(table)
            shape = json.dumps([dict(columns)])
            connection.execute(
                f"INSERT INTO live.{table} SELECT unnest(from_json(?, ?), recursive := true)",
                [json.dumps(chunk), shape],
            )
    return live


def _dump(
    surface: Surface, ledger: state.Reader, table: str, run_ids: Sequence[str]
) -> Iterator[dict[str, Any]]:
    for run_id in run_ids:
        found = rows(ledger, table, run_id) if table in SOURCES else surface.made(ledger, run_id)[table]
        for row in found:
            yield dict(zip(COLUMNS[table], row, strict=True))


def _fence(connection: Any, allowed: Sequence[Path]) -> None:
    listed = ", ".join(catalog.quoted(f"{path}/") for path in allowed)
    connection.execute(f"SET allowed_directories = [{listed}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
