"""Spans of a run: an append-only log while it lives, one forensic trace when it rests.

Spans carry time, so they are kept apart from everything that must be equal between two runs.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from quantctl.contracts.canonical import canonical, parse_strict
from quantctl.contracts.errors import QuantError

LOG = "logs/spans.jsonl"


class SpanLog:
    """Starts and ends of spans, one JSON line each, written without fsync: a loss costs a span only."""

    def __init__(self, root: Path, process: str) -> None:
        self._path = root / LOG
        self._process = process
        self._path.parent.mkdir(parents=True, exist_ok=True)

    def start(self, span_id: str, name: str, parent: str | None, attempt: int, **attributes: Any) -> None:
        """Record that a span began now."""
        self._write({
            "event": "start", "span_id": span_id, "name": name, "parent": parent, "attempt": attempt,
            "process": self._process, "ns": str(time.time_ns()), "attributes": attributes,
        })  # fmt: skip

    def end(self, span_id: str, ok: bool, **attributes: Any) -> None:
        """Record that a span ended now."""
        status = "OK" if ok else "ERROR"
        self._write({
            "event": "end", "span_id": span_id, "status": status, "ns": str(time.time_ns()),
            "attributes": attributes,
        })  # fmt: skip

    def _write(self, line: dict[str, Any]) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, canonical(line) + b"\n")
        finally:
            os.close(descriptor)


def read_spans(root: Path, trace_id: str) -> list[dict[str, Any]]:
    """Every span of the log, in order of start; one without an end was cut off by a kill."""
    spans: dict[str, dict[str, Any]] = {}
    for line in _lines(root / LOG):
        if line["event"] == "start":
            spans.setdefault(line["span_id"], _opened(line, trace_id))
        elif line["span_id"] in spans:
            _close(spans[line["span_id"]], line)
    return [_interrupted(span) if span["end_ns"] is None else span for span in spans.values()]


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    parsed = []
    for raw in path.read_bytes().splitlines():
        try:
            parsed.append(parse_strict(raw))
        except QuantError:
            continue  # a line torn by a kill: its span counts as interrupted
    return parsed


def _opened(line: dict[str, Any], trace_id: str) -> dict[str, Any]:
    return {
        "name": line["name"], "trace_id": trace_id, "span_id": line["span_id"],
        "parent_span_id": line["parent"], "start_ns": line["ns"], "end_ns": None, "duration_ms": None,
        "status": "UNSET", "process": line["process"], "attempt": line["attempt"],
        "attributes": dict(line["attributes"]), "events": [],
    }  # fmt: skip


def _close(span: dict[str, Any], line: dict[str, Any]) -> None:
    span["end_ns"] = line["ns"]
    span["duration_ms"] = (int(line["ns"]) - int(span["start_ns"])) / 1e6
    span["status"] = line["status"]
    span["attributes"].update(line["attributes"])


def _interrupted(span: dict[str, Any]) -> dict[str, Any]:
    attributes = span["attributes"] | {"quant.interrupted": True}
    return span | {
        "end_ns": span["start_ns"],
        "duration_ms": 0.0,
        "status": "ERROR",
        "attributes": attributes,
    }
