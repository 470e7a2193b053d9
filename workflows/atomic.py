"""The durable workflows: one per protocol, all with the stage runner as their body."""

from __future__ import annotations

from typing import Any

from dbos import DBOS, WorkflowSerializationFormat

from quantctl.workflows.runner import execute


@DBOS.workflow(
    name="alpha.v1", max_recovery_attempts=None, serialization_type=WorkflowSerializationFormat.PORTABLE
)
def alpha(request: dict[str, Any]) -> dict[str, Any]:
    """An Alpha run: read-only on the lake."""
    return execute(request)


@DBOS.workflow(
    name="data.v1", max_recovery_attempts=None, serialization_type=WorkflowSerializationFormat.PORTABLE
)
def dataops(request: dict[str, Any]) -> dict[str, Any]:
    """A DataOps run: the only kind that writes the lake."""
    return execute(request)


@DBOS.workflow(
    name="batch.v1", max_recovery_attempts=None, serialization_type=WorkflowSerializationFormat.PORTABLE
)
def batch(request: dict[str, Any]) -> dict[str, Any]:
    """A batch: a parent run whose children are Alpha runs on a queue of their own."""
    from quantctl.workflows.fan_out import BatchRun

    return execute(request, BatchRun)


WORKFLOWS = {"alpha.v1": alpha, "data.v1": dataops, "batch.v1": batch}
