"""The worker: the process that holds the lock, launches the workflow engine and executes runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from quantctl.contracts.errors import ConfigError, StateUnreachable
from quantctl.contracts.records.run import PROTOCOL
from quantctl.lake import state
from quantctl.lake.fault_points import reach
from quantctl.lake.ledger import timestamp
from quantctl.lake.lock import WorkerLock
from quantctl.workflows import runs
from quantctl.workflows import runtime as runtimes
from quantctl.workflows.faults import environment_apart
from quantctl.workflows.names import ADMIN_QUEUE, QUEUE
from quantctl.workflows.runtime import Places, Runtime

log = logging.getLogger("quantctl.worker")
POLL_SECONDS = 0.1
CLAIMED_SECONDS = 24 * 3600  # a run that was claimed just before leaving is finished first


@dataclass(frozen=True)
class Limits:
    """What a worker may use: megabytes kept free, runs at once, seconds for a stage to finish.

    lease_seconds, max_runs : on Postgres, how long it may give no sign of life, and the runs at once over
        all workers (null: what each of them takes)
    """

    min_free_mb: int = 200
    parallel: int = 1
    grace_seconds: float = 30.0
    lease_seconds: float = 15.0
    max_runs: int | None = None


class Worker:
    """Holds the lock from `start` to `stop`. One process has at most one.

    name : `run-<run_id>` for the worker embedded in a command, `worker-1` for a long-lived one.
        The engine recovers what an executor of the same name left pending, so an embedded worker
        takes up its own run only.
    """

    def __init__(
        self, places: Places, name: str, limits: Limits, stop: threading.Event, *, listen: bool = True
    ) -> None:
        self.places = places
        self.name = name
        self._limits = limits
        self._stop = stop
        self._listen = listen
        self._lost = False
        self.found: dict[str, str] = {}
        self._lock = WorkerLock(places.lock)
        self.runtime: Runtime | None = None

    def start(self) -> bool:
        """Become the worker; false when another process is it."""
        if not self._lock.acquire(self.name):
            return False
        try:
            self._launch()
        except BaseException:
            self.stop()
            raise
        return True

    def _launch(self) -> None:
        from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SQLAlchemyDatasource

        import quantctl.workflows.admin
        import quantctl.workflows.atomic  # noqa: F401  registers the workflows before the launch

        with environment_apart(self.name):
            engine = state.open_engine(self.places.state_url)
        serializer = DBOSPortableJSONSerializer()
        config: DBOSConfig = {
            "name": "quantctl",
            "system_database_url": self.places.state_url,
            "system_database_engine": engine,
            "executor_id": self.name,
            "application_version": PROTOCOL,
            "serializer": serializer,
            "log_level": "CRITICAL",
            "notification_listener_polling_interval_sec": 0.5,
        }
        DBOS(config=config)
        datasource = SQLAlchemyDatasource.create(
            database_url=self.places.state_url, engine=engine, serializer=serializer
        )
        self.runtime = Runtime(
            self.places, self.name, engine, datasource, self._limits.min_free_mb, self._stop
        )
        runtimes.install(self.runtime)
        with environment_apart(self.name):
            self._sign_in()
        # Read under the lock and before the launch, which takes up what bears our own name.
        self.found = runs.executors(self.places)
        if not self._listen:
            DBOS.listen_queues([])
        reach("engine.launching")
        DBOS.launch()
        reach("engine.launched")
        DBOS.register_queue(
            QUEUE, worker_concurrency=self._limits.parallel, polling_interval_sec=POLL_SECONDS,
            on_conflict="always_update",
        )  # fmt: skip
        DBOS.register_queue(
            ADMIN_QUEUE, worker_concurrency=1, polling_interval_sec=POLL_SECONDS, on_conflict="always_update"
        )

    def enqueue(self, request: dict[str, Any]) -> None:
        """Start a run that the engine does not know yet; a known id is left as it is."""
        from dbos import DBOS, PropagateOtelContext, SetWorkflowID

        from quantctl.workflows import atomic, telemetry

        function = atomic.dataops if request["pipeline"].startswith("data.") else atomic.alpha
        with SetWorkflowID(request["run_id"]), PropagateOtelContext(telemetry.calling_context()):
            DBOS.enqueue_workflow(QUEUE, function, request)
        reach("run.enqueued")

    def adopt(self, run_id: str) -> None:
        """Take up a pending run of a worker that is gone (we hold the lock, so it is)."""
        from dbos import DBOS

        DBOS.resume_workflow(run_id, queue_name=QUEUE)

    def serve(self, finished: Callable[[], bool]) -> None:
        """Execute what is queued until `finished`; asked to stop, for the grace time at most."""
        deadline = None
        while not self._asked(finished):
            if self._stop.is_set():
                deadline = deadline or time.monotonic() + self._limits.grace_seconds
                if self.idle() or time.monotonic() > deadline:
                    return
            time.sleep(POLL_SECONDS / 2)

    def _asked(self, finished: Callable[[], bool]) -> bool:
        try:
            return finished()
        except StateUnreachable:
            self._lost = True
            raise

    def idle(self) -> bool:
        """Whether no run executes in this process."""
        assert self.runtime is not None
        return not self.runtime.active

    def stop(self) -> None:
        """Leave: take no further run, finish what was claimed meanwhile, release the lock last."""
        if self.runtime is not None:
            if self._stop.is_set() and self.runtime.active:
                # A stage still computes past its grace: the lock goes with the process, not before.
                return
            from dbos import DBOS

            # Without its database the engine would wait for ever, and nothing could be booked.
            waits = 0 if self._stop.is_set() or self._lost else CLAIMED_SECONDS
            DBOS.destroy(workflow_completion_timeout_sec=waits)
            reach("engine.destroyed")
            self._sign_out()
            self.runtime.engine.dispose()
            runtimes.install(None)
            self.runtime = None
        self._lock.release()

    def _sign_in(self) -> None:
        from sqlalchemy import text

        assert self.runtime is not None
        with self.runtime.engine.begin() as sql:
            sql.execute(
                text("INSERT INTO workers (worker, started) VALUES (:w, :t) ON CONFLICT (worker)"
                     " DO UPDATE SET started = excluded.started, ended = NULL"),
                {"w": self.name, "t": timestamp(datetime.now(UTC))},
            )  # fmt: skip

    def _sign_out(self) -> None:
        """Note the end; a full disk must not hide the fault that ended the run, and the lock tells anyway."""
        from sqlalchemy import text
        from sqlalchemy.exc import DBAPIError

        assert self.runtime is not None
        try:
            with self.runtime.engine.begin() as sql:
                sql.execute(
                    text("UPDATE workers SET ended = :t WHERE worker = :w"),
                    {"w": self.name, "t": timestamp(datetime.now(UTC))},
                )
        except DBAPIError as problem:
            log.warning("worker %s could not sign out: %s", self.name, problem.orig)


def refuse_stray_database(working_directory: Any) -> None:
    """Refuse to start where the `dbos` command has made a state database of its own."""
    stray = working_directory / "quantctl.sqlite"
    if stray.exists():
        raise ConfigError(
            "STATE_URL_MISMATCH",
            "the dbos command keeps another state database here",
            where=str(stray),
            remedy="remove it, and export TV_STATE_URL=$(quantctl doctor --state-url) for `dbos workflow`",
        )
