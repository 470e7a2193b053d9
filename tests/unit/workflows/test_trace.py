"""The trace of a run: lives go on in it, two runs never share it, pieces of a stage hang below it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from quantctl.contracts.errors import Interrupted
from quantctl.contracts.ids import span_id_of, trace_id_of
from quantctl.contracts.records.run import PROTOCOL, CodeFacts, RunRequest
from quantctl.contracts.tracing import span as piece
from quantctl.workflows import telemetry
from quantctl.workflows.trace import RunTrace

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def request(run_id: str = "r1", trace_id: str | None = None) -> RunRequest:
    code = CodeFacts(version="0", git_commit=None, dirty=None, lock_sha256=None, workflow_protocol=PROTOCOL)
    return RunRequest(
        run_id=run_id, profile="p", trace_id=trace_id or trace_id_of(run_id), pipeline="tiny.full",
        created_at="2026-01-01T00:00:00.000000Z", as_of="2026-01-01", annualisation=365, snapshot={},
        settings={}, origins={}, extends_chain=[], profile_sha256=[], code=code, env={}, arguments={},
        stages=["a", "b"], replay=[],
    )  # fmt: skip


def life(root: Path, number: int = 0, run_id: str = "r1", caller: str | None = None) -> RunTrace:
    trace = RunTrace(root / run_id, request(run_id), f"w#{number}", number)
    trace.begin(caller)
    return trace


def shape(trace: RunTrace) -> list[tuple[str, str | None, str]]:
    names = {span["span_id"]: span["name"] for span in trace.spans()}
    return [(s["name"], names.get(s["parent_span_id"]), s["status"]) for s in trace.spans()]


def test_a_stage_hangs_below_the_root_and_its_pieces_below_it(tmp_path: Path) -> None:
    trace = life(tmp_path)
    with trace.stage("a", 1):
        with piece("gate g", "gate") as facts:
            facts["error.code"] = "G_BAD"
        with piece("solve hrp", "solver"), piece("rung", "solver"):
            pass
        with piece("solve hrp", "solver"):
            pass
    trace.finish("SUCCESS", None)
    assert shape(trace) == [
        ("run tiny.full", None, "OK"), ("a", "run tiny.full", "OK"), ("gate g", "a", "ERROR"),
        ("solve hrp", "a", "OK"), ("rung", "solve hrp", "OK"), ("solve hrp", "a", "OK"),
    ]  # fmt: skip
    assert len({span["span_id"] for span in trace.spans()}) == 6
    levels = {span["attributes"]["quant.level"] for span in trace.spans()}
    assert levels == {"run", "stage", "gate", "solver"}


def test_a_killed_life_is_closed_by_the_next_under_one_root(tmp_path: Path) -> None:
    cut = life(tmp_path).stage("a", 1)
    cut.__enter__()  # and the process is killed here
    again = life(tmp_path, 1)
    with again.stage("a", 1):
        pass
    again.finish("SUCCESS", None)
    assert shape(again) == [
        ("run tiny.full", None, "OK"), ("a", "run tiny.full", "ERROR"), ("a", "run tiny.full", "OK"),
    ]  # fmt: skip
    root, first, _ = again.spans()
    assert root["span_id"] == span_id_of("r1", "run tiny.full", 1)
    assert first["attributes"]["quant.interrupted"] is True
    assert [event["name"] for event in root["events"]] == ["resumed"]


def test_a_stage_inside_its_own_span_ends_it_once(tmp_path: Path) -> None:
    """A batch opens its stage before its children; what computes it then closes it."""
    trace = life(tmp_path)
    with trace.stage("a", 1) as (outer, _), piece("wait", "wait"):
        with trace.stage("a", 1) as (inner, facts), piece("gate g", "gate"):
            facts["error.code"] = "BAD"
        ended = trace.spans()[1]["end_ns"]
        assert not trace._log.span(outer)["open"]
    trace.finish("FAILED", {"code": "BAD"})
    assert (inner, trace.spans()[1]["end_ns"]) == (outer, ended)
    assert shape(trace)[1] == ("a", "run tiny.full", "ERROR")
    assert [name for name, _, _ in shape(trace)] == ["run tiny.full", "a", "wait", "gate g"]


def test_ids_of_an_undisturbed_run_are_the_same_every_time(tmp_path: Path) -> None:
    ids = []
    for place in ("one", "two"):
        trace = life(tmp_path / place)
        with trace.stage("a", 1), piece("gate g", "gate"):
            pass
        ids.append([span["span_id"] for span in trace.spans()])
    assert ids[0] == ids[1]


def test_an_interruption_closes_its_stage_and_leaves_the_root_open(tmp_path: Path) -> None:
    trace = life(tmp_path)
    with pytest.raises(Interrupted), trace.stage("a", 1):
        raise Interrupted("INTERRUPTED", "asked to stop")
    trace.cut("INTERRUPTED")
    stage = trace.spans()[1]
    assert (stage["status"], stage["attributes"]["error.code"]) == ("ERROR", "INTERRUPTED")
    assert stage["attributes"]["quant.interrupted"] is True
    root = life(tmp_path, 1).spans()[0]
    assert [event["name"] for event in root["events"]] == ["interrupted", "resumed"]


def test_a_retry_is_a_root_below_the_first_one(tmp_path: Path) -> None:
    first = life(tmp_path)
    with first.stage("a", 1) as (_, facts):
        facts["error.code"] = "BAD"
    first.finish("FAILED", {"code": "BAD"})
    second = life(tmp_path, 1)
    with second.stage("a", 2):
        pass
    second.finish("SUCCESS", None)
    assert shape(second) == [
        ("run tiny.full", None, "ERROR"), ("a", "run tiny.full", "ERROR"),
        ("run tiny.full", "run tiny.full", "OK"), ("a", "run tiny.full", "OK"),
    ]  # fmt: skip


def test_two_runs_of_one_process_never_mix(tmp_path: Path) -> None:
    traces = {run_id: life(tmp_path, run_id=run_id) for run_id in ("r1", "r2")}
    both_inside = threading.Barrier(2)

    def work(run_id: str) -> None:
        with traces[run_id].stage("a", 1):
            both_inside.wait()
            with piece(f"gate of {run_id}", "gate"):
                both_inside.wait()

    threads = [threading.Thread(target=work, args=(run_id,)) for run_id in traces]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for run_id, trace in traces.items():
        assert [span["name"] for span in trace.spans()] == ["run tiny.full", "a", f"gate of {run_id}"]
        assert {span["trace_id"] for span in trace.spans()} == {trace_id_of(run_id)}
        assert {span["attributes"]["quant.run_id"] for span in trace.spans()} == {run_id}


def test_outside_a_stage_a_piece_is_nobodys(tmp_path: Path) -> None:
    trace = life(tmp_path)
    with piece("solve hrp", "solver") as facts:
        facts["quant.status"] = "OPTIMAL"
    assert [span["name"] for span in trace.spans()] == ["run tiny.full"]


def test_a_caller_of_another_trace_is_linked_and_one_of_the_same_is_the_parent(tmp_path: Path) -> None:
    own = f"00-{trace_id_of('r2')}-b7ad6b7169203331-01"
    told: list[Any] = []
    for run_id, caller in (("r1", CALLER), ("r2", own), ("r3", "nonsense")):
        trace = life(tmp_path, run_id=run_id, caller=caller)
        told.append((trace.spans()[0]["parent_span_id"], trace._log.spans()[0]["links"]))
    assert told == [(None, [CALLER]), ("b7ad6b7169203331", []), (None, [])]


def test_what_is_enqueued_inside_a_stage_carries_its_context(tmp_path: Path) -> None:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    trace = life(tmp_path)
    with trace.running(), trace.stage("a", 1) as (span_id, _):
        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, context=telemetry.calling_context())
    assert carrier["traceparent"] == f"00-{trace_id_of('r1')}-{span_id}-01"
    assert telemetry.calling_context() is None
