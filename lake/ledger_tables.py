"""Columns of the ledger's SQL surface, shared by its parts and its views."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from quantctl.lake.state import Reader

_TEXT, _INT, _FLOAT = "VARCHAR", "BIGINT", "DOUBLE"

COLUMNS: dict[str, dict[str, str]] = {
    "runs": {
        "run_id": _TEXT, "profile": _TEXT, "pipeline": _TEXT, "trace_id": _TEXT, "as_of": _TEXT,
        "snapshot": _TEXT, "created_at": _TEXT, "state": _TEXT, "stage": _TEXT, "attempt": _INT,
        "exit_code": _INT, "code": _TEXT, "message": _TEXT, "head_seq": _INT, "head_hash": _TEXT,
        "head_ts": _TEXT, "closed_at": _TEXT, "stamp": _TEXT,
    },
    "ledger": {
        "run_id": _TEXT, "seq": _INT, "ts": _TEXT, "type": _TEXT, "step": _TEXT, "attempt": _INT,
        "status": _TEXT, "code": _TEXT, "body_hash": _TEXT, "hash": _TEXT, "profile": _TEXT,
        "trace_id": _TEXT, "span_id": _TEXT, "prev_hash": _TEXT, "data": _TEXT, "inputs": _TEXT,
        "outputs": _TEXT,
    },
    "lives": {
        "run_id": _TEXT, "life": _INT, "worker": _TEXT, "started": _TEXT, "ended": _TEXT,
        "reason": _TEXT,
    },
    "artifacts": {
        "run_id": _TEXT, "path": _TEXT, "name": _TEXT, "sha256": _TEXT, "rows": _INT, "bytes": _INT,
        "contract": _TEXT, "step": _TEXT, "attempt": _INT,
    },
    "weights": {
        "run_id": _TEXT, "space": _TEXT, "risk_profile": _TEXT, "status": _TEXT, "symbol": _TEXT,
        "weight": _FLOAT, "net_weight": _FLOAT, "direction": _TEXT, "cluster_id": _TEXT, "type": _TEXT,
    },
    "scanned": {
        "run_id": _TEXT, "scanner": _TEXT, "symbol": _TEXT, "last_rule": _TEXT, "code": _TEXT,
        "value": _FLOAT, "threshold": _FLOAT,
    },
    "vetoes": {
        "run_id": _TEXT, "source": _TEXT, "rule": _TEXT, "risk_profile": _TEXT, "symbol": _TEXT,
        "atom": _TEXT, "code": _TEXT, "class": _TEXT, "value": _FLOAT, "threshold": _FLOAT,
    },
    "winners": {
        "run_id": _TEXT, "symbol": _TEXT, "atom": _TEXT, "logic": _TEXT, "direction": _TEXT, "cluster": _TEXT,
        "rank": _INT, "alpha_score": _FLOAT, "stage_admitted": _INT,
    },
    "allocations": {
        "run_id": _TEXT, "space": _TEXT, "risk_profile": _TEXT, "status": _TEXT, "reason": _TEXT,
        "gross": _FLOAT, "net": _FLOAT, "cash": _FLOAT, "assets": _INT,
    },
}  # fmt: skip

# Where the state database keeps a table, and the order of its rows within a run; the others are made
# from artifacts.
SOURCES: dict[str, tuple[str, str]] = {
    "runs": ("runs", "run_id"),
    "ledger": ("run_ledger", "seq"),
    "lives": ("run_lives", "life"),
    "artifacts": ("artifact_index", "path"),
}
_RECORD = ("profile", "trace_id", "span_id", "prev_hash", "data", "inputs", "outputs")


def rows(connection: Reader, table: str, run_id: str, stamp: str | None = None) -> list[tuple[Any, ...]]:
    """The rows of one run in a table of `SOURCES`, in their order; `stamp` goes into that of `runs`."""
    source, order = SOURCES[table]
    apart = {"runs": ("stamp",), "ledger": _RECORD}.get(table, ())
    columns = [name for name in COLUMNS[table] if name not in apart] + ["record"] * (table == "ledger")
    query = f"SELECT {', '.join(columns)} FROM {source} WHERE run_id = ? ORDER BY {order}"
    found = connection.execute(query, (run_id,))
    if table == "ledger":
        return [(*tuple(row)[:-1], *_told(row["record"])) for row in found]
    return [(*row, stamp) if table == "runs" else tuple(row) for row in found]


def _told(record: str) -> Iterator[Any]:
    """What only the record itself holds; structures as JSON text."""
    parsed = json.loads(record)
    for name in _RECORD:
        value = parsed[name]
        structured = isinstance(value, (dict, list))
        yield json.dumps(value, ensure_ascii=False, separators=(",", ":")) if structured else value


def stamps(connection: Reader, run_id: str | None = None) -> dict[str, str]:
    """Run -> a text that changes with every record and with every life that begins or ends.

    Parts keep the stamp under which a run was projected: where it differs from that of the state database,
    the parts are behind. Of one run, or of all.
    """
    only, given = (" WHERE run_id = ?", (run_id,)) if run_id is not None else ("", ())
    heads = connection.execute(f"SELECT run_id, head_seq FROM runs{only}", given)
    found = {row[0]: f"{row[1]}.1.1" for row in heads}
    # Nearly every run has one life that ended; the others are few.
    lives = connection.execute(
        "SELECT run_id, max(life) + 1, count(ended) FROM run_lives WHERE run_id IN"
        f" (SELECT run_id FROM run_lives WHERE {'run_id = ? AND ' if only else ''}"
        "(life > 0 OR ended IS NULL)) GROUP BY run_id",
        given,
    )
    for run, begun, ended in lives:
        if run in found:
            found[run] = f"{found[run].partition('.')[0]}.{begun}.{ended}"
    return found
