"""What is written once a run is closed: projections of the ledger, never part of it."""

from __future__ import annotations

from typing import Any

from quantctl.contracts.canonical import canonical
from quantctl.lake import state
from quantctl.lake.audit_file import project
from quantctl.lake.files import write_atomic
from quantctl.lake.spans import read_spans
from quantctl.workflows.projection import project_run
from quantctl.workflows.session import Session


def closed(session: Session) -> None:
    """Bring `audit.jsonl`, the forensic trace and the SQL surface up to the closing record."""
    places = session.runtime.places
    project(places.state_url, session.request.run_id, session.directory.root)
    write_trace(session, complete=True)
    project_run(places, session.request.run_id)


def write_trace(session: Session, *, complete: bool) -> None:
    """`forensic_trace.json`: every span of every life of the run, and the lives themselves."""
    request = session.request
    trace: dict[str, Any] = {
        "schema_version": 1,
        "run_id": request.run_id,
        "profile": request.profile,
        "trace_id": request.trace_id,
        "complete": complete,
        "lives": _lives(session),
        "spans": read_spans(session.directory.root, request.trace_id),
    }
    write_atomic(session.directory.path("forensic_trace"), canonical(trace))


def _lives(session: Session) -> list[dict[str, Any]]:
    with state.reader(session.runtime.places.state_url) as connection:
        if connection is None:
            return []
        rows = connection.execute(
            "SELECT life, worker, started, ended, reason FROM run_lives WHERE run_id = ? ORDER BY life",
            (session.request.run_id,),
        )
        return [dict(row) for row in rows]
