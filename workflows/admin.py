"""`admin.v1`: a wish of a command that the process at work fulfils, durable like any workflow.

It waits in a queue of its own, so that a busy run delays no wish. What it does may be repeated: a wish
that a kill cut off is taken up by the next process and finds what was done already.
"""

from __future__ import annotations

from typing import Any

from dbos import DBOS, WorkflowSerializationFormat

from quantctl.contracts.errors import QuantError
from quantctl.contracts.records.wish import Answer, Wish
from quantctl.lake import state
from quantctl.lake.fault_points import reach
from quantctl.workflows import changing
from quantctl.workflows.faults import environment_apart
from quantctl.workflows.names import ADMIN, ADMIN_QUEUE
from quantctl.workflows.runtime import Places, current


@DBOS.workflow(
    name=ADMIN, max_recovery_attempts=None, serialization_type=WorkflowSerializationFormat.PORTABLE
)
def admin(payload: dict[str, Any]) -> dict[str, Any]:
    """Fulfil one wish; a refusal is an answer, a fault of the environment leaves the wish pending."""
    wish = Wish.model_validate(payload)
    return DBOS.run_step({"name": wish.verb}, lambda: _answer(wish))


def _answer(wish: Wish) -> dict[str, Any]:
    reach("wish.taken")
    with state.faults(current().places.state_url), environment_apart(wish.run_id):
        try:
            changing.perform(current(), wish)
        except QuantError as problem:
            return Answer.of(problem).model_dump()
    reach("wish.fulfilled")
    return Answer().model_dump()


def take_over(places: Places, worker: str) -> None:
    """Put the wishes that another process left pending into the queue again."""
    with state.reader(places.state_url) as connection:
        rows = connection.execute(
            "SELECT workflow_uuid FROM workflow_status WHERE name = ? AND status = 'PENDING'"
            " AND executor_id <> ?",
            (ADMIN, worker),
        ).fetchall() if connection else []  # fmt: skip
    for row in rows:
        DBOS.resume_workflow(row["workflow_uuid"], queue_name=ADMIN_QUEUE)
