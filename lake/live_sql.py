"""SQL over runs as of now: immutable parts for what was projected, the state database for the rest."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quantctl.contracts.canonical import parse_strict
from quantctl.contracts.errors import ConfigError, QuantError
from quantctl.lake import catalog, state
from quantctl.lake.ledger_tables import COLUMNS, SOURCES


@contextmanager
def connect(
    parts_dir: Path,
    state_url: str,
    definitions: Mapping[str, str],
    lake_views: Mapping[str, str],
    allowed: list[Path],
) -> Iterator[Any]:
    """An in-memory DuckDB with the views of `sql/`, current to the last commit of a live worker.

    Takes no lock, writes nothing, and reads no file outside `allowed`.
    """
    import duckdb

    connection = duckdb.connect()
    try:
        with tempfile.TemporaryDirectory() as scratch, state.reader(state_url) as ledger:
            parts = _current(parts_dir, ledger)
            _load_fresh(connection, ledger, parts, Path(scratch))
            files: dict[str, list[str]] = {}
            for part in parts:
                files.setdefault(part["table"], []).append(str(parts_dir / part["file"]))
            catalog.define(connection, files, definitions, "live.")
            for name, query in lake_views.items():
                connection.execute(f"CREATE VIEW {name} AS {query}")
            _fence(connection, allowed)
            yield connection
    finally:
        connection.close()


def _current(parts_dir: Path, ledger: state.Reader | None) -> list[dict[str, Any]]:
    """The parts whose runs all stand where the state database has them, and those made from artifacts."""
    try:
        parts = parse_strict((parts_dir / "parts.json").read_bytes())["parts"]
    except (FileNotFoundError, QuantError):
        return []
    if ledger is None:
        return []
    heads = {row[0]: row[1] for row in ledger.execute("SELECT run_id, head_seq FROM runs")}
    return [
        p
        for p in parts
        if p["table"] not in SOURCES or all(heads.get(run) == seq for run, seq in p["runs"].items())
    ]


def _load_fresh(
    connection: Any, ledger: state.Reader | None, parts: list[dict[str, Any]], scratch: Path
) -> None:
    connection.execute("CREATE SCHEMA live")
    for table, columns in COLUMNS.items():
        known = {run for part in parts if part["table"] == table for run in part["runs"]}
        described = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        connection.execute(f"CREATE TABLE live.{table} ({described})")
        if ledger is None or table not in SOURCES:
            continue
        path = scratch / f"{table}.ndjson"
        if _dump(ledger, table, known, path):
            kinds = ", ".join(f"{name}: '{kind}'" for name, kind in columns.items())
            connection.execute(
                f"INSERT INTO live.{table} SELECT * FROM read_json(?, format='newline_delimited',"
                f" columns={{{kinds}}})",
                [str(path)],
            )


def _dump(ledger: state.Reader, table: str, known: set[str], path: Path) -> int:
    source, order = SOURCES[table]
    runs = [row[0] for row in ledger.execute("SELECT run_id FROM runs ORDER BY run_id")]
    count = 0
    with path.open("w") as stream:
        for run_id in (run for run in runs if run not in known):
            query = f"SELECT {', '.join(COLUMNS[table])} FROM {source} WHERE run_id = ? ORDER BY {order}"
            for row in ledger.execute(query, (run_id,)):
                stream.write(json.dumps(dict(row)) + "\n")
                count += 1
    return count


def _fence(connection: Any, allowed: list[Path]) -> None:
    listed = ", ".join(catalog.quoted(f"{path}/") for path in allowed)
    connection.execute(f"SET allowed_directories = [{listed}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def run_query(connection: Any, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Columns and rows of one query; anything but a query is `SQL_READ_ONLY` (exit 2).

    Raises `SQL_PATH_FORBIDDEN` for a file outside the lake and `SQL_INVALID` for what does not parse.
    """
    import duckdb

    try:
        statements = connection.extract_statements(query)
        if len(statements) != 1 or statements[0].type.name not in ("SELECT", "EXPLAIN"):
            raise ConfigError(
                "SQL_READ_ONLY", "only one query is answered; the ledger is not written by SQL",
                remedy="begin with SELECT, WITH, DESCRIBE, SHOW or EXPLAIN",
            )  # fmt: skip
        cursor = connection.execute(statements[0])
        return [column[0] for column in cursor.description], cursor.fetchall()
    except duckdb.PermissionException as problem:
        raise ConfigError(
            "SQL_PATH_FORBIDDEN", str(problem).splitlines()[0], remedy="query the views"
        ) from None
    except duckdb.Error as problem:
        raise ConfigError(
            "SQL_INVALID", str(problem).splitlines()[0], remedy="quantctl sql 'SHOW TABLES'"
        ) from None
