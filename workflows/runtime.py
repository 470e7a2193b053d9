"""What a worker process has at hand while it executes runs. Set once, when the worker starts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantctl.contracts.errors import ConfigError, EnvironmentFault, InternalError, Interrupted
from quantctl.lake import leases, owner, state

if TYPE_CHECKING:
    from sqlalchemy import Engine


@dataclass(frozen=True)
class Places:
    """Where a process keeps things; resolved from settings at the front door."""

    data_dir: Path
    lakehouse_dir: Path
    artifacts_dir: Path
    export_dir: Path
    state_url: str

    @property
    def lock(self) -> Path:
        """The lock of whoever executes runs."""
        return self.data_dir / "state" / "worker.lock"

    @contextmanager
    def writing(self) -> Iterator[Engine]:
        """The state database for the time of a block, its faults told at once as `STATE_UNREACHABLE`."""
        with state.faults(self.state_url):
            engine = self.open_state()
            try:
                yield engine
            finally:
                engine.dispose()

    def open_state(self) -> Engine:
        """The state database for writing, with our tables made; taken if it belongs to nobody yet.

        Raises `STATE_FOREIGN` (exit 2) for that of another data directory, `STATE_UNREACHABLE` (exit 5).
        """
        engine = state.open_engine(self.state_url)
        try:
            with state.faults(self.state_url), engine.begin() as sql:
                owner.claim(sql, self.state_url, self.data_dir)
        except BaseException:
            engine.dispose()
            raise
        return engine

    def adopt_state(self) -> None:
        """Take the state database over from another data directory.

        `WORKER_BUSY` (exit 2) while a worker is at work in it: for the other directory, as far as we know.
        """
        try:
            self.check_owner()
        except ConfigError:
            if live := self.live_workers():
                raise ConfigError(
                    "WORKER_BUSY", f"{', '.join(sorted(live))} works in the state database to be taken over",
                    remedy="stop it, then repeat the command",
                ) from None  # fmt: skip
        with state.faults(self.state_url):
            engine = state.open_engine(self.state_url)
            with engine.begin() as sql:
                owner.adopt(sql, self.state_url, self.data_dir)
            engine.dispose()

    def check_owner(self) -> None:
        """Refuse the state database of another data directory (`STATE_FOREIGN`, exit 2); reads only."""
        owner.check(self.state_url, self.data_dir)

    def live_workers(self) -> frozenset[str]:
        """Names of the workers that are alive now; raises `STATE_UNREACHABLE` when Postgres is away."""
        return leases.live_workers(self.state_url, self.lock)

    @property
    def cache(self) -> Path:
        """Derived tables that any run may share."""
        return self.data_dir / "cache"

    @property
    def ledger_parts(self) -> Path:
        """Parts of the SQL surface."""
        return self.data_dir / "ledger"

    @property
    def catalog(self) -> Path:
        """The DuckDB file of views."""
        return self.data_dir / "catalog.duckdb"

    def run_root(self, run_id: str) -> Path:
        """Directory of a run."""
        return self.artifacts_dir / "summaries" / "runs" / run_id


@dataclass
class Runtime:
    """The worker's engine, datasource and signals, and the runs that execute here.

    shared : whether other workers share the state database, so that a run may be taken away
    active : run -> what stands for its execution in this process
    leaving : the process takes nothing from the queues any more
    """

    places: Places
    worker: str
    engine: Engine
    datasource: Any
    min_free_mb: int
    stop: threading.Event
    faults: dict[str, EnvironmentFault] = field(default_factory=dict)
    active: dict[str, object] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    shared: bool = False
    leaving: bool = False

    def begin(self, run_id: str) -> object:
        """An execution of a run begins in this process."""
        self.faults.pop(run_id, None)
        self.ended.discard(run_id)
        self.active[run_id] = execution = object()
        return execution

    def end(self, run_id: str, execution: object, fault: EnvironmentFault | None) -> None:
        """It ends, by a fault or not; a later execution of the same run, begun meanwhile, goes on."""
        if self.active.get(run_id) is execution:
            del self.active[run_id]
            self.ended.add(run_id)
            if fault is not None:
                self.faults[run_id] = fault

    def check_stop(self, run_id: str, stage: str) -> None:
        """Raise `Interrupted` when the process was asked to start no further stage."""
        if self.stop.is_set():
            raise Interrupted(
                "INTERRUPTED", f"interrupted at {stage}; nothing lost", where=stage,
                remedy=f"quantctl resume {run_id}",
            )  # fmt: skip


_current: Runtime | None = None


def install(runtime: Runtime | None) -> None:
    """Make `runtime` the one that workflows of this process use; null when the worker stops."""
    global _current
    _current = runtime


def current() -> Runtime:
    """The runtime of this process."""
    if _current is None:
        raise InternalError("INTERNAL", "a workflow ran outside a worker")
    return _current
