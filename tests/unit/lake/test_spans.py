"""The span log: what is torn, cut or full costs a span, and a clock that is set back makes none negative."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quantctl.lake import spans
from quantctl.lake.spans import LOG, SpanLog, traced

TRACE = "ab" * 16
FORENSIC = {
    "name", "trace_id", "span_id", "parent_span_id", "start_ns", "end_ns", "duration_ms", "status", "process",
    "attempt", "attributes", "events",
}  # fmt: skip


def log(root: Path, process: str = "w#0") -> SpanLog:
    return SpanLog(root, process, TRACE)


def test_a_span_has_the_fields_of_a_forensic_trace_and_decimal_strings(tmp_path: Path) -> None:
    ours = log(tmp_path)
    ours.start("a" * 16, "stage", None, 1, **{"quant.level": "stage"})
    ours.note("a" * 16, "resumed", life=1)
    ours.end("a" * 16, True, more=1)
    span = traced(ours.span("a" * 16))
    assert set(span) == FORENSIC
    assert span["start_ns"].isdecimal()
    assert span["end_ns"].isdecimal()
    assert span["attributes"] == {"quant.level": "stage", "more": 1}
    assert [event["name"] for event in span["events"]] == ["resumed"]


def test_a_second_process_reads_what_the_first_wrote(tmp_path: Path) -> None:
    first = log(tmp_path)
    first.start("a" * 16, "root", None, 1)
    first.start("b" * 16, "stage", "a" * 16, 1)
    first.end("b" * 16, False)
    first.sent(["b" * 16])
    second = log(tmp_path, "w#1")
    assert second.spans() == first.spans()
    assert [(s["open"], s["sent"]) for s in second.spans()] == [(True, False), (False, True)]


def test_an_open_span_ends_where_the_log_does_and_counts_as_interrupted(tmp_path: Path) -> None:
    ours = log(tmp_path)
    ours.start("a" * 16, "root", None, 1)
    ours.start("b" * 16, "stage", "a" * 16, 1)
    span = ours.span("a" * 16)
    assert (span["status"], span["attributes"]) == ("ERROR", {"quant.interrupted": True})
    assert span["end_ns"] == ours.span("b" * 16)["start_ns"]


TORN = [b'{"event":"end","span', b"\xff\xfe", b"[1]\n", b"null", b'{"event":"start"}']


@pytest.mark.parametrize("torn", TORN)
def test_a_torn_line_swallows_neither_the_line_before_nor_the_one_after(tmp_path: Path, torn: bytes) -> None:
    log(tmp_path).start("a" * 16, "root", None, 1)
    with (tmp_path / LOG).open("ab") as stream:
        stream.write(torn)
    later = log(tmp_path, "w#1")
    later.start("b" * 16, "stage", "a" * 16, 1)
    assert [span["name"] for span in log(tmp_path).spans()] == ["root", "stage"]


def test_a_clock_that_is_set_back_gives_a_duration_of_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([2_000, 1_000])
    monkeypatch.setattr(spans.time, "time_ns", lambda: next(times))
    ours = log(tmp_path)
    ours.start("a" * 16, "root", None, 1)
    ours.end("a" * 16, True)
    span = ours.span("a" * 16)
    assert (span["start_ns"], span["end_ns"], span["duration_ms"]) == ("2000", "2000", 0.0)


def test_the_end_that_was_written_first_stands(tmp_path: Path) -> None:
    ours = log(tmp_path)
    ours.start("a" * 16, "root", None, 1)
    ours.end("a" * 16, True)
    ours.end("a" * 16, False)
    ours.start("a" * 16, "again", None, 1)
    assert [(s["name"], s["status"]) for s in log(tmp_path).spans()] == [("root", "OK")]


def test_a_disk_that_takes_nothing_costs_the_spans_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    ours = log(tmp_path)
    monkeypatch.setattr(spans.os, "write", full)
    ours.start("a" * 16, "root", None, 1)
    ours.end("a" * 16, True)
    monkeypatch.undo()
    assert [span["status"] for span in ours.spans()] == ["OK"]
    assert log(tmp_path).spans() == []


def test_lines_are_strict_json(tmp_path: Path) -> None:
    log(tmp_path).start("a" * 16, "root", None, 1)
    lines = (tmp_path / LOG).read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["start"]
