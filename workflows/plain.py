"""Stages called plainly: the same functions, contracts and gates, without ledger and checkpoints.

For looking at one stage, for tests, and to measure what durability costs. Nothing here touches the
run whose artifacts it borrows.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from quantctl.contracts.artifacts import Artifact
from quantctl.contracts.records.run import RunRequest
from quantctl.contracts.stage import StageSpec
from quantctl.lake import artifact_index, state
from quantctl.lake.rundir import RunDirectory
from quantctl.workflows.compute import compute
from quantctl.workflows.registry import build, gates_of, require_stage
from quantctl.workflows.runtime import Places, Runtime
from quantctl.workflows.session import Session


def run_plainly(
    request: RunRequest, places: Places, scratch: Path, last_stage: str | None = None
) -> tuple[Session, dict[str, dict[str, Any]]]:
    """Every stage of the request's pipeline up to `last_stage`, written below `scratch`.

    Returns the session and the outcome of each stage; stops at the first that fails.
    """
    session = bare_session(request, places, scratch)
    outcomes: dict[str, dict[str, Any]] = {}
    for spec in build(request.pipeline).stages:
        outcomes[spec.id] = _compute(session, spec)
        if outcomes[spec.id]["error"] is not None or spec.id == last_stage:
            break
    return session, outcomes


def run_stage(
    request: RunRequest, places: Places, scratch: Path, stage: str
) -> tuple[Session, dict[str, Any]]:
    """One stage on the artifacts of the run `request.run_id`, its outputs written below `scratch`."""
    spec = require_stage(stage)
    session = bare_session(request, places, scratch)
    for artifact in _borrowed(places, request.run_id):
        if artifact.name not in spec.writes:
            _link(places.run_root(request.run_id) / artifact.path, session.directory.root / artifact.path)
            session.artifacts[artifact.name] = artifact
    return session, _compute(session, spec)


def _compute(session: Session, spec: StageSpec) -> dict[str, Any]:
    outcome = compute(session, spec, gates_of(spec.id), attempt=1)
    session.artifacts.update(
        {output["name"]: Artifact.model_validate(output) for output in outcome["outputs"]}
    )
    return outcome


def bare_session(request: RunRequest, places: Places, scratch: Path) -> Session:
    """A session without engine and ledger, whose files lie below `scratch`."""
    runtime = Runtime(
        places, "plain", min_free_mb=0, stop=threading.Event(),
        engine=None, datasource=None,  # type: ignore[arg-type]
    )  # fmt: skip
    session = Session(request, runtime)
    session.directory = RunDirectory(scratch, request.run_id, request.profile)
    return session


def _borrowed(places: Places, run_id: str) -> list[Artifact]:
    with state.reader(places.state_url) as connection:
        return artifact_index.artifacts(connection, run_id)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.exists() and not target.exists():
        os.link(source, target)
