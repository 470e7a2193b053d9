"""Names and numbers of the durable workflows that readers and clients need without the engine."""

from __future__ import annotations

QUEUE = "quantctl"
BATCH = "batch.v1"
BATCH_QUEUE = "quantctl-batches"  # parents wait here for their children, and take no place of a run
CHILD_QUEUE = "quantctl-children"
ADMIN = "admin.v1"
ADMIN_QUEUE = "quantctl-admin"  # its own, so that a busy run delays no wish


def workflow_name(pipeline: str) -> str:
    """Which workflow runs a pipeline."""
    if pipeline.startswith("batch."):
        return BATCH
    return "data.v1" if pipeline.startswith("data.") else "alpha.v1"


def queue_of(workflow: str, parent: str | None = None) -> str:
    """The queue of a workflow; that of a child of a batch if it has a parent."""
    if parent is not None:
        return CHILD_QUEUE
    return BATCH_QUEUE if workflow == BATCH else QUEUE


def first_operation(stage_index: int, kept: int | None = None) -> int:
    """Number of the operation at which stage `stage_index` (from 0) opens; genesis is 1.

    kept : of a fork, how many stages it keeps; linking and booking them are operations 2 and 3
    """
    return 3 * stage_index + 2 if kept is None else 3 * (stage_index - kept) + 4
