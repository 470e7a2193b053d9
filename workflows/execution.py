"""Executing a run from a command: become the worker, or hand the run to the one that lives.

On SQLite exactly one process executes. A command that finds the lock free embeds the worker; one
that finds it taken enqueues and follows, and takes over when the holder dies.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from quantctl.contracts.errors import (
    ConfigError,
    DataMissing,
    EnvironmentFault,
    Interrupted,
)
from quantctl.contracts.records.run import PROTOCOL, RunRequest
from quantctl.lake import lock
from quantctl.lake.audit_file import project
from quantctl.lake.files import free_bytes
from quantctl.workflows import changing, runs
from quantctl.workflows.projection import project_run
from quantctl.workflows.runs import RunStatus
from quantctl.workflows.runtime import Places
from quantctl.workflows.submitting import submit
from quantctl.workflows.worker import Limits, Worker

FOLLOW_SECONDS = 0.2
SELDOM_SECONDS = 1.0
Watch = Callable[[], None]


@dataclass
class Executor:
    """Runs of one installation, from one command.

    stop : set by the first Ctrl-C or SIGTERM; no new stage starts after it
    watch : called while waiting, to show progress
    """

    places: Places
    limits: Limits
    stop: threading.Event
    watch: Watch = lambda: None

    def run(self, request: RunRequest, *, remote: bool = False, wait: bool = True) -> RunStatus:
        """Run `request` to its end, attaching to the run of that id if there is one."""
        known = runs.attach(self.places, request)
        if known is not None:
            return self.resume(request.run_id) if known.state not in ("SUCCESS", "FAILED") else known
        self._require_space(request.run_id)
        if remote or not wait:
            submit(self.places, request, self.limits, self.stop)
            if wait:
                return self._follow(request.run_id, take_over=False)
            return runs.require_status(self.places, request.run_id)
        return self._drive(request.run_id, request)

    def _require_space(self, run_id: str) -> None:
        """Refuse to begin what would stop before its first stage; nothing is written."""
        directory, needed = self.places.run_root(run_id), self.limits.min_free_mb
        free = free_bytes(directory) // 2**20
        if free < needed:
            raise DataMissing(
                "SPACE_SHORT",
                f"{needed} MB must be free before a run begins, {free} MB are",
                where=str(directory),
                remedy="free space, or lower orchestration.min_free_mb; then repeat the command",
            )

    def resume(self, run_id: str) -> RunStatus:
        """Continue an interrupted run, or follow a live one. A finished one is returned as it is."""
        known = runs.require_status(self.places, run_id)
        if known.state == "SUCCESS":
            return known
        if known.state in ("FAILED", "CANCELLED"):
            raise _not_resumable(known)
        request = runs.request_of(self.places, run_id)
        if request is not None and request.code.workflow_protocol != PROTOCOL:
            raise ConfigError(
                "RUN_VERSION_MISMATCH",
                f"run {run_id} follows protocol {request.code.workflow_protocol}, this is {PROTOCOL}",
                remedy="resume it with the version that started it",
            )
        return self._drive(run_id, None)

    def retry(self, run_id: str, from_stage: str | None = None) -> RunStatus:
        """Run a FAILED run again from its first failed stage, or an earlier one, under the same id."""
        stage = changing.retry_stage(self.places, run_id, from_stage)
        worker = self._become(run_id)
        try:
            changing.retry(worker, run_id, stage)
            return self._serve(worker, run_id)
        finally:
            worker.stop()

    def cancel(self, run_id: str, reason: str) -> RunStatus:
        """Cancel a queued or interrupted run; one that executes elsewhere is refused (`WORKER_BUSY`)."""
        known = runs.require_status(self.places, run_id)
        unclosed = (
            known.state == "CANCELLED" and known.closed_at is None and runs.has_genesis(self.places, run_id)
        )
        if known.state in runs.TERMINAL and not unclosed:
            raise ConfigError(
                "RUN_FINISHED", f"run {run_id} is {known.state} already", remedy=f"quantctl status {run_id}"
            )
        worker = self._become("cancel-" + run_id, listen=False)
        try:
            changing.cancel(worker, run_id, reason)
        finally:
            worker.stop()
        if self.places.run_root(run_id).is_dir():
            project(self.places.state_url, run_id, self.places.run_root(run_id))
            project_run(self.places, run_id)
        return runs.require_status(self.places, run_id)

    def _drive(self, run_id: str, request: RunRequest | None) -> RunStatus:
        """Execute or follow until the run is finished, taking over from a worker that dies."""
        while True:
            worker = Worker(self.places, f"run-{run_id}", self.limits, self.stop)
            if worker.start():
                try:
                    pending = worker.found.get(run_id)
                    if pending is None:
                        assert request is not None
                        worker.enqueue(request.model_dump())
                    elif pending not in ("", worker.name):
                        worker.adopt(run_id)
                    return self._serve(worker, run_id)
                finally:
                    worker.stop()
            if request is not None and runs.status(self.places, run_id) is None:
                submit(self.places, request, self.limits, self.stop)
            found = self._follow(run_id, take_over=True)
            if found.state in runs.TERMINAL:
                return found

    def _serve(self, worker: Worker, run_id: str) -> RunStatus:
        assert worker.runtime is not None
        faults, ended = worker.runtime.faults, worker.runtime.ended
        looked = time.monotonic()

        def finished() -> bool:
            nonlocal looked
            self.watch()
            if run_id in faults:
                return True
            # The engine's own row is asked once the body has returned here, else now and then only:
            # the run may have ended in a process that was the worker just before us.
            if run_id not in ended and time.monotonic() - looked < SELDOM_SECONDS:
                return False
            looked = time.monotonic()
            return runs.engine_done(self.places, run_id)

        worker.serve(finished)
        if run_id in faults:
            raise faults[run_id]
        found = runs.require_status(self.places, run_id)
        if found.state in runs.TERMINAL:
            return found
        raise Interrupted(
            "INTERRUPTED", f"interrupted at {found.stage}; nothing lost", where=found.stage or "",
            remedy=f"quantctl resume {run_id}",
        )  # fmt: skip

    def _follow(self, run_id: str, *, take_over: bool) -> RunStatus:
        while True:
            self.watch()
            found = runs.require_status(self.places, run_id)
            if found.state in runs.TERMINAL:
                return found
            if take_over and lock.holder(self.places.lock) is None:
                return found
            if self.stop.wait(FOLLOW_SECONDS):
                raise Detached(run_id)

    def _become(self, run_id: str, *, listen: bool = True) -> Worker:
        worker = Worker(self.places, f"run-{run_id}", self.limits, self.stop, listen=listen)
        if worker.start():
            return worker
        raise ConfigError(
            "WORKER_BUSY",
            f"{lock.holder(self.places.lock)} holds the worker lock",
            remedy="wait until it is done, or stop that process; then repeat the command",
        )


class Detached(EnvironmentFault):
    """The command only followed a run, which goes on elsewhere."""

    def __init__(self, run_id: str) -> None:
        super().__init__(
            "DETACHED", "still running", where=run_id, remedy=f"quantctl status {run_id} --follow"
        )


def _not_resumable(known: RunStatus) -> ConfigError:
    if known.state == "FAILED":
        return ConfigError(
            "RUN_FAILED",
            f"run {known.run_id} failed with {known.code}: {known.message}",
            remedy=f"quantctl retry {known.run_id}",
        )
    return ConfigError("RUN_CANCELLED", f"run {known.run_id} was cancelled", remedy="start it under a new id")
