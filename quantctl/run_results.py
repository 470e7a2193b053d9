"""Where a run stands, with what its ledger says of gates, artifacts and metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quantctl.contracts.canonical import parse_strict
from quantctl.contracts.records.batch import PIPELINE
from quantctl.lake import artifact_index, ledger, state
from quantctl.progress import Progress, planned, progress
from quantctl.workflows.runs import RunStatus
from quantctl.workflows.runtime import Places


@dataclass(frozen=True)
class RunResult:
    """Where a run stands, where its files are, and what its gates said."""

    run_id: str
    state: str
    exit_code: int | None
    run_dir: Path
    status: RunStatus
    gates: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[dict[str, Any]] = field(default_factory=list)
    remedy: str = ""
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    children: Progress | None = None  # of a batch


def result_of(places: Places, found: RunStatus) -> RunResult:
    """A status with the gates, artifacts, metrics and remedy that the run's ledger names."""
    root = places.run_root(found.run_id)
    with state.reader(places.state_url) as connection:
        if connection is None:
            return RunResult(found.run_id, found.state, found.exit_code, root, found)
        return RunResult(
            found.run_id, found.state, found.exit_code, root, found,
            gates=_gates(connection, found.run_id),
            artifacts=artifact_index.rows(connection, found.run_id),
            remedy=_remedy(connection, found.run_id),
            metrics=_metrics(connection, found.run_id),
            children=_children(places, found),
        )  # fmt: skip


def _children(places: Places, found: RunStatus) -> Progress | None:
    if found.pipeline != PIPELINE:
        return None
    return progress(places, found.run_id, planned(places, found.run_id))


def _gates(connection: state.Reader, run_id: str) -> list[dict[str, Any]]:
    found = {}
    for record in ledger.records(connection, run_id):
        if record["type"] == "gate":
            data = record["data"]
            found[data["gate"]] = data | {"code": record["code"], "verdict": record["outputs"][0]["path"]}
    return list(found.values())


def _metrics(connection: state.Reader, run_id: str) -> dict[str, dict[str, Any]]:
    """What each stage reported with its last outcome."""
    return {
        record["step"]: record["data"]["metrics"]
        for record in ledger.records(connection, run_id)
        if record["type"] == "stage" and record["status"] in ("success", "failed")
    }


def _remedy(connection: state.Reader, run_id: str) -> str:
    """What the failed stage of a run said would cure it."""
    row = connection.execute(
        "SELECT record FROM run_ledger WHERE run_id = ? AND type = 'stage' AND status = 'failed'"
        " ORDER BY seq DESC LIMIT 1",
        (run_id,),
    ).fetchone()
    return str(parse_strict(row[0])["data"]["error"]["remedy"]) if row else ""
