"""The two copies of a run's ledger as they are, held to nothing: rows of the state database, and a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from quantctl.lake import state
from quantctl.lake.files import disk_faults
from quantctl.lake.state import Reader

_COLUMNS = ("seq", "ts", "type", "step", "attempt", "status", "code", "body_hash", "hash", "run_id")
_AT_WORK = ("PENDING", "ENQUEUED", "DELAYED")  # states of the engine in which projections may be behind
_ENDS = ("SUCCESS", "FAILED", "CANCELLED")
_RUN = (
    "head_seq", "head_hash", "state", "exit_code", "code", "closed_at", "attempt", "profile", "trace_id",
    "pipeline", "snapshot",
)  # fmt: skip
_BESIDE = ("run_ledger", "artifact_index", "run_lives")


class Kept(NamedTuple):
    """What the state database holds of a run: its row, and each record with the columns beside it.

    over : whether the run has ended, so that its ledger is closed and every projection written
    lines : the records as `audit.jsonl` has them, with their ends
    """

    run: dict[str, Any]
    over: bool
    lines: list[bytes]
    columns: list[tuple[Any, ...]]

    def strayed(self, records: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, str]]:
        """(line, names) of records whose columns say something else than the record."""
        for place, (record, columns) in enumerate(zip(records, self.columns, strict=False)):
            pairs = zip(_COLUMNS, columns, strict=True)
            wrong = [name for name, value in pairs if record.get(name) != value]
            if wrong:
                yield place, ", ".join(wrong)


def kept(connection: Reader | None, run_id: str) -> Kept | None:
    """The copy in the state database; null where it does not know the run."""
    if connection is None:
        return None
    try:
        run = connection.execute(f"SELECT {', '.join(_RUN)} FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        if run is None:
            return None
        found = connection.execute(
            f"SELECT record, {', '.join(_COLUMNS)} FROM run_ledger WHERE run_id = ? ORDER BY seq", (run_id,)
        ).fetchall()
    except state.TablesMissing:
        return None
    lines = [str(row[0]).encode(errors="surrogatepass") + b"\n" for row in found]
    return Kept(dict(run), _over(connection, run_id, run["state"]), lines, [tuple(row)[1:] for row in found])


def _over(connection: Reader, run_id: str, said: str) -> bool:
    if said not in _ENDS:
        return False
    query = "SELECT status FROM workflow_status WHERE workflow_uuid = ?"
    try:
        row = connection.execute(query, (run_id,)).fetchone()
    except state.TablesMissing:
        return True
    return row is None or row[0] not in _AT_WORK


def run_ids(connection: Reader | None) -> list[str]:
    """Every run that has a ledger, oldest first; then those of which only records are left."""
    if connection is None:
        return []
    try:
        found = connection.execute("SELECT run_id FROM runs ORDER BY created_at, run_id").fetchall()
        bare = connection.execute(
            "SELECT DISTINCT run_id FROM run_ledger WHERE run_id NOT IN (SELECT run_id FROM runs)"
            " ORDER BY run_id"
        ).fetchall()
    except state.TablesMissing:
        return []
    return [str(row[0]) for row in (*found, *bare)]


def tables_with(connection: Reader | None, run_id: str) -> list[str]:
    """Tables beside that of the runs which have rows of a run."""
    try:
        return [] if connection is None else [table for table in _BESIDE if _has(connection, table, run_id)]
    except state.TablesMissing:
        return []


def _has(connection: Reader, table: str, run_id: str) -> bool:
    query = f"SELECT 1 FROM {table} WHERE run_id = ? LIMIT 1"
    return connection.execute(query, (run_id,)).fetchone() is not None


def file_lines(root: Path) -> list[bytes] | None:
    """The lines of `audit.jsonl` in a run directory with their ends; null where there is no such file."""
    path = root / "audit.jsonl"
    with disk_faults(path):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
    *whole, rest = data.split(b"\n")
    return [line + b"\n" for line in whole] + ([rest] if rest else [])
