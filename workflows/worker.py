"""The worker: a process that has a seat, launches the workflow engine and executes runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from quantctl.contracts.errors import ConfigError, LeaseLost, StateUnreachable
from quantctl.contracts.records.run import PROTOCOL
from quantctl.lake import leases, state
from quantctl.lake.fault_points import reach
from quantctl.workflows import engine_rows
from quantctl.workflows import runtime as runtimes
from quantctl.workflows.names import ADMIN_QUEUE, QUEUE, queue_of, workflow_name
from quantctl.workflows.queues import limit_here, register, stop_claiming
from quantctl.workflows.runtime import Places, Runtime
from quantctl.workflows.seats import seat_of
from quantctl.workflows.telling import Courier

Answer = TypeVar("Answer")
LOOK_SECONDS = 0.05
ADOPT_SECONDS = 1.0  # between looks for runs of dead workers
CLAIMED_SECONDS = 24 * 3600  # a run that was claimed just before leaving is finished first


@dataclass(frozen=True)
class Limits:
    """What a worker may use: megabytes kept free, runs at once, seconds for a stage to finish.

    children : children of batches at once; their parents only wait
    lease_seconds, max_runs : on Postgres, how long it may give no sign of life, and the runs at once over
        all workers (null: what each of them takes)
    """

    min_free_mb: int = 200
    parallel: int = 1
    grace_seconds: float = 30.0
    lease_seconds: float = 15.0
    max_runs: int | None = None
    children: int = 2


class Worker:
    """Has a seat from `start` to `stop`. One process has at most one.

    name : `run-<run_id>` for the worker embedded in a command, `worker-...` for a long-lived one.
        The engine recovers what an executor of the same name left pending, so an embedded worker
        takes up its own run only.
    yields : on Postgres, do not start while a long-lived worker is alive
    batches : take up batches and their children too; a command that runs something else leaves them
    """

    def __init__(
        self, places: Places, name: str, limits: Limits, stop: threading.Event, *, listen: bool = True,
        yields: bool = True, batches: bool = True,
    ) -> None:  # fmt: skip
        self.places = places
        self.name = name
        self._limits = limits
        self._stop = stop
        self._listen = listen
        self._batches = batches
        self._lost = False
        self._looked = 0.0
        self.found: dict[str, str] = {}
        self._seat = seat_of(places, name, limits.lease_seconds, yields=yields)
        self.runtime: Runtime | None = None
        self._courier: Courier | None = None

    def start(self) -> bool:
        """Become a worker; false when another process has the seat. Raises as `Places.open_state`."""
        if not self.ask(self._seat.take):
            return False
        try:
            self.ask(self._launch)
        except BaseException:
            self.stop()
            raise
        return True

    def _launch(self) -> None:
        from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SQLAlchemyDatasource

        import quantctl.workflows.admin
        import quantctl.workflows.atomic  # noqa: F401  registers the workflows before the launch

        engine = self.places.open_state()
        self._seat.sign_in(engine)
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
            self.places, self.name, engine, datasource, self._limits.min_free_mb, self._stop,
            shared=self.shared,
        )  # fmt: skip
        runtimes.install(self.runtime)
        # Read under the lock and before the launch, which takes up what bears our own name.
        self.found = engine_rows.pending(self.places)
        if not self._listen:
            DBOS.listen_queues([])
        elif not self._batches:
            DBOS.listen_queues([QUEUE, ADMIN_QUEUE])
        limits = self._limits
        # On SQLite there is one worker, and a limit over all of them would admit too many.
        limit_here(limits.parallel, limits.max_runs if self.shared else None, limits.children)
        reach("engine.launching")
        DBOS.launch()
        reach("engine.launched")
        register(limits.parallel, limits.children)
        self._courier = Courier(self.runtime)
        self._courier.start()

    @property
    def shared(self) -> bool:
        """Whether other workers may execute beside this one."""
        return self._seat.shared

    def enqueue(self, request: dict[str, Any]) -> None:
        """Start a run that the engine does not know yet; a known id is left as it is."""
        from dbos import DBOS, PropagateOtelContext, SetWorkflowID

        from quantctl.workflows import atomic, telemetry

        workflow = workflow_name(request["pipeline"])
        caller = PropagateOtelContext(telemetry.calling_context())
        with SetWorkflowID(request["run_id"]), caller:
            DBOS.enqueue_workflow(queue_of(workflow), atomic.WORKFLOWS[workflow], request)
        reach("run.enqueued")

    def take_up(self, run_id: str) -> None:
        """Put a pending run into the queue again that nobody executes."""
        from dbos import DBOS

        DBOS.resume_workflow(run_id, queue_name=engine_rows.queue_of_run(self.places, run_id))

    def adopt(self, *, put_down: bool = False) -> list[str]:
        """Take up what dead workers left pending; an embedded worker takes its own run only.

        put_down : also runs that met a fault of the environment and wait for `resume`
        """
        assert self.runtime is not None
        if not self.shared:  # whoever has the lock takes up what it wants when it starts
            return []
        only = None if self.name.startswith(leases.LONG_LIVED) else self.name.removeprefix("run-")
        faults = self.runtime.faults
        dropped = [run_id for run_id, fault in faults.items() if isinstance(fault, StateUnreachable)]
        with self.runtime.engine.begin() as sql:
            for run_id in dropped:
                leases.requeue(sql, self.name, run_id)
                faults.pop(run_id, None)
            return leases.adopt(sql, self.name, PROTOCOL, only, put_down=put_down)

    def serve(
        self, finished: Callable[[], bool], adopted: Callable[[str], None] = lambda _: None,
        chore: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """Execute what is queued until `finished`; asked to stop, for the grace time at most.

        adopted : told of every workflow that is taken over from a dead worker meanwhile
        chore : done about once a second, not while leaving
        """
        deadline = None
        while not self.ask(finished):
            if self._stop.is_set():
                deadline = deadline or time.monotonic() + self._limits.grace_seconds
                if self.idle() or time.monotonic() > deadline:
                    return
            else:
                self._look_after(adopted, chore)
            time.sleep(LOOK_SECONDS)

    def _look_after(self, adopted: Callable[[str], None], chore: Callable[[], None]) -> None:
        """Now and then, take over from the dead; leave when another process has this one's name."""
        if time.monotonic() - self._looked > ADOPT_SECONDS:
            for run_id in self.ask(self.adopt):
                adopted(run_id)
            self.ask(chore)
            self._looked = time.monotonic()
        if self._seat.lost():
            raise LeaseLost(
                "LEASE_LOST", f"another process is {self.name} now, for this one gave no sign of life",
                remedy="repeat the command",
            )  # fmt: skip

    def ask(self, question: Callable[[], Answer]) -> Answer:
        """Do something with the state database; without it, `STATE_UNREACHABLE` at once, and a quick leave.

        The engine itself would wait for the database, however long.
        """
        try:
            with state.faults(self.places.state_url):
                return question()
        except StateUnreachable:
            self._lost = True
            raise

    def idle(self) -> bool:
        """Whether no run executes in this process."""
        assert self.runtime is not None
        return not self.runtime.active

    def stop(self) -> None:
        """Leave: take no further run, finish what was claimed meanwhile, give the seat up last."""
        if self.runtime is not None:
            if self._stop.is_set() and self.runtime.active:
                # A stage still computes past its grace: a lock goes with the process, not before. A lease
                # goes now, and the stage books nothing any more.
                if self.shared:
                    self._seat.leave()
                return
            from dbos import DBOS

            self.runtime.leaving = True
            # Without its database the engine would wait for ever, and nothing could be booked.
            finishes = not (self._stop.is_set() or self._lost)
            waits = CLAIMED_SECONDS if finishes and self._has_claimed() else 0
            DBOS.destroy(workflow_completion_timeout_sec=waits)
            if self._courier is not None:
                self._courier.close(last_round=finishes)
            reach("engine.destroyed")
            self._seat.sign_out(self.runtime.engine)
            _forget(self.runtime.datasource)
            self.runtime.engine.dispose()
            runtimes.install(None)
            self.runtime = None
        self._seat.leave()

    def _has_claimed(self) -> bool:
        """Whether anything is left to finish; nothing more is claimed from now on."""
        stop_claiming()
        try:
            return self.name in self.ask(lambda: engine_rows.pending(self.places)).values()
        except StateUnreachable:
            return False


def _forget(datasource: Any) -> None:
    """Take a datasource off the engine's registry, which outlives the engine.

    A rewind drops checkpoints in every datasource that is registered: a later worker of this process would
    reach into the database of an earlier one.
    """
    from dbos._dbos import _get_or_create_dbos_registry

    _get_or_create_dbos_registry().datasources.remove(datasource)


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
