"""Export of spans and metrics, only where the standard `OTEL_*` variables ask for it."""

from __future__ import annotations

import logging
import os

log = logging.getLogger("quantctl.telemetry")
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def set_up() -> bool:
    """Install OTLP exporters if an endpoint is set; a missing exporter or collector stops no run."""
    if not os.environ.get(ENDPOINT):
        return False
    try:
        from opentelemetry import metrics, trace
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as problem:
        log.warning("%s is set, but no exporter is installed: %s", ENDPOINT, problem)
        return False
    resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "quantctl")})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    metrics.set_meter_provider(MeterProvider(resource=resource, metric_readers=[reader]))
    return True
