"""Spans and metrics through the OpenTelemetry API; without an SDK they cost little and go nowhere.

The exporter is set up at the front door. A span is told to the API when it has ended, with the ids,
times and parent of its run's own span log, so what a collector gets is that log and nothing else: one
trace, the same before and after a kill.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import context as contexts
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

tracer = trace.get_tracer("quantctl")
meter = metrics.get_meter("quantctl")
stage_seconds = meter.create_histogram("quant_stage_duration_seconds", unit="s")
stage_total = meter.create_counter("quant_stage_total")
gate_failures = meter.create_counter("quant_gate_failures_total")
rows_written_total = meter.create_counter("quant_rows_written_total")
http_requests_total = meter.create_counter("quant_http_requests_total")

_ids: ContextVar[tuple[int, int] | None] = ContextVar("ids", default=None)
_w3c = TraceContextTextMapPropagator()


def exporting() -> bool:
    """Whether somebody in this process takes spans, so that it pays to tell them."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def chosen_ids() -> tuple[int, int] | None:
    """Trace and span id of the span that is being told, for the id generator of the SDK."""
    return _ids.get()


def export(span: Mapping[str, Any]) -> None:
    """Tell a span that has ended, as the span log has it, to the tracer of this process."""
    own = _ids.set((int(span["trace_id"], 16), int(span["span_id"], 16)))
    try:
        told = tracer.start_span(
            span["name"], _under(span), attributes=span["attributes"], start_time=int(span["start_ns"]),
            links=[Link(found) for found in map(_span_context, span["links"]) if found.is_valid],
        )  # fmt: skip
    finally:
        _ids.reset(own)
    for event in span["events"]:
        told.add_event(event["name"], event["attributes"], int(event["ns"]))
    code = span["attributes"].get("error.code")
    told.set_status(Status(StatusCode.OK) if span["status"] == "OK" else Status(StatusCode.ERROR, code))
    told.end(int(span["end_ns"]))


def _under(span: Mapping[str, Any]) -> Context:
    if span["parent_span_id"] is None:
        return Context()
    return context_of(span["trace_id"], span["parent_span_id"])


def context_of(trace_id: str, span_id: str) -> Context:
    """The OpenTelemetry context in which a span of a run is the current one."""
    flags = TraceFlags(TraceFlags.SAMPLED)
    known = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(NonRecordingSpan(known), Context())


@contextmanager
def current(trace_id: str, span_id: str) -> Iterator[None]:
    """Inside, other instrumentation of this process and what is enqueued belong below this span."""
    token = contexts.attach(context_of(trace_id, span_id))
    try:
        yield
    finally:
        contexts.detach(token)


def calling_context() -> Context | None:
    """The W3C context that what this process enqueues is to carry: its own, else that of `TRACEPARENT`."""
    if trace.get_current_span().get_span_context().is_valid:
        return contexts.get_current()
    given = {name: os.environ.get(name.upper(), "") for name in ("traceparent", "tracestate")}
    found = _w3c.extract(given, Context())
    return found if trace.get_current_span(found).get_span_context().is_valid else None


def split(traceparent: str) -> tuple[str, str] | None:
    """Trace id and span id of a W3C traceparent, or null where it is none."""
    found = _span_context(traceparent)
    return (f"{found.trace_id:032x}", f"{found.span_id:016x}") if found.is_valid else None


def _span_context(traceparent: str) -> SpanContext:
    return trace.get_current_span(_w3c.extract({"traceparent": traceparent}, Context())).get_span_context()


def record_outcome(stage: str, seconds: float, outcome: Mapping[str, Any]) -> None:
    """The metrics of a stage that has computed."""
    stage_seconds.record(seconds, {"stage_id": stage})
    stage_total.add(1, {"stage_id": stage, "status": outcome["status"]})
    for gate in outcome["gates"]:
        if gate["status"] == "FAIL":
            gate_failures.add(1, {"code": gate["code"]})


def record_rows(table: str, rows: int) -> None:
    """Rows that a commit added to a table of the lake."""
    rows_written_total.add(rows, {"table": table})


def record_http(url: str, status: int | str) -> None:
    """A request to another host, with its status or the kind of its failure; of the URL only the host."""
    try:
        host = urlsplit(url).hostname or "unknown"
    except ValueError:
        host = "unknown"
    http_requests_total.add(1, {"host": host, "status": str(status)})
