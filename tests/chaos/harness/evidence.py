"""What an undisturbed run and a killed one must have in common, and where they differ."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
from timed import TIMED

from harness.market import Ground

# Files that carry time by nature, and columns of the SQL surface that do.
TIMED_COLUMNS = {
    "runs": "created_at, head_hash, head_ts, closed_at, stamp",
    "ledger": "ts, hash, prev_hash, span_id",  # a span that was cut by a kill is begun anew
    "artifacts": "",
    "weights": "", "scanned": "", "vetoes": "", "winners": "", "allocations": "",
}  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """A run that has ended, as far as time does not reach it.

    records : (seq, type, step, attempt, status, code, body hash) of each
    surface : table of `catalog.duckdb` -> its rows of this run
    tables : table of the lake -> logical hash
    """

    artifacts: dict[str, bytes]
    records: list[tuple[Any, ...]]
    surface: dict[str, list[tuple[Any, ...]]]
    tables: dict[str, str]


@dataclass
class Found:
    """What was compared, and what was wrong."""

    bytes: int = 0
    records: int = 0
    rows: int = 0
    differing_bytes: int = 0
    lost: int = 0
    doubled: int = 0
    problems: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.problems)


def gather(ground: Ground, run_id: str, *, timeless: bool = True) -> Evidence:
    """Read a run that has ended.

    timeless : its records and artifacts hold no time; those of DataOps do
    """
    records = _records(ground, run_id)
    kept = ("seq", "type", "step", "attempt", "status", "code", *(("body_hash",) if timeless else ()))
    return Evidence(
        _artifacts(ground.run_root(run_id)) if timeless else {},
        [tuple(record[name] for name in kept) for record in records],
        _surface(ground, run_id) if timeless else {},
        {} if timeless else _tables(ground),
    )


def compare(ours: Evidence, reference: Evidence, found: Found) -> None:
    """Add to `found` what differs."""
    for name in sorted(ours.artifacts.keys() | reference.artifacts.keys()):
        mine, its = ours.artifacts.get(name), reference.artifacts.get(name)
        found.bytes += len(its or b"")
        if mine != its:
            found.differing_bytes += _differing(mine or b"", its or b"")
            found.problems.append(f"artifact {name} differs: {_where(mine or b'', its or b'')}")
    found.records += len(reference.records)
    mine, its = (Counter(record[1:] for record in each.records) for each in (ours, reference))
    found.lost += (its - mine).total()
    found.doubled += (mine - its).total()
    if ours.records != reference.records:
        found.problems.append(f"records: lost {dict(its - mine)}, doubled or new {dict(mine - its)}")
    for table, rows in reference.surface.items():
        found.rows += len(rows)
        if ours.surface[table] != rows:
            found.problems.append(f"SQL projection of {table} differs")
    if ours.tables != reference.tables:
        found.problems.append(f"logical hashes of the lake: {ours.tables} instead of {reference.tables}")


def consistent(ground: Ground, run_id: str, found: Found) -> None:
    """Add to `found` what is wrong with a run by itself: chain, projections, what lies about."""
    verified = ground.start("ledger", "verify", run_id).wait()
    if verified.code:
        found.problems.append(f"ledger verify: {verified.output}")
    records = _records(ground, run_id)
    if [record["seq"] for record in records] != list(range(len(records))):
        found.problems.append("a sequence number is missing or there twice")
    lines = (ground.run_root(run_id) / "audit.jsonl").read_text().splitlines()
    if [json.loads(line) for line in lines] != records:
        found.problems.append("audit.jsonl is not the ledger")
    left = sorted(path.name for path in ground.run_root(run_id).rglob(".tmp-*"))
    if left:
        found.problems.append(f"temporaries are left in the run directory: {left}")
    ground("gc", "--older-than", "0")
    left = sorted(path.name for path in ground.data.rglob(".tmp-*"))
    if left:
        found.problems.append(f"gc leaves temporaries: {left}")


def _artifacts(root: Path) -> dict[str, bytes]:
    files = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
    return {
        name: path.read_bytes()
        for name, path in files.items()
        if name not in TIMED and not name.startswith("logs/")
    }


def _records(ground: Ground, run_id: str) -> list[dict[str, Any]]:
    from quantctl.lake import ledger, state

    with state.reader(ground.state_url) as connection:
        return list(ledger.records(connection, run_id)) if connection else []


def _surface(ground: Ground, run_id: str) -> dict[str, list[tuple[Any, ...]]]:
    """Rows of the run in the catalogue, as a stock DuckDB reads it."""
    with duckdb.connect(str(ground.data / "catalog.duckdb"), read_only=True) as connection:
        found = {}
        for table, timed in TIMED_COLUMNS.items():
            columns = f"* EXCLUDE ({timed})" if timed else "*"
            query = f"SELECT {columns} FROM parts.{table} WHERE run_id = ? ORDER BY ALL"
            found[table] = connection.execute(query, [run_id]).fetchall()
        return found


def _tables(ground: Ground) -> dict[str, str]:
    from quantctl.lake.snapshot import Lake

    facts = Lake(ground.data / "lakehouse").snapshot("latest").facts()
    return {name: str(body["logical_hash"]) for name, body in facts["tables"].items()}


def _where(mine: bytes, its: bytes) -> str:
    """The surroundings of the first byte that differs."""
    pairs = enumerate(zip(mine, its, strict=False))
    place = next((n for n, (a, b) in pairs if a != b), min(len(mine), len(its)))
    around = slice(max(0, place - 80), place + 80)
    return f"{mine[around]!r} instead of {its[around]!r}"


def _differing(mine: bytes, its: bytes) -> int:
    return sum(a != b for a, b in zip(mine, its, strict=False)) + abs(len(mine) - len(its))
