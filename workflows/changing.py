"""What the process that executes runs does to one of them when asked: cancel, resume, retry.

Each function may be cut off anywhere and be called again: what was done is found, not done twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from quantctl.contracts.errors import ConfigError, QuantError
from quantctl.contracts.records.batch import PIPELINE as BATCH_PIPELINE
from quantctl.contracts.records.run import PROTOCOL, RunRequest
from quantctl.contracts.records.wish import Wish
from quantctl.lake import artifact_index, leases, state
from quantctl.lake.audit_file import is_whole, project
from quantctl.lake.fault_points import reach
from quantctl.lake.rundir import RunDirectory
from quantctl.workflows import after, book, children, engine_rows, fence, lives, runs, versions
from quantctl.workflows.names import first_operation
from quantctl.workflows.projection import project_run
from quantctl.workflows.registry import build
from quantctl.workflows.runs import RunStatus
from quantctl.workflows.runtime import Places, Runtime

log = logging.getLogger("quantctl.runner")


def perform(runtime: Runtime, wish: Wish) -> None:
    """Do what was asked; raises the typed error that refuses it. Of several workers one changes a run."""
    with fence.alone(runtime, wish.run_id) as still_alone:
        if wish.verb == "cancel":
            cancel(runtime, wish.run_id, wish.reason)
        elif wish.verb == "retry":
            retry(runtime, wish, still_alone)
        else:
            resume(runtime, wish)


# cancel


def check_cancellable(places: Places, run_id: str) -> RunStatus:
    """The run as it stands; one that has ended is `RUN_FINISHED` (exit 2)."""
    known = runs.require_status(places, run_id)
    if known.state in runs.TERMINAL and not _half_cancelled(places, known):
        raise ConfigError(
            "RUN_FINISHED", f"run {run_id} is {known.state} already", remedy=f"quantctl status {run_id}"
        )
    return known


def _half_cancelled(places: Places, known: RunStatus) -> bool:
    """The engine gave the run up, and a kill came before its ledger was closed and shown."""
    if known.state != "CANCELLED":
        return False
    return known.closed_at is None or not is_whole(
        places.state_url, known.run_id, places.run_root(known.run_id)
    )


def cancel(runtime: Runtime, run_id: str, reason: str) -> None:
    """Close a run that does not execute; one that does closes itself before its next stage.

    A retry that waits in the queue is closed by whoever takes it up: its first record is REOPENED.
    """
    known = runs.require_status(runtime.places, run_id)
    if known.state == "CANCELLED" and known.closed_at is not None:
        _show_cancelled(runtime, run_id)  # closed before a kill: what follows is behind
        return
    check_cancellable(runtime.places, run_id)
    retried = known.closed_at is not None
    with runtime.engine.begin() as sql:
        book.ask_cancellation(sql, run_id, known.attempt + retried, reason)
    reach("cancel.asked")
    if retried or executing(runtime, run_id):
        return
    if known.pipeline == BATCH_PIPELINE and runs.has_genesis(runtime.places, run_id):
        cancel_children(runtime, run_id, reason)
        take_up(runtime, run_id)  # it books their ends and closes itself
        return
    request = runs.request_of(runtime.places, run_id)
    assert request is not None
    _give_up(run_id)
    reach("cancel.given_up")
    directory = RunDirectory(runtime.places.artifacts_dir, run_id, known.profile)
    directory.write("resolved_manifest", request.manifest())
    with runtime.engine.begin() as sql:
        book.genesis(sql, request)
        book.close_cancelled(sql, request, _not_started(runtime.places, request))
    reach("cancel.closed")
    _show_cancelled(runtime, run_id)


def cancel_children(runtime: Runtime, run_id: str, reason: str) -> None:
    """Cancel the children of a batch that have not ended, and end what a kill left half cancelled."""
    for child in children.begun(runtime.places, run_id):
        if child.state in runs.TERMINAL and not _half_cancelled(runtime.places, child):
            continue
        try:
            cancel(runtime, child.run_id, reason)
        except QuantError as problem:  # it ended meanwhile
            log.info("child %s is not cancelled: %s", child.run_id, problem)


def _show_cancelled(runtime: Runtime, run_id: str) -> None:
    """Bring trace, SQL surface and, last, `audit.jsonl` up to the close."""
    request = runs.request_of(runtime.places, run_id)
    assert request is not None
    RunDirectory(runtime.places.artifacts_dir, run_id, request.profile).clear()
    after.write_trace(runtime.places, request, lives.cancelled(runtime, request), complete=True)
    project_run(runtime.places, run_id)
    project(runtime.places.state_url, run_id, runtime.places.run_root(run_id))


def _give_up(run_id: str) -> None:
    """Nobody takes the run up after this."""
    from dbos import DBOS

    DBOS.cancel_workflow(run_id)


def _not_started(places: Places, request: RunRequest) -> list[str]:
    if not runs.has_genesis(places, request.run_id):
        return request.stages
    return runs.stages_not_started(places, request.run_id, request.stages)


# resume


def resume(runtime: Runtime, wish: Wish) -> None:
    """Take up a run that no live process executes; adopt its version first if that was asked."""
    known = runs.require_status(runtime.places, wish.run_id)
    if known.state in runs.TERMINAL:
        return  # it ended meanwhile
    adopted = wish.adopt_version and versions.adopt(runtime, wish.run_id)
    reach("adopt.booked")
    versions.check(runtime.places, wish.run_id)
    if adopted or not executing(runtime, wish.run_id):
        take_up(runtime, wish.run_id, idle=adopted)


def take_up(runtime: Runtime, run_id: str, *, idle: bool = False) -> None:
    """Put a run that a process left pending into the queue again; one that waits there stays.

    idle : nobody is at work on it or its children, though their rows may bear our name
    """
    from dbos import DBOS

    for child in children.unfinished(runtime.places, run_id):
        if idle or not executing(runtime, child):
            take_up(runtime, child, idle=idle)
    executor = engine_rows.executor_of(runtime.places, run_id)
    claimed_here = executor == runtime.worker and run_id not in runtime.faults
    if not executor or (claimed_here and not idle):  # the queue may have handed it to us just now
        return
    runtime.faults.pop(run_id, None)
    runtime.ended.discard(run_id)
    if runtime.shared and executor != runtime.worker:  # unless another worker has adopted it meanwhile
        with runtime.engine.begin() as sql:
            leases.adopt(sql, runtime.worker, PROTOCOL, run_id, put_down=True)
    else:
        DBOS.resume_workflow(run_id, queue_name=engine_rows.queue_of_run(runtime.places, run_id))


def executing(runtime: Runtime, run_id: str) -> bool:
    """Whether a live process is at work on a run, or is just about to be."""
    if run_id in runtime.active:
        return True
    executor = engine_rows.executor_of(runtime.places, run_id)
    if executor == runtime.worker:
        return run_id not in runtime.faults
    return executor in runtime.places.live_workers()


# retry


def retry_stage(places: Places, run_id: str, from_stage: str | None) -> str:
    """The stage at which a FAILED run begins again: the first failed one, or an earlier one.

    Raises `RUN_NOT_FAILED`, `STAGE_UNKNOWN`, `RETRY_STAGE_LATER` (exit 2).
    """
    known = runs.require_status(places, run_id)
    if known.state != "FAILED":
        raise not_failed(known)
    pipeline = build(known.pipeline)
    failed = pipeline.index(_failed_stage(places, run_id, known.attempt))
    first = pipeline.index(from_stage) if from_stage else failed
    if first > failed:
        raise ConfigError(
            "RETRY_STAGE_LATER",
            f"{from_stage} comes after {pipeline.stages[failed].id}, which failed",
            remedy=f"choose {pipeline.stages[failed].id} or an earlier stage",
        )
    kept = _kept(places, run_id)
    if kept is not None and first < kept:
        raise ConfigError(
            "RETRY_STAGE_KEPT",
            f"run {run_id} is a fork that keeps {pipeline.stages[first].id} from its source",
            where=pipeline.stages[first].id,
            remedy=f"choose {pipeline.stages[kept].id} or a later stage, or fork its source from there",
        )
    return pipeline.stages[first].id


def _kept(places: Places, run_id: str) -> int | None:
    """How many stages a fork keeps; null where the run is none."""
    request = runs.request_of(places, run_id)
    return None if request is None else request.kept


def not_failed(known: RunStatus) -> QuantError:
    """The refusal to retry what did not fail, or what a retry has put into the queue already."""
    verb = "status" if known.state in runs.TERMINAL else "resume"
    return ConfigError(
        "RUN_NOT_FAILED", f"run {known.run_id} is {known.state}; only a FAILED run is retried",
        remedy=f"quantctl {verb} {known.run_id}",
    )  # fmt: skip


def retry(runtime: Runtime, wish: Wish, still_alone: Callable[[], None]) -> None:
    """Move the outputs from a stage on to `attempts/<n>/`, then rewind the run to that stage.

    still_alone : raises where this worker slept and another one may have done so since
    """
    known = runs.require_status(runtime.places, wish.run_id)
    if _begun_again(known, wish.attempt):
        return
    if known.attempt != wish.attempt:
        raise not_failed(known)
    stage = retry_stage(runtime.places, wish.run_id, wish.from_stage)
    versions.check(runtime.places, wish.run_id)
    for child, attempt in children.failed_as_booked(runtime.places, wish.run_id):
        retry(runtime, Wish(verb="retry", run_id=child, attempt=attempt), still_alone)
    pipeline = build(known.pipeline)
    first = pipeline.index(stage)
    still_alone()
    _set_aside(runtime.places, known, [spec.id for spec in pipeline.stages[first:]])
    reach("retry.aside")
    still_alone()
    runtime.ended.discard(wish.run_id)
    _rewind(runtime.places, wish.run_id, first_operation(first, _kept(runtime.places, wish.run_id)))
    reach("retry.rewound")


def _begun_again(known: RunStatus, attempt: int) -> bool:
    """Whether the retry of an attempt is under way: by this wish before a kill, or by another."""
    return known.attempt == attempt + 1 or (
        known.attempt == attempt and known.state in ("QUEUED", "RUNNING", "INTERRUPTED")
    )


def _rewind(places: Places, run_id: str, operation: int) -> None:
    from dbos import DBOS

    queue = engine_rows.queue_of_run(places, run_id)
    DBOS.rewind_workflow(run_id, start_step=operation, queue_name=queue)


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
    if row is None:  # a fork that could not take over what it keeps, or a run that broke
        raise ConfigError(
            "RETRY_NOTHING_BEGUN", f"run {run_id} failed outside its stages",
            where=run_id, remedy=f"quantctl status {run_id} says why; start it again under a new id",
        )  # fmt: skip
    return str(row["step"])
