"""`data/catalog.duckdb`: a file of views only, replaced whole, that any stock DuckDB opens read-only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from quantctl.lake.fault_points import reach
from quantctl.lake.files import disk_faults, fsync_dir, make_dirs, temporary_name
from quantctl.lake.ledger_index import Index
from quantctl.lake.ledger_tables import COLUMNS

VIEWS = (
    "runs", "attempts", "lives", "workers", "stages", "durations", "ledger", "events", "findings", "gates",
    "metrics", "artifacts", "lineage", "children", "snapshots", "scanned", "vetoes", "winners", "allocations",
    "weights", "holdings", "why_not",
)  # fmt: skip
# Views that read other views of `sql/`; all the rest reads parts only.
ON_VIEWS: dict[str, tuple[str, ...]] = {"durations": ("stages",)}


def quoted(value: str) -> str:
    """A string literal of SQL."""
    return "'" + value.replace("'", "''") + "'"


def rows_of(table: str, root: Path, index: Index, stale: Collection[str] = ()) -> str:
    """The query for the rows of a table in the parts that count, but for those of `stale` runs."""
    columns = ", ".join(COLUMNS[table])
    whole, parted = [], []
    for batch in index.batches:
        if table not in batch.files:
            continue
        file = quoted(str(root / batch.files[table]))
        if batch.gone:
            parted.append(f"SELECT {columns} FROM read_parquet({file}) WHERE {_outside(batch.gone)}")
        else:
            whole.append(file)
    selects = [f"SELECT {columns} FROM read_parquet([{', '.join(whole)}])"] if whole else []
    rows = " UNION ALL ".join([*selects, *parted])
    if not rows:
        empty = ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in COLUMNS[table].items())
        return f"SELECT {empty} WHERE false"
    return f"SELECT {columns} FROM ({rows}) WHERE {_outside(stale)}" if stale else rows


def _outside(run_ids: Collection[str]) -> str:
    return f"run_id NOT IN ({', '.join(quoted(run_id) for run_id in run_ids)})"


def with_grounds(views: Collection[str]) -> list[str]:
    """The named views and those that they read, each after what it reads."""
    ordered: list[str] = []
    for view in views:
        for needed in (*with_grounds(ON_VIEWS.get(view, ())), view):
            if needed not in ordered:
                ordered.append(needed)
    return ordered


def replace(
    path: Path, root: Path, index: Index, definitions: Mapping[str, str], lake_views: Mapping[str, str]
) -> None:
    """Build the catalogue beside `path` and rename it into place. Paths in it are absolute.

    root : directory of the parts
    definitions : view -> its query
    """
    import duckdb

    temporary = temporary_name(path)
    make_dirs(path.parent)
    with disk_faults(path):
        try:
            with duckdb.connect(str(temporary), config={"threads": 1}) as connection:
                _define(connection, root, index, definitions, lake_views)
            reach("catalog.built")
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    reach("catalog.swapped")
    fsync_dir(path.parent)


def _define(
    connection: Any,
    root: Path,
    index: Index,
    definitions: Mapping[str, str],
    lake_views: Mapping[str, str],
) -> None:
    connection.execute("BEGIN")  # one commit; each view of its own would be logged and synced
    connection.execute("CREATE SCHEMA parts")
    for table in COLUMNS:
        connection.execute(f"CREATE VIEW parts.{table} AS {rows_of(table, root, index)}")
    for view in with_grounds(VIEWS):
        connection.execute(f"CREATE VIEW {view} AS {definitions[view]}")
    for name, query in lake_views.items():
        connection.execute(f"CREATE VIEW {name} AS {query}")
    connection.execute("COMMIT")
