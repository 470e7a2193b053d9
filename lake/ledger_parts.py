"""The SQL surface of the ledger as immutable Parquet parts, merged as they grow.

Nobody ever writes a DuckDB file in place (that would lock out every other process) and no part is
overwritten: a run that goes on gets new parts, its rows in older ones are left out by name until the next
merge drops them, and a file that counts no more is deleted after a grace period only, so a reader never
loses a file under its query.
"""

from __future__ import annotations

import fcntl
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from quantctl.contracts.canonical import sha256_hex
from quantctl.lake import ledger_index, retired_parts
from quantctl.lake.encoding import frame_bytes
from quantctl.lake.files import disk_faults, fsync_dir, make_dirs, rename_synced
from quantctl.lake.ledger_index import Batch, Index
from quantctl.lake.ledger_tables import COLUMNS, SOURCES, rows, stamps
from quantctl.lake.state import Reader

Made = Callable[[Reader, str], Mapping[str, list[tuple[Any, ...]]]]
_TYPES: dict[str, Any] = {"VARCHAR": pl.String, "BIGINT": pl.Int64, "DOUBLE": pl.Float64}


def project_run(root: Path, connection: Reader, run_id: str, made: Made) -> None:
    """Bring the parts of one run up to what the state database holds of it now.

    made : rows of the tables that are made from artifacts, per table, for one run

    Where there is no index that can be read, every run is projected: a surface that was deleted, or that
    another version left, comes back whole. To be called `alone`.
    """
    index = ledger_index.load(root)
    if index is None:
        index = _whole(root, connection, made)
    else:
        index = _with_run(root, index, connection, run_id, made)
    _save(root, index)


def rebuild(root: Path, connection: Reader, made: Made) -> int:
    """Make every part anew from the state database and the artifacts; returns the number of runs.

    The parts are those that projecting each run once, in the order in which the runs ended, would leave.
    To be called `alone`.
    """
    index = _whole(root, connection, made)
    _save(root, index)
    return sum(batch.runs for batch in index.batches)


class ProjectorBusyError(Exception):
    """Another process projects all the time, or sleeps over it."""


@contextmanager
def alone(root: Path, patience: float = math.inf) -> Iterator[None]:
    """One projector at a time: the index is read, changed and replaced.

    patience : seconds after which `ProjectorBusyError` is raised
    """
    make_dirs(root)
    with disk_faults(root):
        descriptor = os.open(root / "parts.lock", os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + patience
    try:
        while not _locked(descriptor):
            if time.monotonic() > deadline:
                raise ProjectorBusyError(str(root))
            time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _save(root: Path, index: Index) -> None:
    ledger_index.save(root, index)
    retired_parts.sweep(root, index.files())


def _whole(root: Path, connection: Reader, made: Made) -> Index:
    ordered = connection.execute(
        "SELECT run_id, head_seq + 1 FROM runs ORDER BY closed_at IS NULL, closed_at, run_id"
    )
    settled = ledger_index.settled((str(row[0]), int(row[1])) for row in ordered)
    return Index(batches=tuple(_batch(root, connection, runs, made) for runs in settled))


def _with_run(root: Path, index: Index, connection: Reader, run_id: str, made: Made) -> Index:
    row = connection.execute("SELECT created_at FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        return index
    batches = [left for b in index.batches if (left := _without(root, b, run_id, row[0])) is not None]
    batches.append(_batch(root, connection, [run_id], made))
    while places := ledger_index.due([batch.records for batch in batches]):
        merged = _merged(root, [batches[place] for place in places])
        batches = [*(b for place, b in enumerate(batches) if place not in places), merged]
    return Index(batches=tuple(batches))


def _without(root: Path, batch: Batch, run_id: str, created_at: str) -> Batch | None:
    """The batch with the run left out; null when nothing of it counts then."""
    if not batch.first <= created_at <= batch.last or run_id in batch.gone:
        return batch
    held = pl.scan_parquet(root / batch.files["runs"]).filter(pl.col("run_id") == run_id).select(pl.len())
    if not held.collect().item():
        return batch
    gone = (*batch.gone, run_id)
    return batch.model_copy(update={"gone": gone}) if len(gone) < batch.runs else None


def _batch(root: Path, connection: Reader, run_ids: Sequence[str], made: Made) -> Batch:
    """A batch of what the state database and the artifacts hold of these runs."""
    runs = sorted(run_ids)
    marks = stamps(connection, runs[0] if len(runs) == 1 else None)
    held: dict[str, list[tuple[Any, ...]]] = {table: [] for table in COLUMNS}
    for run_id in runs:
        found = made(connection, run_id)
        for table in COLUMNS:
            if table in SOURCES:
                held[table] += rows(connection, table, run_id, marks[run_id])
            else:
                held[table] += found[table]
    return _write(root, {table: _frame(table, held[table]) for table in COLUMNS})


def _frame(table: str, held: list[tuple[Any, ...]]) -> pl.DataFrame:
    schema = {name: _TYPES[kind] for name, kind in COLUMNS[table].items()}
    return pl.DataFrame(held, schema=schema, orient="row")


def _merged(root: Path, batches: Sequence[Batch]) -> Batch:
    """One batch of the rows that count of several."""
    frames = {}
    for table in COLUMNS:
        read = [
            pl.read_parquet(root / batch.files[table]).filter(~pl.col("run_id").is_in(batch.gone))
            for batch in batches if table in batch.files
        ]  # fmt: skip
        frames[table] = pl.concat([_frame(table, []), *read])
    return _write(root, frames)


def _write(root: Path, frames: Mapping[str, pl.DataFrame]) -> Batch:
    """Write the tables of a batch. Sorted by run, so that its bytes depend on what it holds only."""
    files, written = {}, []
    for table, frame in frames.items():
        if frame.height:
            data = frame_bytes(frame.sort("run_id", maintain_order=True).rechunk())
            files[table] = f"{table}-{sha256_hex(data)[:32]}.parquet"
            written.append((data, root / files[table]))
    rename_synced(pair for pair in written if not pair[1].exists())
    fsync_dir(root)
    created = frames["runs"]["created_at"]
    return Batch(
        runs=len(created),
        records=frames["ledger"].height,
        first=created.min(),
        last=created.max(),
        files=files,
    )
