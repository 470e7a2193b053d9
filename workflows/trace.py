"""The trace of one run in this process: opened, continued after a kill, closed.

    run alpha.full                       one span per attempt, over all lives of the run
    ├── selection.ingestion              a stage, cut off by a kill: ERROR, quant.interrupted
    ├── selection.ingestion              the same stage in the next life
    │   └── gate l0                      pieces of a stage: gates, solver calls, chunks
    └── selection.features

Span ids are derived as trace ids are, so a replay makes no second span.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantctl.contracts.errors import EnvironmentFault
from quantctl.contracts.ids import span_id_of
from quantctl.contracts.records.run import RunRequest
from quantctl.contracts.tracing import Facts, watched
from quantctl.lake.spans import Span, SpanLog, traced
from quantctl.workflows import telemetry
from quantctl.workflows.logs import located

_here: ContextVar[str | None] = ContextVar("here", default=None)


@dataclass(frozen=True)
class _Stage:
    """The stage whose span is open; `began` is a reading of `time.perf_counter`."""

    name: str
    attempt: int
    span_id: str
    facts: Facts
    began: float


class RunTrace:
    """Spans of a run's life.

    root : directory of the run
    process : name of the worker and number of the life, which every span keeps
    """

    def __init__(self, root: Path, request: RunRequest, process: str, life: int = 0) -> None:
        self._request = request
        self._life = life
        self._log = SpanLog(root, process, request.trace_id)
        self._pieces: Counter[tuple[str, str]] = Counter()
        self._stage: _Stage | None = None

    def begin(self, caller: str | None = None) -> None:
        """Open the root span, or go on with that of an earlier life, whose cut spans are closed.

        caller : W3C traceparent under which the run was enqueued. A child of the run's own trace hangs
            below it; a foreign one is linked, for the trace id of a run is derived.
        """
        for span in self._log.spans():
            if span["open"] and span["attributes"].get("quant.level") != "run":
                self._end(span["span_id"], False, at=span["end_ns"], **{"quant.interrupted": True})
            elif not span["open"] and not span["sent"]:
                self._tell(span["span_id"])
        root = self.root_of(1)
        if root not in self._log:
            known = telemetry.split(caller) if caller else None
            parent = known[1] if known and known[0] == self._request.trace_id else None
            self._start(root, 1, parent, [caller] if caller and known and parent is None else [])
        for span in self._log.spans():
            if span["open"] and self._life:
                self._log.note(span["span_id"], "resumed", **{"quant.life": self._life})

    def root_of(self, attempt: int) -> str:
        """Id of the root span of an attempt."""
        return span_id_of(self._request.run_id, f"run {self._request.pipeline}", attempt)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inside, log lines and what is enqueued belong to the run."""
        root = self.root_of(1)
        with located(span_id=root), telemetry.current(self._request.trace_id, root):
            yield

    @contextmanager
    def stage(self, stage: str, attempt: int) -> Iterator[tuple[str, Facts]]:
        """The span of a stage; what its function names becomes spans below. Yields its id and its facts.

        Inside the span of that stage it is the same span, and ends it: what is durable then has no open span.
        """
        inside = self._stage
        if inside is not None and (inside.name, inside.attempt) == (stage, attempt):
            yield inside.span_id, inside.facts
            self._end(inside.span_id, "error.code" not in inside.facts, **inside.facts)
            return
        root = self.root_of(attempt)
        if root not in self._log:
            self._start(root, attempt, self.root_of(1) if attempt > 1 else None, [])
        span_id = span_id_of(self._request.run_id, stage, attempt)
        if span_id in self._log:  # an earlier life began it
            span_id = span_id_of(self._request.run_id, f"{stage}#{self._life}", attempt)

        @contextmanager
        def piece(name: str, level: str, attributes: Facts) -> Iterator[Facts]:
            above = _here.get() or span_id
            self._pieces[above, name] += 1
            own = span_id_of(self._request.run_id, f"{above}/{name}/{self._pieces[above, name]}", attempt)
            kept = self._attributes(level, stage, attempt) | attributes
            with self._opened(own, name, above, attempt, kept) as facts:
                yield facts

        kept = self._attributes("stage", stage, attempt)
        opened = self._opened(span_id, stage, root, attempt, kept)
        with located(stage_id=stage), watched(piece), opened as facts:
            self._stage = _Stage(stage, attempt, span_id, facts, time.perf_counter())
            try:
                yield span_id, facts
            finally:
                self._stage = None

    def stage_seconds(self) -> float:
        """How long the stage that is open has taken in this life."""
        return time.perf_counter() - self._stage.began if self._stage is not None else 0.0

    def finish(self, state: str, error: dict[str, Any] | None) -> None:
        """Close the open root spans: the run has come to its end."""
        facts: Facts = {"quant.state": state}
        facts |= {"error.code": error["code"]} if error else {}
        for span in self._log.spans():
            if span["open"]:
                self._end(span["span_id"], state == "SUCCESS", **facts)

    def spans(self) -> list[Span]:
        """Every span so far, as `forensic_trace.json` keeps it."""
        return [traced(span) for span in self._log.spans()]

    def cut(self, code: str) -> None:
        """Note in the root spans that this life was cut off."""
        facts = {"quant.code": code, "quant.life": self._life}
        for span in self._log.spans():
            if span["open"]:
                self._log.note(span["span_id"], "interrupted", **facts)

    @contextmanager
    def _opened(
        self, span_id: str, name: str, parent: str, attempt: int, attributes: Facts
    ) -> Iterator[Facts]:
        self._log.start(span_id, name, parent, attempt, **attributes)
        facts: Facts = {}
        token = _here.set(span_id)
        try:
            with located(span_id=span_id), telemetry.current(self._request.trace_id, span_id):
                yield facts
        except BaseException as problem:
            facts["error.code"] = getattr(problem, "code", type(problem).__name__)
            if isinstance(problem, EnvironmentFault) or not isinstance(problem, Exception):
                facts["quant.interrupted"] = True
            raise
        finally:
            _here.reset(token)
            self._end(span_id, "error.code" not in facts, **facts)

    def _start(self, root: str, attempt: int, parent: str | None, links: list[str]) -> None:
        attributes = self._attributes("run", "", attempt) | {"quant.pipeline": self._request.pipeline}
        name = f"run {self._request.pipeline}"
        self._log.start(root, name, parent, attempt, links=links, **attributes)

    def _end(self, span_id: str, ok: bool, *, at: str | None = None, **facts: Any) -> None:
        if not self._log.span(span_id)["open"]:
            return
        self._log.end(span_id, ok, at=at, **facts)
        self._tell(span_id)

    def _tell(self, span_id: str) -> None:
        if telemetry.exporting():
            _remember(self._request.run_id, self._log)
            telemetry.export(self._log.span(span_id))

    def _attributes(self, level: str, stage: str, attempt: int) -> Facts:
        return {
            "quant.run_id": self._request.run_id,
            "quant.profile": self._request.profile,
            "quant.stage_id": stage,
            "quant.attempt": attempt,
            "quant.level": level,
            "quant.life": self._life,
        }


_logs: OrderedDict[str, SpanLog] = OrderedDict()
_KEPT_LOGS = 256  # runs whose spans may still wait for the collector


def _remember(run_id: str, log: SpanLog) -> None:
    _logs[run_id] = log
    _logs.move_to_end(run_id)
    while len(_logs) > _KEPT_LOGS:
        _logs.popitem(last=False)


def delivered(run_id: str, span_ids: list[str]) -> None:
    """A collector has accepted spans of a run: no later life sends them again."""
    log = _logs.get(run_id)
    if log is not None:
        log.sent(span_ids)
