"""What the workflow engine's own rows say of a run: who took it up, its queue, whether it ended."""

from __future__ import annotations

from quantctl.contracts.records.batch import PIPELINE as BATCH_PIPELINE
from quantctl.contracts.records.run import RunRequest
from quantctl.lake import state
from quantctl.workflows.names import QUEUE, queue_of
from quantctl.workflows.runtime import Places

_ROW = """SELECT status, executor_id, name, parent_workflow_id AS parent FROM workflow_status
WHERE workflow_uuid = ?"""
_CHECKPOINT = "SELECT 1 FROM operation_outputs WHERE workflow_uuid = ? AND function_name = ?"
_PENDING = "SELECT workflow_uuid, executor_id FROM workflow_status WHERE status = 'PENDING'"


def row(places: Places, run_id: str) -> state.Row | None:
    """Status, executor, name and parent of a run as the engine keeps them; null when it knows no such run."""
    return next(iter(state.rows(places.state_url, _ROW, (run_id,))), None)


def executor_of(places: Places, run_id: str) -> str | None:
    """Who took a run up ("" while it waits, or has ended); null when the engine knows no such run."""
    found = row(places, run_id)
    if found is None:
        return None
    return str(found["executor_id"]) if found["status"] == "PENDING" else ""


def pending(places: Places) -> dict[str, str]:
    """Id -> executor of everything that was taken up and has not ended."""
    return {found[0]: str(found[1]) for found in state.rows(places.state_url, _PENDING)}


def done(places: Places, run_id: str) -> bool:
    """Whether the engine is done with a run."""
    found = row(places, run_id)
    return found is not None and found["status"] in ("SUCCESS", "ERROR", "CANCELLED")


def checkpointed(places: Places, run_id: str, operation: str) -> bool:
    """Whether the engine has the outcome of an operation of a run, so that it is replayed."""
    return bool(state.rows(places.state_url, _CHECKPOINT, (run_id, operation)))


def queue_of_run(places: Places, run_id: str) -> str:
    """The queue in which a run waits: children of a batch have their own, parents too."""
    found = row(places, run_id)
    return queue_of(found["name"], found["parent"]) if found else QUEUE


def of_batch(places: Places, run_id: str, request: RunRequest | None = None) -> bool:
    """Whether a run is a batch or a child of one; `request` is that of a run not known yet."""
    if request is not None and request.pipeline == BATCH_PIPELINE:
        return True
    return queue_of_run(places, run_id) != QUEUE
