"""The long-lived worker: adopts every interrupted run, then serves the queue."""

from __future__ import annotations

import threading
from collections.abc import Callable

from quantctl.contracts.records.run import PROTOCOL
from quantctl.workflows import runs
from quantctl.workflows.runtime import Places
from quantctl.workflows.versions import version_of
from quantctl.workflows.worker import Limits, Worker

NAME = "worker-1"


def serve(places: Places, limits: Limits, stop: threading.Event, *, announce: Callable[[str], None]) -> bool:
    """Serve until `stop`; false when another process is the worker.

    Interrupted runs of other workers are adopted oldest first; runs of another workflow protocol are
    announced and left alone.
    """
    from quantctl.workflows.admin import take_over

    worker = Worker(places, NAME, limits, stop)
    if not worker.start():
        return False
    announce(f"{NAME} serves; SIGTERM drains and leaves")
    try:
        take_over(places, NAME)
        for run in reversed(runs.statuses(places, limit=10_000)):
            if run.state in runs.TERMINAL or worker.found.get(run.run_id) in (None, "", NAME):
                continue
            version = version_of(places, run.run_id)
            if version != PROTOCOL:
                announce(f"left alone {run.run_id}: protocol {version}")
                continue
            announce(f"adopts {run.run_id} at {run.stage or 'its start'}")
            worker.adopt(run.run_id)
        worker.serve(lambda: False)
    finally:
        worker.stop()
    return True
