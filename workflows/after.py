"""What is written once a run is closed: projections of the ledger, never part of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from quantctl.contracts.artifacts import ARTIFACTS
from quantctl.contracts.canonical import canonical, parse_strict
from quantctl.contracts.errors import EnvironmentFault, QuantError
from quantctl.contracts.records.batch import PIPELINE as BATCH_PIPELINE
from quantctl.contracts.records.run import RunRequest
from quantctl.lake import state
from quantctl.lake.audit_file import project
from quantctl.lake.files import write_atomic
from quantctl.lake.rundir import point_latest
from quantctl.workflows import child_spans
from quantctl.workflows.projection import project_run
from quantctl.workflows.runtime import Places
from quantctl.workflows.session import Session
from quantctl.workflows.trace import RunTrace

log = logging.getLogger("quantctl.after")


def closed(session: Session, trace: RunTrace, state_name: str) -> None:
    """Bring `audit.jsonl`, the trace, `INDEX.md` and the SQL surface up to the closing record.

    `summaries/latest` moves only after a pass.
    """
    places = session.runtime.places
    project(places.state_url, session.request.run_id, session.directory.root)
    write_trace(places, session.request, trace, complete=True)
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
    gates = [record for record in records if record["type"] == "gate"]
    paths = [record["outputs"][0]["path"] for record in gates]
    try:
        verdicts = {path: parse_strict(files[path]) for path in paths}
        artifacts = [artifact.model_dump() for artifact in session.artifacts.values()]
        text = render_index(session.request.manifest(), verdicts, artifacts, files, judged_elsewhere(gates))
    except (QuantError, KeyError):
        log.exception("INDEX.md of %s could not be written", session.request.run_id)
        return
    write_atomic(directory.path("index"), text.encode())


def judged_elsewhere(gates: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Path of each verdict that a fork keeps -> the run that judged; `gates` are gate records in order."""
    found: dict[str, str] = {}
    for record in gates:
        path, kept = record["outputs"][0]["path"], record["data"].get("kept_from")
        found.pop(path, None)
        if kept is not None:
            found[path] = kept["run_id"]
    return found


def interrupted(places: Places, request: RunRequest, trace: RunTrace) -> None:
    """Write the trace of a run that stays open; on a disk that takes nothing, the next life does it."""
    try:
        write_trace(places, request, trace, complete=False)
    except (EnvironmentFault, OSError) as problem:
        log.warning("the trace of %s could not be written: %s", request.run_id, problem)


def write_trace(places: Places, request: RunRequest, trace: RunTrace, *, complete: bool) -> None:
    """`forensic_trace.json`: every span of every life of the run and of its children, and its lives."""
    spans = trace.spans()
    if request.pipeline == BATCH_PIPELINE:
        spans += child_spans.below(places, request, spans)
    known = {span["span_id"] for span in spans}
    body: dict[str, Any] = {
        "schema_version": 1,
        "run_id": request.run_id,
        "profile": request.profile,
        "trace_id": request.trace_id,
        "complete": complete,
        "lives": _lives(places, request.run_id),
        "spans": [
            span if span["parent_span_id"] in known else span | {"parent_span_id": None} for span in spans
        ],
    }
    write_atomic(places.run_root(request.run_id) / ARTIFACTS["forensic_trace"].path, canonical(body))


def _lives(places: Places, run_id: str) -> list[dict[str, Any]]:
    with state.reader(places.state_url) as connection:
        if connection is None:
            return []
        rows = connection.execute(
            "SELECT life, worker, started, ended, reason FROM run_lives WHERE run_id = ? ORDER BY life",
            (run_id,),
        )
        return [dict(row) for row in rows]
