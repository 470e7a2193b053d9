"""DuckDB over a snapshot: one view per table, in a catalogue file that is built once and never changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from quantctl.contracts.errors import ConfigError
from quantctl.lake.files import disk_faults, fsync_dir, make_dirs, temporary_name
from quantctl.lake.knowledge import visible_sql
from quantctl.lake.parts import Part
from quantctl.lake.reading import check_size, overlap
from quantctl.lake.tables import Table, table_of

if TYPE_CHECKING:
    import polars as pl

    from quantctl.lake.pinned import Snapshot

_SQL_TYPES = {
    "f64": "DOUBLE", "i64": "BIGINT", "i32": "INTEGER", "i16": "SMALLINT", "i8": "TINYINT",
    "bool": "BOOLEAN", "utf8": "VARCHAR", "date": "DATE", "instant_us": "TIMESTAMPTZ",
    "decimal_18": "DECIMAL(38,18)",
}  # fmt: skip


def queries(snapshot: Snapshot) -> dict[str, str]:
    """The query of each table of `snapshot`, as visible at its knowledge time, one row per key.

    Raises `SNAPSHOT_CORRUPT` if a part is missing.
    """
    return {name: _query(snapshot, name) for name in snapshot.manifest.tables}


def _query(snapshot: Snapshot, name: str) -> str:
    table, parts = table_of(name), snapshot.parts(name)
    state = snapshot.manifest.tables[name]
    columns = {column: state.columns[column] for column in state.frame_schema(table)}
    for part in parts:
        check_size(part.path(snapshot.root, name), part)
    entangled = _entangled(parts)
    plain = [part for i, part in enumerate(parts) if i not in entangled]
    rivals = [part for i, part in enumerate(parts) if i in entangled]
    if not parts:
        nothing = ", ".join(f"CAST(NULL AS {_SQL_TYPES[t]}) AS {_name(c)}" for c, t in columns.items())
        return f"SELECT {nothing} WHERE false"
    condition = visible_sql(table, snapshot.knowledge_time, snapshot.closed_today(snapshot.knowledge_time))
    listed = ", ".join(_name(c) for c in columns)
    selects = []
    if plain:
        selects.append(f"SELECT {listed} FROM {_files(snapshot, name, plain, columns)} WHERE {condition}")
    if rivals:
        selects.append(_last(table, _files(snapshot, name, rivals, columns), listed, condition))
    return " UNION ALL ".join(selects)


def _last(table: Table, files: str, listed: str, condition: str) -> str:
    key = ", ".join(_name(c) for c in table.key)
    newest = "commit_order DESC" if table.timeless else "commit_order DESC, known_at DESC"
    return (
        f"SELECT {listed} FROM (SELECT *, file_index AS commit_order FROM {files}) WHERE {condition} "
        f"QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {newest}) = 1"
    )


def _files(snapshot: Snapshot, name: str, parts: Sequence[Part], columns: dict[str, str]) -> str:
    rows = []
    for order, part in enumerate(parts):
        path = literal(str(part.path(snapshot.root, name)))
        rows.append(f"SELECT *, {order} AS file_index FROM read_parquet({path})")
    empty = ", ".join(f"CAST(NULL AS {_SQL_TYPES[t]}) AS {_name(c)}" for c, t in columns.items())
    union = " UNION ALL BY NAME ".join([f"SELECT {empty}, -1 AS file_index WHERE false", *rows])
    return f"({union})"


def _entangled(parts: Sequence[Part]) -> set[int]:
    """Indices of the parts that may share a key with another part or hold several versions of one."""
    found = {i for i, part in enumerate(parts) if part.versions}
    for group in _concurrent(parts):
        for place, i in enumerate(group):
            rivals = [j for j in group[place + 1 :] if overlap(parts[i], parts[j])]
            found |= {i, *rivals} if rivals else set()
    return found


def _concurrent(parts: Sequence[Part]) -> list[list[int]]:
    """Indices of parts grouped so that the time ranges of two groups never meet."""
    groups: list[list[int]] = []
    latest = ""
    for i in sorted(range(len(parts)), key=lambda i: (parts[i].time or ("", ""))[0]):
        span = parts[i].time
        if not groups or (span is not None and span[0] > latest):
            groups.append([])
        groups[-1].append(i)
        latest = max(latest, span[1]) if span is not None else chr(0x10FFFF)
    return groups


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def catalogue(snapshot: Snapshot) -> Path:
    """The catalogue file of `snapshot`, built if it is absent."""
    target = snapshot.root / "catalog" / f"{snapshot.id}.duckdb"
    if target.exists():
        return target
    import duckdb

    make_dirs(target.parent)
    temporary = temporary_name(target)
    with duckdb.connect(str(temporary)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, query in queries(snapshot).items():
            connection.execute(f"CREATE VIEW {_name(name)} AS {query}")
    with disk_faults(target):
        temporary.replace(target)
    fsync_dir(target.parent)
    return target


def answer(snapshot: Snapshot, query: str) -> pl.DataFrame:
    """The rows of a query over the tables of `snapshot`; it can read nothing but the snapshot's files.

    Raises `LAKE_SQL` if DuckDB refuses the query.
    """
    import duckdb
    import polars as pl

    with duckdb.connect(str(catalogue(snapshot)), read_only=True) as connection:
        for setting in _settings(snapshot):
            connection.execute(setting)
        try:
            kinds = [statement.type for statement in connection.extract_statements(query)]
            if kinds != [duckdb.StatementType.SELECT]:
                raise _unanswered("only one SELECT can be answered")
            return pl.DataFrame(connection.sql(query))
        except duckdb.Error as problem:
            raise _unanswered(str(problem).splitlines()[0]) from None


def _unanswered(message: str) -> ConfigError:
    remedy = "give one SELECT over the tables of the snapshot; SHOW TABLES lists them"
    return ConfigError("LAKE_SQL", message, where="query", remedy=remedy)


def _settings(snapshot: Snapshot) -> tuple[str, ...]:
    return (
        "SET TimeZone = 'UTC'",
        f"SET allowed_directories = [{literal(str(snapshot.root / 'parts'))}]",
        "SET enable_external_access = false",
        "SET lock_configuration = true",
    )
