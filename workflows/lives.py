"""Lives of a run: process facts, kept apart from its decisions. Interruptions are visible only here."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from quantctl.contracts.errors import EnvironmentFault
from quantctl.contracts.ids import span_id_of, trace_id_of
from quantctl.contracts.records.run import RunRequest
from quantctl.lake.ledger import timestamp
from quantctl.lake.spans import SpanLog
from quantctl.workflows import telemetry
from quantctl.workflows.faults import environment_apart
from quantctl.workflows.logs import located
from quantctl.workflows.runtime import Runtime

log = logging.getLogger("quantctl.lives")


@dataclass(frozen=True)
class Life:
    """One process life of a run and its span log."""

    run_id: str
    profile: str
    number: int
    root_span: str
    log: SpanLog


def begin(runtime: Runtime, request: RunRequest) -> Life:
    """Start a life; an earlier one that never ended was cut off."""
    from sqlalchemy import text

    now = timestamp(datetime.now(UTC))
    with environment_apart(request.run_id), runtime.engine.begin() as sql:
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
    log = SpanLog(runtime.places.run_root(request.run_id), f"{runtime.worker}#{number}")
    root = span_id_of(request.run_id, f"run {request.pipeline} #{number}", 0)
    log.start(root, f"run {request.pipeline}", None, 1, **_attributes(request, number))
    return Life(request.run_id, request.profile, number, root, log)


def end(runtime: Runtime, request: RunRequest, life: Life, reason: str) -> None:
    """End a life that came to its close."""
    life.log.end(life.root_span, True)
    with environment_apart(request.run_id):
        _record_end(runtime, request.run_id, reason)


def cut_off(runtime: Runtime, request: RunRequest, reason: str) -> None:
    """End a life by a fault; where not even that can be recorded, the next life does it."""
    try:
        with environment_apart(request.run_id):
            _record_end(runtime, request.run_id, reason)
    except EnvironmentFault:
        log.exception("the end of a life of %s could not be recorded", request.run_id)


def _record_end(runtime: Runtime, run_id: str, reason: str) -> None:
    from sqlalchemy import text

    with runtime.engine.begin() as sql:
        sql.execute(
            text("UPDATE run_lives SET ended = :t, reason = :why WHERE run_id = :r AND ended IS NULL"),
            {"t": timestamp(datetime.now(UTC)), "why": reason, "r": run_id},
        )


def in_span(life: Life, stage: str, attempt: int, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Compute a stage inside its span, with its log lines located; a fault leaves the span open."""
    span_id = span_id_of(life.run_id, f"{stage}#{life.number}", attempt)
    attributes = {
        "quant.run_id": life.run_id,
        "quant.profile": life.profile,
        "quant.stage_id": stage,
        "quant.attempt": attempt,
        "quant.level": "stage",
    }
    life.log.start(span_id, stage, life.root_span, attempt, **attributes)
    began = time.perf_counter()
    exported = telemetry.stage_span(trace_id_of(life.run_id), life.root_span, stage, attributes)
    with located(stage_id=stage, span_id=span_id), exported as span:
        log.info("stage %s begins", stage)
        outcome = compute()
        log.info("stage %s ends: %s", stage, outcome["status"])
        telemetry.record_outcome(span, stage, time.perf_counter() - began, outcome)
    error = outcome["error"]
    life.log.end(span_id, error is None, **({"error.code": error["code"]} if error else {}))
    return outcome


def _attributes(request: RunRequest, number: int) -> dict[str, Any]:
    return {
        "quant.run_id": request.run_id,
        "quant.profile": request.profile,
        "quant.pipeline": request.pipeline,
        "quant.life": number,
        "quant.level": "run",
    }
