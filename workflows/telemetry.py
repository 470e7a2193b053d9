"""Spans and metrics through the OpenTelemetry API; without an SDK they cost nothing and go nowhere.

The exporter is set up at the front door. Ids of a run's trace are derived from its run id, so a
resumed run stays in its trace.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags

tracer = trace.get_tracer("quantctl")
meter = metrics.get_meter("quantctl")
stage_seconds = meter.create_histogram("quant_stage_duration_seconds", unit="s")
stage_total = meter.create_counter("quant_stage_total")
gate_failures = meter.create_counter("quant_gate_failures_total")


@contextmanager
def stage_span(trace_id: str, root_span: str, stage: str, attributes: dict[str, Any]) -> Iterator[Any]:
    """A span named by its stage, in the run's own trace; the yielded span takes the outcome."""
    parent = SpanContext(
        int(trace_id, 16), int(root_span, 16), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )
    context = trace.set_span_in_context(NonRecordingSpan(parent))
    with tracer.start_as_current_span(stage, context=context, attributes=attributes) as span:
        yield span


def record_outcome(span: Any, stage: str, seconds: float, outcome: dict[str, Any]) -> None:
    """Status and code of a stage's span, and its metrics."""
    error = outcome["error"]
    if error is not None:
        span.set_status(Status(StatusCode.ERROR, error["message"]))
        span.set_attribute("error.code", error["code"])
    stage_seconds.record(seconds, {"stage_id": stage})
    stage_total.add(1, {"stage_id": stage, "status": outcome["status"]})
    for gate in outcome["gates"]:
        if gate["status"] == "FAIL":
            gate_failures.add(1, {"code": gate["code"]})
