"""Columns of the ledger's SQL surface, shared by its parts and its views."""

from __future__ import annotations

_TEXT, _INT, _FLOAT = "VARCHAR", "BIGINT", "DOUBLE"

COLUMNS: dict[str, dict[str, str]] = {
    "runs": {
        "run_id": _TEXT, "profile": _TEXT, "pipeline": _TEXT, "trace_id": _TEXT, "as_of": _TEXT,
        "snapshot": _TEXT, "created_at": _TEXT, "state": _TEXT, "stage": _TEXT, "attempt": _INT,
        "exit_code": _INT, "code": _TEXT, "message": _TEXT, "head_seq": _INT, "head_hash": _TEXT,
        "head_ts": _TEXT, "closed_at": _TEXT,
    },
    "ledger": {
        "run_id": _TEXT, "seq": _INT, "ts": _TEXT, "type": _TEXT, "step": _TEXT, "attempt": _INT,
        "status": _TEXT, "code": _TEXT, "body_hash": _TEXT, "hash": _TEXT, "record": _TEXT,
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
    "vetoes": {
        "run_id": _TEXT, "source": _TEXT, "symbol": _TEXT, "atom": _TEXT, "code": _TEXT, "class": _TEXT,
        "value": _FLOAT, "threshold": _FLOAT,
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
