"""The SQL surface of the ledger as immutable Parquet parts, one set per run, merged as they grow.

Nobody ever writes a DuckDB file in place (that would lock out every other process) and no part is
overwritten: a run that goes on gets a new part, and the old one is deleted after a grace period, so a
reader never loses a file under its query. `parts.json` says which parts count.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from quantctl.contracts.canonical import canonical, parse_strict, sha256_hex
from quantctl.contracts.errors import QuantError
from quantctl.lake.encoding import frame_bytes
from quantctl.lake.files import write_atomic
from quantctl.lake.ledger_tables import COLUMNS, SOURCES
from quantctl.lake.state import Reader

GRACE_SECONDS = 120.0
FAN_IN = 16  # parts of one level that are merged into one of the next
_TYPES: dict[str, Any] = {"VARCHAR": pl.String, "BIGINT": pl.Int64, "DOUBLE": pl.Float64}


def load_index(root: Path) -> list[dict[str, Any]]:
    """The parts that count: `{table, file, level, runs: {run_id: head_seq}}`."""
    try:
        parts: list[dict[str, Any]] = parse_strict((root / "parts.json").read_bytes())["parts"]
    except (FileNotFoundError, QuantError, KeyError):
        return []
    return parts


def project_run(
    root: Path, connection: Reader, run_id: str, made: Mapping[str, list[tuple[Any, ...]]]
) -> None:
    """Replace the parts of one run by parts of what the state database holds of it now.

    made : table -> rows of the tables that are made from artifacts
    """
    head = connection.execute("SELECT head_seq FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if head is None:
        return
    with _alone(root):
        _replace(root, connection, run_id, head[0], made)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One projector at a time: `parts.json` is read, changed and replaced."""
    root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(root / "parts.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(
    root: Path,
    connection: Reader,
    run_id: str,
    head: int,
    made: Mapping[str, list[tuple[Any, ...]]],
) -> None:
    parts = [part for part in load_index(root) if run_id not in part["runs"] or len(part["runs"]) > 1]
    parts = [_without(root, part, run_id) if run_id in part["runs"] else part for part in parts]
    for table in COLUMNS:
        rows = made[table] if table in made else _rows(connection, table, run_id)
        schema = {name: _TYPES[kind] for name, kind in COLUMNS[table].items()}
        frame = pl.DataFrame(rows, schema=schema, orient="row")
        parts.append(_write(root, table, frame, 0, {run_id: head}))
    _save(root, _merged(root, parts))
    _sweep(root)


def _rows(connection: Reader, table: str, run_id: str) -> list[tuple[Any, ...]]:
    source, order = SOURCES[table]
    query = f"SELECT {', '.join(COLUMNS[table])} FROM {source} WHERE run_id = ? ORDER BY {order}"
    return [tuple(row) for row in connection.execute(query, (run_id,))]


def _write(root: Path, table: str, frame: pl.DataFrame, level: int, runs: dict[str, int]) -> dict[str, Any]:
    data = frame_bytes(frame)
    name = f"{table}/{sha256_hex(data)[:32]}.parquet"
    write_atomic(root / name, data)
    return {"table": table, "file": name, "level": level, "runs": runs}


def _without(root: Path, part: dict[str, Any], run_id: str) -> dict[str, Any]:
    frame = pl.read_parquet(root / part["file"]).filter(pl.col("run_id") != run_id)
    runs = {run: head for run, head in part["runs"].items() if run != run_id}
    return _write(root, part["table"], frame, part["level"], runs)


def _merged(root: Path, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for table in COLUMNS:
        level = 0
        while True:
            group = [p for p in parts if p["table"] == table and p["level"] == level]
            if len(group) < FAN_IN:
                break
            frame = pl.concat([pl.read_parquet(root / p["file"]) for p in group])
            runs = {run: head for p in group for run, head in p["runs"].items()}
            parts = [p for p in parts if p not in group] + [_write(root, table, frame, level + 1, runs)]
            level += 1
    return parts


def _save(root: Path, parts: list[dict[str, Any]]) -> None:
    parts.sort(key=lambda part: (part["table"], -part["level"], part["file"]))
    write_atomic(root / "parts.json", canonical({"parts": parts}))


def _sweep(root: Path) -> None:
    """Delete parts that stopped counting longer than the grace period ago."""
    counted = {part["file"] for part in load_index(root)}
    for table in COLUMNS:
        for path in sorted((root / table).glob("*.parquet")):
            marker = path.with_suffix(".retired")
            if f"{table}/{path.name}" in counted:
                marker.unlink(missing_ok=True)
                continue
            if not marker.exists():
                marker.touch()
            elif time.time() - marker.stat().st_mtime > GRACE_SECONDS:
                path.unlink(missing_ok=True)
                marker.unlink(missing_ok=True)
