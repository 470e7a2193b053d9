"""Handing work to the worker that lives: rows of the engine's queues, written through its client."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from quantctl.contracts.records.run import PROTOCOL, RunRequest
from quantctl.contracts.records.wish import Wish
from quantctl.lake import state
from quantctl.workflows.names import ADMIN, ADMIN_QUEUE, queue_of, workflow_name
from quantctl.workflows.runtime import Places
from quantctl.workflows.telemetry import calling_context
from quantctl.workflows.worker import Limits, Worker

if TYPE_CHECKING:
    from dbos import DBOSClient, EnqueueOptions

WAIT_SECONDS = 0.2
START_SECONDS = 30.0


def submit(places: Places, request: RunRequest, limits: Limits, stop: threading.Event) -> None:
    """Queue a run for the worker; on a new installation the engine's tables are made first."""
    from sqlalchemy.exc import DBAPIError

    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            workflow = workflow_name(request.pipeline)
            options = _options(workflow, queue_of(workflow), request.run_id)
            if (caller := calling_context()) is not None:
                options["otel_context"] = caller
            with _client(places) as client:
                client.enqueue(options, request.model_dump())
            return
        except DBAPIError as problem:
            if not state.tables_missing(problem) or time.monotonic() > deadline:
                raise
        worker = Worker(places, f"setup-{request.run_id}", limits, stop, listen=False)
        if worker.start():
            worker.stop()
        else:  # its holder is making them
            time.sleep(WAIT_SECONDS)


def submit_wish(places: Places, wish_id: str, wish: Wish) -> None:
    """Queue a wish for the process that executes runs."""
    with _client(places) as client:
        client.enqueue(_options(ADMIN, ADMIN_QUEUE, wish_id), wish.model_dump())


def withdraw(places: Places, wish_id: str) -> None:
    """Take a wish back; one that is fulfilled stays as it is."""
    with _client(places) as client:
        client.cancel_workflow(wish_id)


def _options(workflow: str, queue: str, workflow_id: str) -> EnqueueOptions:
    return {
        "workflow_name": workflow, "queue_name": queue, "workflow_id": workflow_id, "app_version": PROTOCOL,
        "application_name": "quantctl",
    }  # fmt: skip


@contextmanager
def _client(places: Places) -> Iterator[DBOSClient]:
    from dbos import DBOSClient, DBOSPortableJSONSerializer

    with places.writing() as engine:
        client = DBOSClient(system_database_engine=engine, serializer=DBOSPortableJSONSerializer())
        try:
            yield client
        finally:
            client.destroy()
