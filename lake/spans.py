"""Spans of a run: an append-only log while it lives, one forensic trace when it rests.

Spans carry time, so they are kept apart from everything that must be equal between two runs. A line
that can't be written costs a span, never a run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from quantctl.contracts.canonical import canonical, parse_strict
from quantctl.contracts.errors import QuantError

LOG = "logs/spans.jsonl"
_FIELDS = {
    "start": {"ns", "span_id", "name", "parent", "attempt", "process", "links", "attributes"},
    "note": {"ns", "span_id", "name", "attributes"},
    "end": {"ns", "span_id", "status", "attributes"},
    "sent": {"ns", "span_ids"},
}
OWN = ("open", "sent", "links")  # what a reader of the log knows beside the fields of a trace
Span = dict[str, Any]


class Spans:
    """The spans of a run as its log tells them; nothing is written, and another process may be writing.

    root : directory of the run
    trace_id : of the trace to which the spans are to belong
    """

    def __init__(self, root: Path, trace_id: str) -> None:
        self._path = root / LOG
        self._trace_id = trace_id
        self._spans: dict[str, Span] = {}
        self._last = "0"
        for line in _lines(self._path):
            self._take(line)

    def __contains__(self, span_id: str) -> bool:
        return span_id in self._spans

    def span(self, span_id: str) -> Span:
        """A span as `forensic_trace.json` has it, with `OWN` beside; an open one ends where the log does."""
        span = self._spans[span_id]
        return _provisional(span, self._last) if span["open"] else span

    def spans(self) -> list[Span]:
        """Every span in order of start; a line torn by a kill is left out."""
        return [self.span(span_id) for span_id in self._spans]

    def _take(self, line: dict[str, Any]) -> None:
        self._last = max(self._last, line["ns"], key=int)
        if line["event"] == "start":
            self._spans.setdefault(line["span_id"], _opened(line, self._trace_id))
        elif line["event"] == "sent":
            for span_id in line["span_ids"]:
                self._spans.get(span_id, {})["sent"] = True
        elif line["span_id"] in self._spans:
            _go_on(self._spans[line["span_id"]], line)


class SpanLog(Spans):
    """Starts and ends of spans, one JSON line each, written without fsync: a loss costs a span only.

    process : who writes, as every span keeps it
    """

    def __init__(self, root: Path, process: str, trace_id: str) -> None:
        super().__init__(root, trace_id)
        self._process = process
        self._append(b"" if self._whole() else b"\n")  # else a torn line would swallow ours

    def start(
        self,
        span_id: str,
        name: str,
        parent: str | None,
        attempt: int,
        *,
        links: Iterable[str] = (),
        **attributes: Any,
    ) -> None:
        """Record that a span began now; `links` are W3C traceparents of spans that caused it."""
        self._write({
            "event": "start", "span_id": span_id, "name": name, "parent": parent, "attempt": attempt,
            "process": self._process, "links": list(links), "attributes": attributes,
        })  # fmt: skip

    def note(self, span_id: str, name: str, **attributes: Any) -> None:
        """Record an event inside a span."""
        self._write({"event": "note", "span_id": span_id, "name": name, "attributes": attributes})

    def end(self, span_id: str, ok: bool, *, at: str | None = None, **attributes: Any) -> None:
        """Record that a span ended now, or `at` (nanoseconds) where a kill was noticed later."""
        line = {"event": "end", "span_id": span_id, "status": "OK" if ok else "ERROR"}
        self._write(line | {"attributes": attributes}, at)

    def sent(self, span_ids: Iterable[str]) -> None:
        """Record that a collector accepted spans, so that no later life sends them again."""
        self._write({"event": "sent", "span_ids": list(span_ids)})

    def _write(self, line: dict[str, Any], at: str | None = None) -> None:
        line["ns"] = at or str(time.time_ns())
        self._take(line)
        self._append(canonical(line) + b"\n")

    def _append(self, data: bytes) -> None:
        if not data:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(descriptor, data)
            finally:
                os.close(descriptor)
        except OSError:
            return  # the disk is full or gone; what the run itself writes next will say so

    def _whole(self) -> bool:
        """Whether the log is empty or ends with a whole line."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(-1, os.SEEK_END)
                return stream.read(1) == b"\n"
        except OSError:
            return True


def traced(span: Span) -> Span:
    """A span as `forensic_trace.json` keeps it."""
    return {key: value for key, value in span.items() if key not in OWN}


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        data = path.read_bytes()
    except OSError:
        return []
    parsed = []
    for raw in data.splitlines():
        try:
            line = parse_strict(raw)
        except QuantError:
            continue  # torn by a kill: its span counts as interrupted
        if isinstance(line, dict) and _FIELDS.get(line.get("event", ""), {"?"}) <= line.keys():
            parsed.append(line)
    return parsed


def _opened(line: dict[str, Any], trace_id: str) -> Span:
    return {
        "name": line["name"], "trace_id": trace_id, "span_id": line["span_id"],
        "parent_span_id": line["parent"], "start_ns": line["ns"], "end_ns": None, "duration_ms": None,
        "status": "UNSET", "process": line["process"], "attempt": line["attempt"],
        "attributes": dict(line["attributes"]), "events": [],
        "open": True, "sent": False, "links": line["links"],
    }  # fmt: skip


def _go_on(span: Span, line: dict[str, Any]) -> None:
    if line["event"] == "note":
        event = {"name": line["name"], "ns": line["ns"], "attributes": line["attributes"]}
        span["events"].append(event)
    elif span["open"]:
        span |= _ended(span, line["ns"]) | {"status": line["status"], "open": False}
        span["attributes"].update(line["attributes"])


def _ended(span: Span, ns: str) -> Span:
    """End and duration; a clock that was set back gives a duration of zero, not a negative one."""
    end = max(int(ns), int(span["start_ns"]))
    return {"end_ns": str(end), "duration_ms": (end - int(span["start_ns"])) / 1e6}


def _provisional(span: Span, last: str) -> Span:
    attributes = span["attributes"] | {"quant.interrupted": True}
    return span | _ended(span, last) | {"status": "ERROR", "attributes": attributes}
