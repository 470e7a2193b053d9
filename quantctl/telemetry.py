"""Export of spans, metrics and logs, only where the standard `OTEL_*` variables ask for it.

Everything about the collector (endpoint, headers, compression, timeouts, sampling, resource) is read from
those variables by the OpenTelemetry SDK. Sending is the business of background threads: a collector that
is slow, dead or hanging costs a run nothing, and the process at its end `FLUSH_SECONDS` at most.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

log = logging.getLogger("quantctl.telemetry")
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
SIGNALS = ("TRACES", "METRICS", "LOGS")
FLUSH_SECONDS = 2.0
_flushes: list[Callable[[], Any]] = []


def wanted() -> list[str]:
    """The signals to export: those with an endpoint that are not switched off."""
    on = os.environ
    if on.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    return [
        signal
        for signal in SIGNALS
        if (on.get(ENDPOINT) or on.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"))
        and on.get(f"OTEL_{signal}_EXPORTER", "otlp").strip() == "otlp"
    ]


def set_up() -> bool:
    """Install OTLP exporters for the wanted signals, once per process; what is missing stops no run."""
    signals = wanted()
    if not signals or _flushes:
        return bool(_flushes)
    try:
        from opentelemetry.exporter.otlp.proto.http import trace_exporter  # noqa: F401  is the extra installed?
        from opentelemetry.sdk.resources import Resource
    except ImportError as problem:
        log.warning("%s is set, but no exporter is installed (quantctl[otlp]): %s", ENDPOINT, problem)
        return False
    named = os.environ.get("OTEL_SERVICE_NAME") or _named_by_attributes()
    resource = Resource.create({} if named else {"service.name": "quantctl"})
    installers = {"TRACES": _traces, "METRICS": _metrics, "LOGS": _logs}
    for signal in signals:
        _flushes.append(installers[signal](resource))
    return True


def _named_by_attributes() -> bool:
    return "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")


def flush(seconds: float = FLUSH_SECONDS) -> None:
    """Give what is not sent yet `seconds` to go; then leave it, whatever the collector does."""
    deadline = time.monotonic() + seconds
    threads = [threading.Thread(target=_quietly, args=(each,), daemon=True) for each in _flushes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if any(thread.is_alive() for thread in threads):
        log.warning("the collector did not take all telemetry within %g s", seconds)


def _quietly(send: Callable[[], Any]) -> None:
    try:
        send()
    except Exception as problem:  # noqa: BLE001  telemetry that can't be sent fails nothing
        log.debug("telemetry could not be sent: %s", problem)


def _traces(resource: Resource) -> Callable[[], Any]:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    from quantctl.workflows.telemetry import chosen_ids
    from quantctl.workflows.trace import delivered

    class DerivedIds(RandomIdGenerator):
        """Ids of our spans are those of the span log; other instrumentation gets random ones."""

        def generate_trace_id(self) -> int:
            chosen = chosen_ids()
            return chosen[0] if chosen else super().generate_trace_id()

        def generate_span_id(self) -> int:
            chosen = chosen_ids()
            return chosen[1] if chosen else super().generate_span_id()

    class Noted(OTLPSpanExporter):
        """Notes what the collector accepted, so that a later life of the run sends the rest."""

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            result = super().export(spans)
            if result is SpanExportResult.SUCCESS:
                for run_id, span_ids in _by_run(spans).items():
                    delivered(run_id, span_ids)
            return result

    provider = TracerProvider(resource=resource, id_generator=DerivedIds(), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Noted()))
    trace.set_tracer_provider(provider)
    return provider.force_flush


def _by_run(spans: Sequence[Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for span in spans:
        run_id = (span.attributes or {}).get("quant.run_id")
        if isinstance(run_id, str):
            found.setdefault(run_id, []).append(f"{span.context.span_id:016x}")
    return found


def _metrics(resource: Resource) -> Callable[[], Any]:
    from opentelemetry import metrics
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    provider = MeterProvider(resource=resource, metric_readers=[reader], shutdown_on_exit=False)
    metrics.set_meter_provider(provider)
    return provider.force_flush


def _logs(resource: Resource) -> Callable[[], Any]:
    from opentelemetry._logs import set_logger_provider
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    from quantctl.workflows.logs import ToOpenTelemetry

    provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    set_logger_provider(provider)
    logging.getLogger("quantctl").addHandler(ToOpenTelemetry())
    return provider.force_flush
