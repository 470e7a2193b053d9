"""Lives of a run: process facts, kept apart from its decisions. Interruptions are visible only here."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from quantctl.contracts.errors import EnvironmentFault
from quantctl.contracts.records.run import RunRequest
from quantctl.lake import state
from quantctl.lake.ledger import timestamp
from quantctl.workflows import fence, telemetry
from quantctl.workflows.faults import environment_apart
from quantctl.workflows.runtime import Places, Runtime
from quantctl.workflows.trace import RunTrace

log = logging.getLogger("quantctl.lives")
CARRIER = "dbos.otelContext"  # where the engine keeps the W3C context of whoever enqueued a run


@dataclass(frozen=True)
class Life:
    """One process life of a run and its trace."""

    number: int
    trace: RunTrace


def begin(runtime: Runtime, request: RunRequest) -> Life:
    """Start a life; an earlier one that never ended was cut off."""
    from sqlalchemy import text

    now = timestamp(datetime.now(UTC))
    with environment_apart(request.run_id), runtime.engine.begin() as sql:
        fence.check(runtime, sql, request.run_id)
        sql.execute(
            text("UPDATE run_lives SET ended = :t, reason = 'KILLED' WHERE run_id = :r AND ended IS NULL"),
            {"t": now, "r": request.run_id},
        )
        count = text("SELECT count(*) FROM run_lives WHERE run_id = :r")
        number = int(sql.execute(count, {"r": request.run_id}).scalar_one())
        sql.execute(
            text("INSERT INTO run_lives (run_id, life, worker, started) VALUES (:r, :n, :w, :t)"),
            {"r": request.run_id, "n": number, "w": runtime.worker, "t": now},
        )
    root, process = runtime.places.run_root(request.run_id), f"{runtime.worker}#{number}"
    with environment_apart(request.run_id):
        trace = RunTrace(root, request, process, number)
        trace.begin(_caller(runtime.places, request.run_id))
    return Life(number, trace)


def _caller(places: Places, run_id: str) -> str | None:
    """W3C traceparent that came with the run through the queue."""
    with state.reader(places.state_url) as connection:
        row = connection.execute(
            "SELECT attributes FROM workflow_status WHERE workflow_uuid = ?", (run_id,)
        ).fetchone() if connection else None  # fmt: skip
    kept = row["attributes"] if row else None
    attributes = json.loads(kept) if isinstance(kept, str) else kept
    carrier = attributes.get(CARRIER) if isinstance(attributes, dict) else None
    found = carrier.get("traceparent") if isinstance(carrier, dict) else None
    return found if isinstance(found, str) else None


def end(runtime: Runtime, request: RunRequest, life: Life, result: dict[str, Any]) -> None:
    """End a life that came to the close of its run."""
    life.trace.finish(result["state"], result["error"])
    with environment_apart(request.run_id):
        _record_end(runtime, request.run_id, "finished")


def cut_off(runtime: Runtime, request: RunRequest, life: Life | None, reason: str) -> None:
    """End a life by a fault; where not even that can be recorded, the next life does it."""
    if life is not None:
        life.trace.cut(reason)
    try:
        with environment_apart(request.run_id):
            _record_end(runtime, request.run_id, reason)
    except EnvironmentFault:
        log.exception("the end of a life of %s could not be recorded", request.run_id)


def cancelled(runtime: Runtime, request: RunRequest) -> RunTrace:
    """Close what the last life of a run left open, when it is cancelled while nobody executes it."""
    with environment_apart(request.run_id):
        _record_end(runtime, request.run_id, "KILLED")
        trace = RunTrace(runtime.places.run_root(request.run_id), request, runtime.worker)
        trace.begin(_caller(runtime.places, request.run_id))
        trace.finish("CANCELLED", {"code": "CANCELLED"})
    return trace


def _record_end(runtime: Runtime, run_id: str, reason: str) -> None:
    from sqlalchemy import text

    with runtime.engine.begin() as sql:
        sql.execute(
            text("UPDATE run_lives SET ended = :t, reason = :why WHERE run_id = :r AND ended IS NULL"),
            {"t": timestamp(datetime.now(UTC)), "why": reason, "r": run_id},
        )


def in_span(life: Life, stage: str, attempt: int, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Compute a stage inside its span; the outcome keeps the span's id, which its records name.

    A fault of the environment closes the span as interrupted.
    """
    with life.trace.stage(stage, attempt) as (span_id, facts):
        log.info("stage %s begins", stage)
        outcome = compute()
        log.info("stage %s ends: %s", stage, outcome["status"])
        if outcome["error"] is not None:
            facts["error.code"] = outcome["error"]["code"]
        telemetry.record_outcome(stage, life.trace.stage_seconds(), outcome)
    return outcome | {"span_id": span_id}
