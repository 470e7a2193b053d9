"""What is written once a run is closed: projections of the ledger, never part of it."""

from __future__ import annotations

import logging
from typing import Any

from quantctl.contracts.canonical import canonical, parse_strict
from quantctl.contracts.errors import QuantError
from quantctl.lake import state
from quantctl.lake.audit_file import project
from quantctl.lake.files import write_atomic
from quantctl.lake.rundir import point_latest
from quantctl.lake.spans import read_spans
from quantctl.workflows.projection import project_run
from quantctl.workflows.session import Session

log = logging.getLogger("quantctl.after")


def closed(session: Session, state_name: str) -> None:
    """Bring `audit.jsonl`, the trace, `INDEX.md` and the SQL surface up to the closing record.

    `summaries/latest` moves only after a pass.
    """
    places = session.runtime.places
    project(places.state_url, session.request.run_id, session.directory.root)
    write_trace(session, complete=True)
    write_index(session)
    if state_name == "SUCCESS":
        point_latest(places.artifacts_dir, session.request.run_id)
    project_run(places, session.request.run_id)


def write_index(session: Session) -> None:
    """`INDEX.md`, from manifest, verdict files and ledger; a mismatch is logged, and audits name it."""
    from quantctl.steps.reporting.index import render_index

    directory = session.directory
    records = session.records()
    files = {path: place.read_bytes() for path, place in directory.files().items()}
    paths = [record["outputs"][0]["path"] for record in records if record["type"] == "gate"]
    try:
        verdicts = {path: parse_strict(files[path]) for path in paths}
        artifacts = [artifact.model_dump() for artifact in session.artifacts.values()]
        text = render_index(session.request.manifest(), verdicts, artifacts, files)
    except (QuantError, KeyError):
        log.exception("INDEX.md of %s could not be written", session.request.run_id)
        return
    write_atomic(directory.path("index"), text.encode())


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
