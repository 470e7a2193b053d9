"""What a collector gets from real processes: one trace over kills and processes, and never a delay."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import otlp_receiver as otlp
import pytest
import tiny_door

from quantctl.contracts.ids import span_id_of, trace_id_of

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
pytestmark = pytest.mark.chaos
FOREIGN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ATTRIBUTES = {"quant.run_id", "quant.profile", "quant.stage_id", "quant.attempt", "quant.level"}
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_BLRP_SCHEDULE_DELAY": "100"}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_door.prepared(tmp_path_factory.mktemp("lake"))


@pytest.fixture
def collector() -> Iterator[Any]:
    receiver = otlp.Receiver()
    yield receiver
    receiver.close()


def exported(lake: Any, tmp_path: Path, collector: Any, **env: str) -> Any:
    return lake.copy(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url} | SOON | env)


def spans(collector: Any, run_id: str = "k1") -> list[Any]:
    """Spans of a run; each must have been sent once, in the run's own trace."""
    found = [s for s in collector.spans if otlp.attributes(s).get("quant.run_id") == run_id]
    ids = [s.span_id for s in found]
    assert len(ids) == len(set(ids)), sorted(s.name for s in found)
    assert {s.trace_id.hex() for s in found} == {trace_id_of(run_id)}
    return found


def assert_one_tree(found: list[Any], pipeline: str = "tiny.full", run_id: str = "k1") -> None:
    roots = [s for s in found if not s.parent_span_id]
    assert [s.name for s in roots] == [f"run {pipeline}"]
    assert roots[0].span_id.hex() == span_id_of(run_id, f"run {pipeline}", 1)
    ids = {s.span_id for s in found}
    assert all(s.parent_span_id in ids for s in found if s.parent_span_id)


def test_a_run_is_one_tree_of_spans_with_its_attributes(lake: Any, tmp_path: Path, collector: Any) -> None:
    door = exported(lake, tmp_path, collector, OTEL_RESOURCE_ATTRIBUTES="deployment.environment=lab")
    done = door(*tiny_door.run_words())
    assert done.returncode == 0, done.stderr
    found = spans(collector)
    assert_one_tree(found)
    assert sorted(s.name for s in found) == ["gate tiny_rows", "run tiny.full", "tiny.double", "tiny.total"]
    for span in found:
        kept = otlp.attributes(span)
        assert kept.keys() >= ATTRIBUTES
        assert kept["quant.profile"] == tiny_door.PROFILE
    by_name = {s.name: s for s in found}
    assert by_name["gate tiny_rows"].parent_span_id == by_name["tiny.double"].span_id
    assert collector.resources[0]["service.name"] == "quantctl"
    assert collector.resources[0]["deployment.environment"] == "lab"
    told = {s["span_id"]: (s["name"], s["parent_span_id"], s["start_ns"]) for s in door.trace()["spans"]}
    assert told == {
        s.span_id.hex(): (s.name, s.parent_span_id.hex() or None, str(s.start_time_unix_nano)) for s in found
    }


def test_the_records_of_the_ledger_name_spans_of_the_trace(lake: Any, tmp_path: Path, collector: Any) -> None:
    door = exported(lake, tmp_path, collector)
    assert door(*tiny_door.run_words()).returncode == 0
    known = {s["span_id"]: s["name"] for s in door.trace()["spans"]}
    named = [(r["step"], r["span_id"]) for r in door.records() if r["span_id"] is not None]
    assert len(named) == 4  # intent and outcome of two stages
    assert all(known[span_id] == step for step, span_id in named)


def test_a_kill_and_a_resume_leave_one_trace(lake: Any, tmp_path: Path, collector: Any) -> None:
    door = exported(lake, tmp_path, collector)
    process = door.start(*tiny_door.run_words(), TINY_SLOW="60", TINY_SLOW_AT="tiny.total")
    door.wait_inside("tiny.total")
    process.kill()
    process.communicate()
    assert door("resume", "k1").returncode == 0
    found = spans(collector)
    assert_one_tree(found)
    assert sorted(s.name for s in found) == [
        "gate tiny_rows", "run tiny.full", "tiny.double", "tiny.total", "tiny.total",
    ]  # fmt: skip
    cut, again = sorted((s for s in found if s.name == "tiny.total"), key=lambda s: s.start_time_unix_nano)
    assert otlp.attributes(cut)["quant.interrupted"] is True
    assert cut.status.code == 2
    assert "quant.interrupted" not in otlp.attributes(again)
    assert again.status.code == 1
    outcome = [r for r in door.records() if (r["step"], r["status"]) == ("tiny.total", "success")]
    assert [r["span_id"] for r in outcome] == [again.span_id.hex()]
    trace = door.trace()
    assert [life["reason"] for life in trace["lives"]] == ["KILLED", "finished"]
    assert trace["complete"] is True


def test_spans_that_no_collector_took_are_sent_by_the_next_life(
    lake: Any, tmp_path: Path, collector: Any
) -> None:
    door = lake.copy(tmp_path)
    process = door.start(*tiny_door.run_words(), TINY_SLOW="60", TINY_SLOW_AT="tiny.total")
    door.wait_inside("tiny.total")
    process.kill()
    process.communicate()
    assert door("resume", "k1", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url).returncode == 0
    assert_one_tree(spans(collector))
    assert [s.name for s in spans(collector)].count("tiny.double") == 1


def test_a_run_that_a_worker_executes_hangs_on_the_trace_of_its_caller(
    lake: Any, tmp_path: Path, collector: Any
) -> None:
    door = exported(lake, tmp_path, collector)
    worker = door.start("worker")
    try:
        assert worker.stdout is not None
        assert "serves" in worker.stdout.readline()
        done = door(*tiny_door.run_words("k1", "--remote"), TRACEPARENT=FOREIGN)
        assert done.returncode == 0, done.stderr
    finally:
        worker.terminate()
        _, errors = worker.communicate(timeout=60)
    assert worker.returncode == 0, errors
    found = spans(collector)
    assert_one_tree(found)
    assert {otlp.attributes(s)["quant.life"] for s in found} == {0}
    root = next(s for s in found if not s.parent_span_id)
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in root.links] == [
        (FOREIGN.split("-")[1], FOREIGN.split("-")[2])
    ]


def test_an_embedded_run_links_to_the_caller_named_by_traceparent(
    lake: Any, tmp_path: Path, collector: Any
) -> None:
    door = exported(lake, tmp_path, collector)
    assert door(*tiny_door.run_words(), TRACEPARENT=FOREIGN).returncode == 0
    root = next(s for s in spans(collector) if not s.parent_span_id)
    assert [link.trace_id.hex() for link in root.links] == [FOREIGN.split("-")[1]]


@pytest.mark.parametrize("given", ["", f"00-{'0' * 32}-{'0' * 16}-01"])
def test_a_broken_traceparent_links_to_nothing(lake: Any, tmp_path: Path, collector: Any, given: str) -> None:
    door = exported(lake, tmp_path, collector)
    assert door(*tiny_door.run_words(), TRACEPARENT=given).returncode == 0
    assert [list(s.links) for s in spans(collector)] == [[]] * 4


def test_a_failure_and_its_retry_are_one_trace_with_error_codes(
    lake: Any, tmp_path: Path, collector: Any
) -> None:
    door = exported(lake, tmp_path, collector)
    done = door(*tiny_door.run_words(), TINY_FAILS="1")
    assert done.returncode == 3, done.stderr
    first = spans(collector)
    assert {s.name: otlp.attributes(s).get("error.code") for s in first if s.status.code == 2} == {
        "run tiny.full": "ISOLATION_INPUT_MISSING", "tiny.total": "ISOLATION_INPUT_MISSING",
    }  # fmt: skip
    assert door("retry", "k1").returncode == 0
    found = spans(collector)
    assert_one_tree(found)
    attempts = {(s.name, otlp.attributes(s)["quant.attempt"]) for s in found}
    assert {("run tiny.full", 1), ("run tiny.full", 2), ("tiny.total", 1), ("tiny.total", 2)} <= attempts


def test_metrics_of_stages_and_lake_arrive(lake: Any, tmp_path: Path, collector: Any) -> None:
    door = exported(lake, tmp_path, collector)
    assert door(*tiny_door.run_words()).returncode == 0
    done = door("data", "simulate", "--symbols", "12", "--days", "60", "--exchange", "OTHER")
    assert done.returncode == 0, done.stderr
    points = {m["name"]: m for m in collector.metrics}
    assert {"quant_stage_duration_seconds", "quant_stage_total", "quant_rows_written_total"} <= points.keys()
    table = [
        {a["key"]: a["value"].get("stringValue") for a in point["attributes"]}
        for m in collector.metrics
        if m["name"] == "quant_stage_total"
        for point in m["sum"]["dataPoints"]
    ]
    assert {"stage_id": "tiny.total", "status": "success"} in table
    rows = [
        (point["attributes"][0]["value"]["stringValue"], int(point["asInt"]))
        for m in collector.metrics
        if m["name"] == "quant_rows_written_total"
        for point in m["sum"]["dataPoints"]
    ]
    assert dict(rows)["bars_1d"] > 0


def test_log_lines_arrive_in_the_trace_of_their_run(lake: Any, tmp_path: Path, collector: Any) -> None:
    door = exported(lake, tmp_path, collector)
    assert door(*tiny_door.run_words()).returncode == 0
    lines = [line for line in collector.logs if otlp.attributes(line).get("quant.stage_id") == "tiny.total"]
    assert {line.trace_id.hex() for line in lines} == {trace_id_of("k1")}
    known = {s.span_id: s.name for s in spans(collector)}
    assert {known[line.span_id] for line in lines} == {"tiny.total"}


def test_secrets_of_the_environment_reach_no_collector(lake: Any, tmp_path: Path, collector: Any) -> None:
    secret = "s3cr3t-token"
    door = exported(lake, tmp_path, collector, OTEL_EXPORTER_OTLP_HEADERS=f"authorization={secret}")
    assert door(*tiny_door.run_words()).returncode == 0
    assert {h.get("authorization") for h in collector.headers} == {secret}  # for the collector only
    assert not any(secret.encode() in body for body in collector.raw)
    kept = [path for path in door.data.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert kept == []


@pytest.mark.parametrize(
    "env", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}]
)
def test_what_is_switched_off_is_not_sent(
    lake: Any, tmp_path: Path, collector: Any, env: dict[str, str]
) -> None:
    door = exported(lake, tmp_path, collector, **env)
    assert door(*tiny_door.run_words()).returncode == 0
    assert (collector.spans, collector.logs) == ([], [])
    assert bool(collector.metrics) == ("OTEL_SDK_DISABLED" not in env)


def test_one_signal_can_have_an_endpoint_of_its_own(lake: Any, tmp_path: Path, collector: Any) -> None:
    door = lake.copy(tmp_path, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/v1/traces"} | SOON)
    assert door(*tiny_door.run_words()).returncode == 0
    assert_one_tree(spans(collector))
    assert (collector.logs, collector.metrics) == ([], [])


@pytest.mark.parametrize("kind", ["hanging", "refusing", "dead"])
def test_a_bad_collector_neither_fails_nor_changes_a_run(lake: Any, tmp_path: Path, kind: str) -> None:
    receiver = otlp.Receiver(hanging=kind == "hanging", status=503)
    url = receiver.url
    if kind == "dead":
        receiver.close()
    plain = lake.copy(tmp_path / "plain")
    assert plain(*tiny_door.run_words()).returncode == 0
    door = lake.copy(tmp_path / "told", {"OTEL_EXPORTER_OTLP_ENDPOINT": url} | SOON)
    try:
        done = door(*tiny_door.run_words())  # it would time out if it waited for the collector
    finally:
        if kind != "dead":
            receiver.close()
    assert done.returncode == 0, done.stderr
    assert door.result() == plain.result()
    assert door.trace()["complete"] is True


def test_a_process_leaves_a_hanging_collector_after_the_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    from quantctl import telemetry

    hangs = []

    def send() -> None:
        hangs.append(True)
        time.sleep(3600)

    monkeypatch.setattr(telemetry, "_flushes", [send, send])
    telemetry.flush(0.05)  # returns, though both still hang
    assert hangs == [True, True]


def test_without_the_extra_a_run_says_so_and_goes_on(lake: Any, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden" / "opentelemetry_exporter_is_missing.pth"
    hidden.parent.mkdir()
    site = hidden.with_name("sitecustomize.py")
    site.write_text(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.startswith('opentelemetry.exporter'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    path = os.pathsep.join(filter(None, (str(site.parent), os.environ.get("PYTHONPATH", ""))))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        done = lake.copy(tmp_path)(*tiny_door.run_words(), OTEL_EXPORTER_OTLP_ENDPOINT=url, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert "quantctl[otlp]" in done.stderr
