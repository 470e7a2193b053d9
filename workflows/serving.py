"""The long-lived worker: adopts every interrupted run, then serves the queue."""

from __future__ import annotations

import threading
from collections.abc import Callable

from quantctl.contracts.records.run import PROTOCOL
from quantctl.workflows import runs
from quantctl.workflows.runtime import Places
from quantctl.workflows.scheduling import Build, Firing
from quantctl.workflows.seats import long_lived_name
from quantctl.workflows.versions import version_of
from quantctl.workflows.worker import Limits, Worker

Announce = Callable[[str], None]


def serve(
    places: Places, limits: Limits, stop: threading.Event, *, announce: Announce, build: Build | None = None
) -> bool:
    """Serve until `stop`, firing schedules; on SQLite false when another process is the worker.

    Interrupted runs of other workers are adopted oldest first; runs of another workflow protocol are
    announced and left alone. On Postgres other workers may serve beside this one: it adopts what the dead
    among them left, now and whenever one dies.

    build : makes the request of a scheduled run; null: no schedule is fired
    """
    worker = Worker(places, long_lived_name(places), limits, stop, yields=False)
    if not worker.start():
        return False
    announce(f"{worker.name} serves; SIGTERM drains and leaves")
    try:
        left_alone = _of_other_versions(worker)
        for run_id, version in left_alone.items():
            announce(f"left alone {run_id}: protocol {version}")
        for run_id in worker.ask(lambda: _take_up(worker, left_alone)):
            announce(_adopts(places, run_id))
        chore = Firing(worker, build).tick if build is not None else lambda: None
        worker.serve(lambda: False, lambda run_id: announce(_adopts(places, run_id)), chore)
    finally:
        worker.stop()
    return True


def _pending(worker: Worker) -> list[str]:
    """Runs that a dead worker had begun when this one started, oldest first."""
    found = reversed(runs.statuses(worker.places, limit=10_000))
    begun = [run.run_id for run in found if run.state == "INTERRUPTED"]
    return [run_id for run_id in begun if worker.found.get(run_id) not in (None, "", worker.name)]


def _of_other_versions(worker: Worker) -> dict[str, str | None]:
    versions = {run_id: version_of(worker.places, run_id) for run_id in _pending(worker)}
    return {run_id: version for run_id, version in versions.items() if version != PROTOCOL}


def _take_up(worker: Worker, left_alone: dict[str, str | None]) -> list[str]:
    """What the dead left; as the one worker, whatever is pending now, for it has nobody else."""
    if worker.shared:
        return worker.adopt(put_down=True)
    from quantctl.workflows.admin import take_over

    take_over(worker.places, worker.name)
    mine = [run_id for run_id in _pending(worker) if run_id not in left_alone]
    for run_id in mine:
        worker.take_up(run_id)
    return mine


def _adopts(places: Places, workflow_id: str) -> str:
    """A wish of a command may be adopted as well; its id has colons, which no run id has."""
    known = runs.status(places, workflow_id) if ":" not in workflow_id else None
    return f"adopts {workflow_id}" + (f" at {known.stage or 'its start'}" if known else "")
