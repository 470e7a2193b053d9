"""Handing work to the worker that lives: rows of the engine's queue, written through its client."""

from __future__ import annotations

import threading
import time

from quantctl.contracts.errors import StateUnreachable
from quantctl.contracts.records.run import PROTOCOL, RunRequest
from quantctl.lake import state
from quantctl.workflows.names import QUEUE, workflow_name
from quantctl.workflows.runtime import Places
from quantctl.workflows.telemetry import calling_context
from quantctl.workflows.worker import Limits, Worker

WAIT_SECONDS = 0.2
START_SECONDS = 30.0


def submit(places: Places, request: RunRequest, limits: Limits, stop: threading.Event) -> None:
    """Queue a run for the worker; on a new installation the engine's tables are made first."""
    from sqlalchemy.exc import DBAPIError

    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return _enqueue(places, request)
        except DBAPIError as problem:
            if not state.tables_missing(problem) or time.monotonic() > deadline:
                raise StateUnreachable(
                    "STATE_UNREACHABLE", f"the run can't be queued: {problem.orig}",
                    remedy="check the state database, then repeat the command",
                ) from None  # fmt: skip
        worker = Worker(places, f"setup-{request.run_id}", limits, stop, listen=False)
        if worker.start():
            worker.stop()
        else:  # its holder is making them
            time.sleep(WAIT_SECONDS)


def _enqueue(places: Places, request: RunRequest) -> None:
    from dbos import DBOSClient, DBOSPortableJSONSerializer, EnqueueOptions

    engine = state.open_engine(places.state_url)
    client = DBOSClient(system_database_engine=engine, serializer=DBOSPortableJSONSerializer())
    try:
        options: EnqueueOptions = {
            "workflow_name": workflow_name(request.pipeline), "queue_name": QUEUE,
            "workflow_id": request.run_id, "app_version": PROTOCOL, "application_name": "quantctl",
        }  # fmt: skip
        if (caller := calling_context()) is not None:
            options["otel_context"] = caller
        client.enqueue(options, request.model_dump())
    finally:
        client.destroy()
        engine.dispose()
