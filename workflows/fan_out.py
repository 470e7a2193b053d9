"""A batch: a parent run whose children are ordinary Alpha runs on a queue of their own.

The parent begins the first `window` children. Then it waits for each child in order, books its end and
begins the next one that has not begun. So which children begin before a failure stops the batch is
decided by order and window, never by who was faster, and a parent that was killed anywhere books the same
records as one that was not. Per child that makes two operations of the engine: begin and book.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from quantctl.contracts.errors import (
    EnvironmentFault,
    InternalError,
    Interrupted,
    LeaseLost,
    StateUnreachable,
)
from quantctl.contracts.records.batch import BatchArguments, Child
from quantctl.contracts.stage import StageSpec
from quantctl.lake import state
from quantctl.lake.fault_points import reach
from quantctl.workflows import book, changing, children, engine_rows
from quantctl.workflows.faults import environment_apart
from quantctl.workflows.names import CHILD_QUEUE
from quantctl.workflows.runner import Run

if TYPE_CHECKING:
    from quantctl.workflows.runtime import Runtime

POLL_SECONDS = 0.1
TEND_SECONDS = 1.0  # between looks for children that nobody executes


class BatchRun(Run):
    """One life of a batch."""

    def go(self) -> dict[str, Any]:
        """Run the batch; a cancelled one is closed once its children have ended."""
        try:
            return super().go()
        except _Cancelled:
            return self._cancelled([])

    def _compute(self, spec: StageSpec, attempt: int) -> dict[str, Any]:
        with self._spanned(spec.id, attempt):
            self._fan_out(attempt)
            return super()._compute(spec, attempt)

    @contextmanager
    def _spanned(self, stage: str, attempt: int) -> Iterator[None]:
        """The span of the stage from its first child on; a stage that is only replayed has none."""
        if engine_rows.checkpointed(self.runtime.places, self.request.run_id, f"compute {stage}"):
            yield
            return
        with self.life.trace.stage(stage, attempt):
            yield

    def _fan_out(self, attempt: int) -> None:
        plan = children.plan_of(self.request)
        every, begun = plan.children, min(plan.window, len(plan.children))
        waiting = _Waiting(self.runtime, self.request.run_id, attempt)
        known = _known(self.runtime, self.request.run_id, attempt)
        for child in every[:begun]:
            self._begin(plan, child)
        waiting.begin()
        going, cancelled, index = True, False, 0
        while index < begun:
            child = every[index]
            run_id = children.child_id(self.request.run_id, child.suffix)
            waiting.for_end(run_id)
            end = self._transaction(
                f"book {child.suffix}", children.book_end, self.request, attempt, child, known.get(run_id)
            )
            self._project()
            cancelled = cancelled or end["cancelled"]
            going = going and not cancelled and (plan.keep_going or end["state"] == "SUCCESS")
            if going and begun < len(every):
                self._begin(plan, every[begun])
                begun += 1
            index += 1
        if begun < len(every):
            self._transaction("skip", children.book_skipped, self.request, attempt, every[begun:])
        if cancelled:
            raise _Cancelled

    def _begin(self, plan: BatchArguments, child: Child) -> None:
        """Put a child into its queue; one that is there, or has ended, is left as it is."""
        from dbos import DBOS, PropagateOtelContext, SetWorkflowID

        from quantctl.workflows import atomic, telemetry

        request = children.child_request(self.request, plan, child)
        with (
            environment_apart(request.run_id),
            SetWorkflowID(request.run_id),
            PropagateOtelContext(telemetry.calling_context()),
        ):
            DBOS.enqueue_workflow(CHILD_QUEUE, atomic.alpha, request.model_dump())
        reach("child.begun")


class _Cancelled(Exception):  # noqa: N818  says where to go on, is no error
    """The batch was cancelled while its children ran."""

    code = "CANCELLED"  # as its span tells it


class _Waiting:
    """Waits for children; sees to it that each of them is executed, or given up with its parent."""

    def __init__(self, runtime: Runtime, parent: str, attempt: int) -> None:
        self._runtime = runtime
        self._parent = parent
        self._attempt = attempt
        self._tended = time.monotonic()

    def begin(self) -> None:
        """Go on with a cancellation at which an earlier life was killed."""
        reason = self._cancellation()
        if reason is not None:
            self._cancel_children(reason)

    def for_end(self, run_id: str) -> None:
        """Return when a child has ended. Raises the fault that stops it, or this process."""
        since = None
        while True:
            found = children.standing(self._runtime.places, run_id)
            if found.ended:
                return
            self._check_stop(run_id)
            self._check_fault(run_id, found)
            if time.monotonic() - self._tended > TEND_SECONDS:
                since = _check_broken(run_id, found, since)
                self._tend(found, run_id)
                self._tended = time.monotonic()
            self._runtime.stop.wait(POLL_SECONDS)

    def _check_stop(self, run_id: str) -> None:
        self._runtime.check_stop(self._parent, run_id)
        if self._runtime.leaving:  # nobody here takes up a child any more
            raise Interrupted(
                "INTERRUPTED", f"interrupted at {run_id}; nothing lost", where=run_id,
                remedy=f"quantctl resume {self._parent}",
            )  # fmt: skip

    def _check_fault(self, run_id: str, found: children.Standing) -> None:
        """A fault of the environment that a child met is its parent's: resuming the batch resumes both.

        Where workers share the database, a child whose lease or database was lost goes on by itself.
        """
        fault = self._runtime.faults.get(run_id)
        if self._runtime.shared and isinstance(fault, (LeaseLost, StateUnreachable)):
            return
        if fault is None and found.fault is not None:
            fault = EnvironmentFault(found.fault, "its worker met a fault", where=run_id)
        if fault is not None:
            raise EnvironmentFault(
                fault.code, f"child {run_id}: {fault.message}", where=fault.where,
                remedy=f"free what is short, then quantctl resume {self._parent}",
            )  # fmt: skip

    def _tend(self, found: children.Standing, run_id: str) -> None:
        reason = self._cancellation()
        if reason is not None:
            self._cancel_children(reason)
        elif found.executor and not changing.executing(self._runtime, run_id):
            _apart(lambda: changing.take_up(self._runtime, run_id))

    def _cancel_children(self, reason: str) -> None:
        _apart(lambda: changing.cancel_children(self._runtime, self._parent, reason))

    def _cancellation(self) -> str | None:
        with environment_apart(self._parent), self._runtime.engine.begin() as sql:
            return book.cancellation(sql, self._parent, self._attempt)


def _check_broken(run_id: str, found: children.Standing, since: float | None) -> float | None:
    """Since when a child is given up with an open ledger; whoever gave it up closes it within seconds."""
    if not found.broken:
        return None
    if since is not None and time.monotonic() - since > 10 * TEND_SECONDS:
        raise InternalError(
            "INTERNAL", f"child {run_id} ended without closing its ledger", where=run_id,
            remedy="please report this; the log has the traceback",
        )  # fmt: skip
    return since or time.monotonic()


def _known(runtime: Runtime, parent: str, attempt: int) -> dict[str, str]:
    """Child -> head that an earlier attempt booked."""
    if attempt == 1:
        return {}
    with state.reader(runtime.places.state_url) as connection:
        return children.booked_heads(connection, parent, attempt) if connection else {}


def _apart(act: Callable[[], None]) -> None:
    """Act outside the workflow: what is repeated until it is done is no operation of the parent."""
    problems: list[BaseException] = []

    def body() -> None:
        try:
            act()
        except BaseException as problem:  # noqa: BLE001  (it is raised in the calling thread)
            problems.append(problem)

    thread = threading.Thread(target=body, name="batch")
    thread.start()
    thread.join()
    if problems:
        raise problems[0]
