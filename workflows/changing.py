"""What the holder of the lock does to a run that is not executing: run it again, or close it."""

from __future__ import annotations

from quantctl.contracts.errors import ConfigError, StateUnreachable
from quantctl.lake import artifact_index, state
from quantctl.lake.rundir import RunDirectory
from quantctl.workflows import book, runs
from quantctl.workflows.names import first_operation
from quantctl.workflows.registry import build
from quantctl.workflows.runs import RunStatus
from quantctl.workflows.runtime import Places
from quantctl.workflows.worker import Worker


def retry_stage(places: Places, run_id: str, from_stage: str | None) -> str:
    """The stage at which a FAILED run begins again: the first failed one, or an earlier one.

    Raises `RUN_NOT_FAILED`, `STAGE_UNKNOWN`, `RETRY_STAGE_LATER` (exit 2).
    """
    known = runs.require_status(places, run_id)
    if known.state != "FAILED":
        raise ConfigError(
            "RUN_NOT_FAILED", f"run {run_id} is {known.state}; only a FAILED run is retried",
            remedy=f"quantctl status {run_id}",
        )  # fmt: skip
    pipeline = build(known.pipeline)
    failed = pipeline.index(_failed_stage(places, run_id, known.attempt))
    first = pipeline.index(from_stage) if from_stage else failed
    if first > failed:
        raise ConfigError(
            "RETRY_STAGE_LATER",
            f"{from_stage} comes after {pipeline.stages[failed].id}, which failed",
            remedy=f"choose {pipeline.stages[failed].id} or an earlier stage",
        )
    return pipeline.stages[first].id


def retry(worker: Worker, run_id: str, stage: str) -> None:
    """Move the outputs from `stage` on to `attempts/<n>/`, then rewind the run to that stage."""
    known = runs.require_status(worker.places, run_id)
    if known.state != "FAILED":  # another process may have retried it meanwhile
        raise ConfigError(
            "RUN_NOT_FAILED", f"run {run_id} is {known.state} by now", remedy=f"quantctl status {run_id}"
        )
    pipeline = build(known.pipeline)
    first = pipeline.index(stage)
    _set_aside(worker.places, known, [spec.id for spec in pipeline.stages[first:]])
    worker.rewind(run_id, first_operation(first))


def cancel(worker: Worker, run_id: str, reason: str) -> None:
    """Cancel a run that does not execute, and close its ledger if that has begun."""
    from dbos import DBOS

    assert worker.runtime is not None
    DBOS.cancel_workflow(run_id)
    request = runs.request_of(worker.places, run_id)
    begun = runs.has_genesis(worker.places, run_id)
    if request is None or not begun:
        return
    skipped = runs.stages_not_started(worker.places, run_id, request.stages)
    error = {"code": "CANCELLED", "exit": 5, "message": reason or "cancelled"}
    with worker.runtime.engine.begin() as sql:
        book.close(sql, request, "CANCELLED", error, skipped)


def _set_aside(places: Places, known: RunStatus, stages: list[str]) -> None:
    directory = RunDirectory(places.artifacts_dir, known.run_id, known.profile)
    with state.reader(places.state_url) as connection:
        rows = artifact_index.rows(connection, known.run_id)
    for row in rows:
        if row["step"] in stages:
            directory.move_to_attempt(row["path"], row["attempt"])


def _failed_stage(places: Places, run_id: str, attempt: int) -> str:
    with state.reader(places.state_url) as connection:
        row = connection.execute(
            "SELECT step FROM run_ledger WHERE run_id = ? AND type = 'stage' AND status = 'failed'"
            " AND attempt = ? ORDER BY seq LIMIT 1",
            (run_id, attempt),
        ).fetchone() if connection else None  # fmt: skip
    if row is None:
        raise StateUnreachable("STATE_UNREACHABLE", f"no failed stage of run {run_id} in the ledger")
    return str(row["step"])
