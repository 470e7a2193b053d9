"""The spans of a batch's children in the trace of the batch.

A child is a run with a trace of its own. In the trace of its batch its spans stand as well, each once, with
the batch's trace id: below the span from which the child was begun. They are read from the children's span
logs whenever the trace is written, so a kill at any time leaves nothing to merge twice or to lose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quantctl.contracts.ids import span_id_of, trace_id_of
from quantctl.contracts.records.run import RunRequest
from quantctl.lake.spans import Span, Spans, traced
from quantctl.workflows import children, telemetry
from quantctl.workflows.runtime import Places


def below(places: Places, request: RunRequest, spans: Sequence[Span]) -> list[Span]:
    """The spans of all children that have begun: children in the order of the plan, spans as they began.

    request, spans : of the batch
    """
    own = {span["span_id"] for span in spans}
    found = []
    for child in children.plan_of(request).children:
        run_id = children.child_id(request.run_id, child.suffix)
        for span in Spans(places.run_root(run_id), request.trace_id).spans():
            is_root = span["parent_span_id"] is None
            found.append(traced(_hung(span, run_id, request, own) if is_root else span))
    return found


def _hung(root: Span, run_id: str, request: RunRequest, own: set[str]) -> dict[str, Any]:
    """The root of a child below the span that its link names, else (it began by itself) below the batch's.

    It keeps the id of the child's own trace, in which a collector has the child.
    """
    callers = [known for link in root["links"] if (known := telemetry.split(link)) is not None]
    parents = [span_id for trace_id, span_id in callers if trace_id == request.trace_id and span_id in own]
    parent = parents[0] if parents else span_id_of(request.run_id, f"run {request.pipeline}", 1)
    attributes = root["attributes"] | {"quant.trace_id": trace_id_of(run_id)}
    return root | {"parent_span_id": parent, "attributes": attributes}
