"""Executing a run from a command: become a worker, or hand the run to one that lives.

On SQLite exactly one process executes. A command that finds the lock free embeds the worker; one
that finds it taken enqueues and follows, and takes over when the holder dies. On Postgres a command
embeds a worker of its own while no long-lived one is alive, or if that is asked.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from quantctl.contracts.errors import (
    ConfigError,
    DataMissing,
    EnvironmentFault,
    Interrupted,
    LeaseLost,
)
from quantctl.contracts.records.run import RunRequest
from quantctl.contracts.records.wish import Wish
from quantctl.lake.files import free_bytes
from quantctl.workflows import changing, engine_rows, runs, unrecorded, versions
from quantctl.workflows.asking import Asking
from quantctl.workflows.runs import RunStatus
from quantctl.workflows.runtime import Places
from quantctl.workflows.submitting import submit
from quantctl.workflows.worker import Limits, Worker

log = logging.getLogger("quantctl.execution")
FOLLOW_SECONDS = 0.2
SELDOM_SECONDS = 1.0
SETTLE_SECONDS = 5.0
Watch = Callable[[], None]


@dataclass
class Executor:
    """Runs of one installation, from one command. A state database of another one is `STATE_FOREIGN`.

    stop : set by the first Ctrl-C or SIGTERM; no new stage starts after it
    watch : called while waiting, to show progress
    embedded : on Postgres, execute in this process even while a long-lived worker is alive
    """

    places: Places
    limits: Limits
    stop: threading.Event
    watch: Watch = lambda: None
    embedded: bool = False

    def __post_init__(self) -> None:
        self.places.check_owner()

    def run(self, request: RunRequest, *, remote: bool | None = None, wait: bool = True) -> RunStatus:
        """Run `request` to its end, attaching to the run of that id if there is one.

        remote : only enqueue and follow; false: execute in this process; null: whichever is at hand
        """
        self.embedded = remote is False
        known = runs.attach(self.places, request)
        if known is not None:
            return self.resume(request.run_id) if known.state not in ("SUCCESS", "FAILED") else known
        unrecorded.refuse(self.places, request.run_id)
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

    def resume(self, run_id: str, *, adopt_version: bool = False) -> RunStatus:
        """Continue an interrupted run, or follow a live one. A finished one is returned as it is.

        adopt_version : a run of another workflow protocol goes on under this one
        """
        known = runs.require_status(self.places, run_id)
        if known.state == "SUCCESS":
            return known
        if known.state in ("FAILED", "CANCELLED"):
            raise _not_resumable(known)
        (versions.check_idle if adopt_version else versions.check)(self.places, run_id)
        return self._drive(run_id, wish=Wish(verb="resume", run_id=run_id, adopt_version=adopt_version))

    def retry(self, run_id: str, from_stage: str | None = None) -> RunStatus:
        """Run a FAILED run again from its first failed stage, or an earlier one, under the same id."""
        stage = changing.retry_stage(self.places, run_id, from_stage)
        versions.check(self.places, run_id)
        attempt = runs.require_status(self.places, run_id).attempt
        wish = Wish(verb="retry", run_id=run_id, attempt=attempt, from_stage=stage)
        return self._drive(run_id, wish=wish)

    def cancel(self, run_id: str, reason: str) -> RunStatus:
        """Cancel a run; one that executes ends before its next stage, which is waited for."""
        changing.check_cancellable(self.places, run_id)
        wish = Wish(verb="cancel", run_id=run_id, reason=reason)
        while True:
            found = self._cancelled_here(wish) or self._cancelled_there(wish)
            if found is not None and found.state == "CANCELLED":
                return found
            if found is not None:
                raise ConfigError(
                    "RUN_FINISHED", f"run {run_id} ended as {found.state} before it could be cancelled",
                    remedy=f"quantctl status {run_id}",
                )  # fmt: skip

    def _cancelled_here(self, wish: Wish) -> RunStatus | None:
        """Cancel as the process that executes runs; null when another one is."""
        worker = Worker(self.places, f"run-cancel-{wish.run_id}", self.limits, self.stop, listen=False)
        if not worker.start():
            return None
        try:
            assert worker.runtime is not None
            worker.ask(partial(changing.perform, worker.runtime, wish))
        finally:
            worker.stop()
        found = runs.require_status(self.places, wish.run_id)
        return found if found.state in runs.TERMINAL else self._drive(wish.run_id)

    def _cancelled_there(self, wish: Wish) -> RunStatus | None:
        """Ask the process that executes runs, and wait; null when it is gone."""
        asking = Asking(self.places, wish, self.limits.lease_seconds)
        while not asking.answered():
            if asking.deserted():
                return None
            self._pause(wish.run_id)
        found = self._follow(wish.run_id, take_over=True)
        return found if found.state in runs.TERMINAL else None

    def _drive(self, run_id: str, request: RunRequest | None = None, wish: Wish | None = None) -> RunStatus:
        """Execute or follow until the run is finished, taking over from a worker that dies.

        request : of a run that may not be known yet; wish : what is to be done to a known one first
        """
        asking = Asking(self.places, wish, self.limits.lease_seconds) if wish is not None else None
        while True:
            batches = engine_rows.of_batch(self.places, run_id, request)
            worker = Worker(self.places, f"run-{run_id}", self.limits, self.stop, batches=batches,
                            yields=not self.embedded)  # fmt: skip
            if worker.start():
                try:
                    worker.ask(partial(self._begin, worker, run_id, request, asking))
                    return self._serve(worker, run_id)
                except LeaseLost as lost:  # this process slept; the run goes on elsewhere
                    log.warning("%s: %s", run_id, lost)
                finally:
                    worker.stop()
            elif request is not None and runs.status(self.places, run_id) is None:
                submit(self.places, request, self.limits, self.stop)
            found = self._follow(run_id, take_over=True, asking=asking)
            if found.state in runs.TERMINAL and (asking is None or not asking.owed):
                return found

    def _begin(self, worker: Worker, run_id: str, request: RunRequest | None, asking: Asking | None) -> None:
        """As the process that executes runs: do what is wished, and see that the run is taken up."""
        assert worker.runtime is not None
        if asking is not None:
            asking.withdraw()
            changing.perform(worker.runtime, asking.wish)
        if engine_rows.executor_of(self.places, run_id) is None:
            assert request is not None
            worker.enqueue(request.model_dump())
        elif not changing.executing(worker.runtime, run_id):
            changing.take_up(worker.runtime, run_id)

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
            return engine_rows.done(self.places, run_id)

        worker.serve(finished)
        if run_id in faults:
            raise faults[run_id]
        # Asked to stop while the last stage ran: the run has ended, and the engine's row says so at once.
        deadline = time.monotonic() + SETTLE_SECONDS
        while run_id in ended and not engine_rows.done(self.places, run_id) and time.monotonic() < deadline:
            time.sleep(FOLLOW_SECONDS / 10)
        found = runs.require_status(self.places, run_id)
        if found.state in runs.TERMINAL:
            return found
        raise Interrupted(
            "INTERRUPTED", f"interrupted at {found.stage}; nothing lost", where=found.stage or "",
            remedy=f"quantctl resume {run_id}",
        )  # fmt: skip

    def _follow(self, run_id: str, *, take_over: bool, asking: Asking | None = None) -> RunStatus:
        """Wait until the run has ended, or (`take_over`) until nobody executes runs."""
        while True:
            done = asking is None or asking.answered()
            found = runs.require_status(self.places, run_id)
            if done and found.state in runs.TERMINAL:
                return found
            if take_over and runs.unattended(self.places, run_id):
                return runs.require_status(self.places, run_id)
            self._pause(run_id)

    def _pause(self, run_id: str) -> None:
        self.watch()
        if self.stop.wait(FOLLOW_SECONDS):
            raise Detached(run_id)


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
