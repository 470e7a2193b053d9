"""`data/catalog.duckdb`: a file of views only, replaced whole, that any stock DuckDB opens read-only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from quantctl.lake.files import fsync_dir, temporary_name
from quantctl.lake.ledger_tables import COLUMNS

VIEWS = (
    "runs", "lives", "ledger", "stages", "artifacts", "findings", "gates", "metrics", "weights", "vetoes",
    "lineage", "snapshots",
)  # fmt: skip


def quoted(value: str) -> str:
    """A string literal of SQL."""
    return "'" + value.replace("'", "''") + "'"


def part_view(table: str, files: Iterable[str], extra: str = "") -> str:
    """`CREATE VIEW parts.<table>` over Parquet files, plus rows of another relation."""
    listed = ", ".join(quoted(file) for file in files)
    columns = ", ".join(COLUMNS[table])
    empty = ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in COLUMNS[table].items())
    parts = f"SELECT {columns} FROM read_parquet([{listed}])" if listed else f"SELECT {empty} WHERE false"
    return f"CREATE VIEW parts.{table} AS {parts}" + (
        f" UNION ALL SELECT {columns} FROM {extra}" if extra else ""
    )


def define(
    connection: Any, files: Mapping[str, list[str]], definitions: Mapping[str, str], extra: str = ""
) -> None:
    """Create the views over parts, in a schema of their own, and the named views of `sql/`.

    files : table -> Parquet files
    definitions : view -> its query
    extra : prefix of relations (`<extra><table>`) whose rows come on top of the parts
    """
    connection.execute("CREATE SCHEMA parts")
    for table in COLUMNS:
        connection.execute(part_view(table, files.get(table, []), f"{extra}{table}" if extra else ""))
    for view in VIEWS:
        connection.execute(f"CREATE VIEW {view} AS {definitions[view]}")


def replace(path: Path, files: Mapping[str, list[str]], definitions: Mapping[str, str],
            lake_views: Mapping[str, str]) -> None:  # fmt: skip
    """Build the catalogue beside `path` and rename it into place. Paths in it are absolute."""
    import duckdb

    temporary = temporary_name(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(temporary)) as connection:
        define(connection, files, definitions)
        for name, query in lake_views.items():
            connection.execute(f"CREATE VIEW {name} AS {query}")
    temporary.replace(path)
    fsync_dir(path.parent)
