"""Names and numbers of the durable workflows that readers and clients need without the engine."""

from __future__ import annotations

QUEUE = "quantctl"
ADMIN = "admin.v1"
ADMIN_QUEUE = "quantctl-admin"  # its own, so that a busy run delays no wish


def workflow_name(pipeline: str) -> str:
    """Which workflow runs a pipeline."""
    return "data.v1" if pipeline.startswith("data.") else "alpha.v1"


def first_operation(stage_index: int) -> int:
    """Number of the operation at which stage `stage_index` (from 0) opens; genesis is 1."""
    return 3 * stage_index + 2
