"""The stage runner: the one place that makes a pipeline durable.

Per stage three operations of the workflow engine: **open** (a transaction: intent), **compute** (a
step: inputs, function, artifacts, gates) and **book** (a transaction: outcome, findings, gates,
artifacts). With genesis and close a pipeline of n stages makes exactly 3n + 2 operations; genesis is
operation 1 and stage k, counted from 0, opens at operation 3k + 2. A fork links and books what it
keeps as operations 2 and 3, before the first stage of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from dbos import DBOS
from dbos import error as engine_errors
from sqlalchemy import event

from quantctl.contracts.artifacts import Artifact
from quantctl.contracts.canonical import canonical, hash_json
from quantctl.contracts.errors import EnvironmentFault, InternalError, LeaseLost, error_from_dict
from quantctl.contracts.records.run import RunRequest
from quantctl.contracts.stage import StageSpec
from quantctl.lake import ledger, state
from quantctl.lake.audit_file import project
from quantctl.lake.fault_points import reach
from quantctl.workflows import after, book, fence, forking, lives
from quantctl.workflows.compute import compute
from quantctl.workflows.faults import environment_apart
from quantctl.workflows.logs import run_log
from quantctl.workflows.projection import project_run
from quantctl.workflows.registry import Pipeline, build
from quantctl.workflows.runtime import Runtime, current
from quantctl.workflows.session import Session, params_of

log = logging.getLogger("quantctl.runner")
LIVE_SECONDS = 5.0  # how stale the files of the SQL surface may be while a run is live


def execute(payload: dict[str, Any], kind: type[Run] | None = None) -> dict[str, Any]:
    """The body of every pipeline workflow. Replays finished operations, does the rest."""
    runtime = current()
    request = RunRequest.model_validate(payload)
    execution, fault = runtime.begin(request.run_id), None
    try:
        with state.faults(runtime.places.state_url), fence.dropping(runtime, request.run_id):
            result = _live(runtime, request, kind or Run)
    except EnvironmentFault as problem:
        fault = problem
        raise
    finally:
        runtime.end(request.run_id, execution, fault)
    if result["state"] == "CANCELLED":
        _leave_cancelled(request.run_id)
    if result["error"] is not None:
        raise error_from_dict(result["error"])
    return result


def _leave_cancelled(run_id: str) -> None:
    """Let the engine's own row of a run follow its ledger, which is closed as CANCELLED."""
    reach("cancel.left")
    DBOS.cancel_workflow(run_id)
    raise engine_errors.DBOSWorkflowCancelledError(f"run {run_id} was cancelled")


def _live(runtime: Runtime, request: RunRequest, kind: type[Run]) -> dict[str, Any]:
    """One life of a run; a fault of the environment ends it and leaves the run pending."""
    life = None
    try:
        life = lives.begin(runtime, request)
        reach("life.begun")
        log_file = run_log(runtime.places.run_root(request.run_id), request.run_id, request.trace_id)
        with log_file, life.trace.running():
            if life.number:
                with fence.held(runtime, request.run_id):
                    after.interrupted(runtime.places, request, life.trace)
            run = kind(request, runtime, life)
            result = _gone(run)
            lives.end(runtime, request, life, result)
            reach("life.ended")
            with environment_apart(request.run_id), fence.held(runtime, request.run_id):
                after.closed(run.session, life.trace, result["state"])
    except LeaseLost:  # whatever is said of the run now is said by the worker that has it
        raise
    except EnvironmentFault as fault:
        code = fault.code
        fence.last_words(runtime, request.run_id, lambda: _cut(runtime, request, life, code))
        raise
    return result


def _cut(runtime: Runtime, request: RunRequest, life: lives.Life | None, code: str) -> None:
    lives.cut_off(runtime, request, life, code)
    if life is not None:
        after.interrupted(runtime.places, request, life.trace)


def _gone(run: Run) -> dict[str, Any]:
    """The result of a run; one that breaks outside its stages is closed as FAILED, never left open."""
    try:
        return run.go()
    except Exception as problem:
        log.exception("run %s broke", run.request.run_id)
        error = InternalError(
            "INTERNAL", f"the run broke outside its stages: {type(problem).__name__}: {problem}"[:2000],
            remedy="please report this; the log has the traceback",
        ).to_dict()  # fmt: skip
        with environment_apart(run.request.run_id), run.runtime.engine.begin() as sql:
            fence.check(run.runtime, sql, run.request.run_id)
            book.close_broken(sql, run.request, error)
        return {"run_id": run.request.run_id, "state": "FAILED", "error": error}


class Run:
    """One life of a run."""

    def __init__(self, request: RunRequest, runtime: Runtime, life: lives.Life) -> None:
        self.request = request
        self.runtime = runtime
        self.life = life
        self.session = Session(request, runtime)
        self.pipeline: Pipeline = build(request.pipeline)
        self._projected = time.monotonic()

    def go(self) -> dict[str, Any]:
        """Genesis, the stages until one fails, close; what an earlier life did is replayed."""
        with environment_apart(self.request.run_id), fence.held(self.runtime, self.request.run_id):
            self.session.directory.clear()
            self.session.directory.write("resolved_manifest", self.request.manifest())
        self._transaction("genesis", book.genesis, self.request)
        self._project()
        stages = self.pipeline.stages
        if self.request.kept is not None:
            error = self._keep([spec.id for spec in stages[: self.request.kept]])
            if error is not None:
                return self._closed(error, stages)
            stages = stages[self.request.kept :]
        return self._through(stages)

    def _through(self, stages: Sequence[StageSpec]) -> dict[str, Any]:
        """Every stage in order, until one fails or the run is cancelled."""
        for index, spec in enumerate(stages):
            attempt = self._open(spec)
            if attempt is None:
                return self._cancelled([later.id for later in stages[index:]])
            error = self._stage(spec, attempt)
            if error is not None:
                return self._closed(error, stages[index + 1 :])
        return self._closed(None, ())

    def _closed(self, error: dict[str, Any] | None, skipped: Sequence[StageSpec]) -> dict[str, Any]:
        state = "FAILED" if error else "SUCCESS"
        left = [spec.id for spec in skipped]
        self._transaction("close", book.close, self.request, state, error, left)
        return {"run_id": self.request.run_id, "state": state, "error": error}

    def _keep(self, stages: list[str]) -> dict[str, Any] | None:
        """Take over the stages that a fork keeps; returns the error of one that can't."""
        self.runtime.check_stop(self.request.run_id, self.request.stages[0])

        def step() -> dict[str, Any]:
            with environment_apart(self.request.run_id), fence.held(self.runtime, self.request.run_id):
                return forking.keep(self.session, stages)

        kept = DBOS.run_step({"name": "keep"}, step)
        error: dict[str, Any] | None = kept["error"]
        if error is None:
            self.session.artifacts.update(_artifacts(kept))
            self._transaction("book kept", forking.book_kept, self.request, stages, kept["outputs"])
            self._project()
        return error

    def _cancelled(self, skipped: list[str]) -> dict[str, Any]:
        error = self._transaction("close", book.close_cancelled, self.request, skipped)
        return {"run_id": self.request.run_id, "state": "CANCELLED", "error": error}

    def _open(self, spec: StageSpec) -> int | None:
        """Open a stage; null when the run was cancelled meanwhile."""
        self.runtime.check_stop(self.request.run_id, spec.id)
        params = self._params(spec)
        inputs = self.session.references(spec.inputs)
        ids = [stage.id for stage in self.pipeline.stages]
        later = ids[ids.index(spec.id) :]
        attempt: int | None = self._transaction(
            f"open {spec.id}", book.open_stage, self.request, later, params, inputs
        )
        return attempt

    def _stage(self, spec: StageSpec, attempt: int) -> dict[str, Any] | None:
        """Compute and book one stage; returns the error of a failed one."""
        outcome = self._compute(spec, attempt)
        self.session.artifacts.update(_artifacts(outcome))
        self._transaction(f"book {spec.id}", book.book_stage, self.request, spec.id, attempt, outcome)
        self._project()
        error: dict[str, Any] | None = outcome["error"]
        return error

    def _compute(self, spec: StageSpec, attempt: int) -> dict[str, Any]:
        def step() -> dict[str, Any]:
            gates = self.pipeline.gates[spec.id]
            reach("compute.begin")
            outcome = lives.in_span(
                self.life, spec.id, attempt, lambda: compute(self.session, spec, gates, attempt)
            )
            reach("compute.ended")
            return outcome

        outcome = DBOS.run_step({"name": f"compute {spec.id}"}, step)
        reach("compute.checkpointed")
        return outcome

    def _project(self) -> None:
        """Bring `audit.jsonl` up to date, and now and then the files of the SQL surface."""
        with environment_apart(self.request.run_id), fence.held(self.runtime, self.request.run_id):
            project(self.runtime.places.state_url, self.request.run_id, self.session.directory.root)
            if time.monotonic() - self._projected > LIVE_SECONDS:
                project_run(self.runtime.places, self.request.run_id)
                self._projected = time.monotonic()

    def _params(self, spec: StageSpec) -> dict[str, Any]:
        if spec.params is None:
            return {}
        params = params_of(spec.params, self.request.settings).model_dump(mode="json")
        if len(canonical(params)) <= ledger.MAX_DATA_BYTES:
            return params
        # Settings too large for a record stand in the manifest; the intent holds their hash.
        return {"params_sha256": hash_json(params)}

    def _transaction(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        def body() -> Any:
            with environment_apart(self.request.run_id):
                sql = self.runtime.datasource.sql_session()
                fence.check(self.runtime, sql, self.request.run_id)
                reach("transaction.begin")
                result = function(sql, *arguments)
                reach("transaction.filled")
                event.listen(sql, "after_commit", lambda _: reach("transaction.committed"))
                return result

        with environment_apart(self.request.run_id):
            result = self.runtime.datasource.run_tx_step({"name": name}, body)
        reach("transaction.checkpointed")
        return result


def _artifacts(outcome: dict[str, Any]) -> dict[str, Artifact]:
    found = (Artifact.model_validate(output) for output in outcome["outputs"])
    return {artifact.name: artifact for artifact in found}
